"""The store on a Qdrant server: the contract over the test double, and what only a store behind a network must do."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from activities.failures import PERMANENT
from adapters import qdrant_points as points
from adapters.qdrant_knowledge import QdrantKnowledge
from adapters.qdrant_layout import Layout
from adapters.qdrant_points import Where
from adapters.qdrant_server import ServerStore
from domain.errors import EverthreadError, SetupError, StoreError, UnavailableError
from domain.messages import ThreadRecord
from domain.vectors import Sparse
from doubles.qdrant_collections import Collections
from tests.adapters.collection_contract import CollectionContract
from tests.adapters.erasing_contract import ErasingContract
from tests.adapters.facts_contract import FactsContract
from tests.adapters.index_contract import IndexContract
from tests.adapters.knowledge_contract import KnowledgeContract
from tests.adapters.raw_server import head, serving
from tests.adapters.store_contract import StoreContract, new_thread, row
from tests.qdrant import QdrantDouble, qdrant_double


@pytest.fixture(scope="session")
async def double(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[QdrantDouble]:
    async with qdrant_double(tmp_path_factory.mktemp("qdrant")) as double:
        yield double


@pytest.fixture(scope="session")
async def store(double: QdrantDouble) -> AsyncIterator[ServerStore]:
    store = await ServerStore.open(double.url)
    yield store
    await store.close()


@pytest.fixture(scope="session")
def knowledge(store: ServerStore) -> QdrantKnowledge:
    return QdrantKnowledge(store.collection(points.CHUNKS))


class TestServerKnowledge(KnowledgeContract):
    """Likewise."""


class TestServerFacts(FactsContract):
    """Over HTTP, on the double in strict mode."""


class TestServerErasing(ErasingContract):
    """Over HTTP, on the double in strict mode."""


class TestServerStore(StoreContract):
    """Over HTTP, on the double in strict mode, which refuses filters by fields without an index."""


class TestServerCollections(CollectionContract):
    """Over HTTP, on the double in strict mode."""


class TestServerIndex(IndexContract):
    """The index of messages."""


# --- several workers


async def test_workers_that_start_at_once_make_the_collections_together(double: QdrantDouble) -> None:
    prefix = f"t{uuid4().hex}_"
    stores = await asyncio.gather(*(ServerStore.open(double.url, prefix=prefix) for _ in range(8)))
    await stores[0].insert([kept := row(new_thread())])
    assert [await store.get([kept.id]) for store in stores] == [[kept]] * 8
    await asyncio.gather(*(use(store, name) for store in stores for name in points.INDEXES))
    for store in stores:
        await store.close()


async def test_what_one_worker_writes_the_others_see_and_their_fences_hold(double: QdrantDouble) -> None:
    mine, other = await ServerStore.open(double.url), await ServerStore.open(double.url)
    before = row(new_thread())
    await mine.insert([before])
    seen = await asyncio.gather(
        *(
            store.amend(before.id, attempt, {"status": "complete", "text": str(attempt)})
            for attempt, store in enumerate([mine, other] * 10, start=1)
        )
    )
    assert len({found.text for found in seen if found is not None}) == 1
    assert await mine.get([before.id]) == await other.get([before.id])
    await mine.close()
    await other.close()


async def test_workers_that_add_the_vectors_of_a_model_at_once_add_them_together(double: QdrantDouble) -> None:
    prefix, name = f"t{uuid4().hex}_", f"n{uuid4().hex}"
    stores = await asyncio.gather(*(ServerStore.open(double.url, prefix=prefix) for _ in range(4)))
    await asyncio.gather(*(store.collection(points.FACTS).add_vector(name, 2) for store in stores))
    await stores[0].collection(points.FACTS).add_vector(name, 2)
    for store in stores:
        await store.close()


async def test_a_point_that_is_deleted_while_vectors_are_placed_is_left_out_and_the_others_get_theirs(
    double: QdrantDouble,
) -> None:
    store = await ServerStore.open(double.url)
    collection = store._collections[points.MESSAGES]
    kept, gone = str(uuid4()), str(uuid4())
    await collection.insert({kept: {}, gone: {}})
    look = collection._there

    async def delete_after_the_look(point_ids: Any) -> list[str]:
        found = await look(point_ids)
        await collection.delete(Where(gone))
        return found

    collection._there = delete_after_the_look  # type: ignore[method-assign]
    words = {points.SPARSE_VECTOR: Sparse([1], [1.0])}
    await collection.place({kept: words, gone: words})
    assert await collection.vectors([kept, gone], list(words)) == {kept: words}
    await store.close()


async def use(store: ServerStore, name: str) -> None:
    """A collection takes points, filters and words."""
    point_id, words = str(uuid4()), Sparse([1], [1.0])
    collection = store.collection(name)
    await collection.insert({point_id: {"tenant": point_id}}, {point_id: {points.SPARSE_VECTOR: words}})
    mine = Where(equal={"tenant": point_id})
    found = await collection.search(points.SPARSE_VECTOR, words, mine, 5)
    assert [found_id for found_id, _, _ in found] == [point_id]


# --- how collections are made


async def test_collections_are_made_as_the_operator_chose(http: httpx.AsyncClient, double: QdrantDouble) -> None:
    prefix, name = f"t{uuid4().hex}_", f"n{uuid4().hex}"
    layout = Layout(shards=3, replicas=2, quantization="scalar", on_disk=True)
    store = await ServerStore.open(double.url, prefix=prefix, layout=layout)
    await store.collection(points.MESSAGES).add_vector(name, 2)
    config = (await http.get(f"/collections/{prefix}messages")).json()["result"]["config"]
    asked = config["params"]
    assert (asked["shard_number"], asked["replication_factor"], asked["write_consistency_factor"]) == (3, 2, 2)
    assert (asked["on_disk_payload"], asked["vectors"][name]["on_disk"]) == (True, True)
    assert config["quantization_config"]["scalar"]["type"] == "int8"
    assert asked["vectors"][name]["multivector_config"] == {"comparator": "max_sim"}
    await store.close()


async def test_tenants_and_owners_are_kept_together(http: httpx.AsyncClient, double: QdrantDouble) -> None:
    prefix = f"t{uuid4().hex}_"
    await (await ServerStore.open(double.url, prefix=prefix)).close()
    schema = (await http.get(f"/collections/{prefix}messages")).json()["result"]["payload_schema"]
    assert {field for field, index in schema.items() if index.get("params", {}).get("is_tenant")} == {"tenant", "owner"}


# --- the server goes and comes


async def test_a_server_that_was_killed_and_started_again_is_used_again(tmp_path: Path) -> None:
    async with qdrant_double(tmp_path) as double:
        store = await ServerStore.open(double.url)
        await store.insert([kept := row(new_thread(), text="kept")])
        await double.end(signal.SIGKILL)
        with pytest.raises(UnavailableError, match="EVERTHREAD_QDRANT_URL"):
            await store.get([kept.id])
        await double.start()
        assert await store.get([kept.id]) == [kept]
        assert await double.end() == 0
        await store.close()


async def test_a_call_to_a_server_that_is_stuck_ends_in_its_time(double: QdrantDouble) -> None:
    store = await ServerStore.open(double.url, timeout_s=2)
    store._server._timeout_s = 0.2
    double.send(signal.SIGSTOP)
    try:
        async with asyncio.timeout(2):
            with pytest.raises(UnavailableError, match=r"not within 0\.2 s"):
                await store.get([row(new_thread()).id])
    finally:
        double.send(signal.SIGCONT)
    await store.close()


# --- what can go wrong, in words


@pytest.mark.parametrize("status", ["500 Internal Server Error", "502 Bad Gateway", "503 x", "429 x", "408 x"])
async def test_what_may_work_later_is_unavailable(status: str) -> None:
    with pytest.raises(UnavailableError, match="EVERTHREAD_QDRANT_URL"):
        await opened_on(answer(status, {"status": {"error": "busy"}}))


@pytest.mark.parametrize(
    ("answered", "error", "said"),
    [
        (("400 x", {"status": {"error": "Bad request: why"}}), StoreError, "refused it: Bad request: why"),
        (("401 x", "Invalid API key"), StoreError, "Invalid API key: set EVERTHREAD_QDRANT_API_KEY"),
        (("403 x", None), StoreError, "EVERTHREAD_QDRANT_API_KEY"),
        (("404 x", "<html>nothing here</html>"), StoreError, "nothing here"),
        (("200 OK", "<html>hello</html>"), StoreError, "does not answer as Qdrant does"),
        (("200 OK", {"hello": 1}), StoreError, "does not answer as Qdrant does"),
        (("200 OK", {"title": "q", "version": "1.18.9"}), SetupError, "is version 1.18.9, and 1.19 is the oldest"),
    ],
    ids=str,
)
async def test_what_will_not_work_is_said(answered: tuple[str, Any], error: type[EverthreadError], said: str) -> None:
    with pytest.raises(error, match=said):
        await opened_on(answer(*answered))


@pytest.mark.parametrize(
    "url", ["", "localhost:6333", "http://", "ftp://127.0.0.1", "http://[", "redis://x", "http://a b"]
)
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match="EVERTHREAD_QDRANT_URL"):
        await ServerStore.open(url)


async def test_a_password_in_an_address_is_refused_and_not_told() -> None:
    with pytest.raises(SetupError, match="EVERTHREAD_QDRANT_API_KEY") as told:
        await ServerStore.open("http://ada:secret@127.0.0.1:1")
    assert "secret" not in str(told.value)


def test_a_turn_waits_for_a_server_that_does_not_answer() -> None:
    """And does not end for it."""
    assert not issubclass(UnavailableError, PERMANENT)
    assert not issubclass(StoreError, PERMANENT)


async def test_the_key_is_needed_where_there_is_one(tmp_path: Path) -> None:
    async with qdrant_double(tmp_path, "--api-key", "open sesame") as double:
        store = await ServerStore.open(double.url, api_key="open sesame")
        assert await store.get_thread(new_thread()) is None
        await store.close()
        for key in (None, "wrong"):
            with pytest.raises(StoreError, match="EVERTHREAD_QDRANT_API_KEY"):
                await ServerStore.open(double.url, api_key=key)
    with pytest.raises(SetupError, match="EVERTHREAD_QDRANT_API_KEY"):
        await ServerStore.open(double.url, api_key="schlüssel")


async def test_a_proxy_for_the_internet_is_not_asked_for_a_server_on_this_machine(
    double: QdrantDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    store = await ServerStore.open(double.url)
    await store.insert_thread(ThreadRecord(thread=new_thread()))
    await store.close()


def answer(status: str, said: Any) -> bytes:
    text = said if isinstance(said, str) else json.dumps(said)
    body = b"" if said is None else text.encode()
    return head(status, "application/json", content_length=str(len(body))) + body


async def opened_on(whole: bytes) -> ServerStore:
    """A store on a server that has one answer to everything."""
    async with serving(head=whole) as server:
        return await ServerStore.open(server.base_url.removesuffix("/v1"))


# --- the double itself says what Qdrant says


@pytest.fixture
async def http(double: QdrantDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=double.url, trust_env=False) as http:
        yield http


@pytest.fixture
async def collection(http: httpx.AsyncClient) -> str:
    """The path of a collection that has an index of the keyword `known`."""
    path = f"/collections/c{uuid4().hex}"
    made = await http.put(path, json={"sparse_vectors": {"bm25": {"modifier": "idf"}}})
    assert made.json()["result"] is True
    index = await http.put(f"{path}/index?wait=true", json={"field_name": "known", "field_schema": "keyword"})
    assert index.json()["result"]["status"] == "completed"
    return path


ID = "5f0e9a52-6d1f-4e3b-8a11-7c1a2f643f0e"
WORDS = {"indices": [1], "values": [1.0]}
TWICE = {"indices": [1, 1], "values": [1.0, 2.0]}
UNINDEXED = {"idf": {"corpus": {"must": [{"key": "other", "match": {"value": "x"}}]}}}
NO_POINT = "value x is not a valid point ID, valid values are either an unsigned integer or a UUID"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("PUT", "", {}, 409, "Wrong input: Collection `{name}` already exists!"),
        ("POST", "/points", {"ids": ["x"]}, 400, NO_POINT),
        ("POST", "/points", {}, 400, "Format error in JSON body"),
        ("POST", "/points/scroll", {"order_by": "nope"}, 400, "No range index for `order_by` key: `nope`"),
        ("POST", "/points/scroll", {"order_by": "nope", "offset": ID}, 400, "Cannot use an `offset`"),
        ("POST", "/points/scroll", {"limit": 0}, 422, "limit: value 0 invalid, must be 1 or larger"),
        ("POST", "/points/scroll", {"filter": {"must": [{"key": "a"}], "x": 1}}, 400, "Format error in JSON body"),
        (
            "POST",
            "/points/scroll",
            {"filter": {"must": [{"key": "other", "match": {"value": "x"}}]}},
            400,
            'Index required but not found for "other" of one of the following types: [keyword, uuid]',
        ),
        ("POST", "/points/payload", {"payload": {}}, 400, "either points or filter"),
        ("PUT", "/points", {"points": [{"id": "x", "vector": {}}]}, 400, NO_POINT),
        ("PUT", "/points?ordering=odd", {"points": []}, 400, "unknown ordering `odd`"),
        ("PUT", "/points", {"points": [{"id": 1, "vector": {"a": [1.0]}}]}, 400, "Not existing vector name error: a"),
        ("PUT", "/points/vectors", {"points": [{"id": ID, "vector": {}}]}, 404, f"Not found: No point with id {ID}"),
        ("POST", "/points/query", {"query": [1.0], "using": "a"}, 400, "Not existing vector name error: a"),
        ("POST", "/points/query", {"query": WORDS, "using": "bm25", "limit": 0}, 422, "must be 1 or larger"),
        ("POST", "/points/query", {"query": [1.0], "using": "bm25"}, 400, "Wrong usage of"),
        ("POST", "/points/query", {"query": TWICE, "using": "bm25"}, 422, "indices: must be unique"),
        ("PUT", "/points", {"points": [{"id": 1, "vector": {"bm25": TWICE}}]}, 422, "indices: must be unique"),
        ("POST", "/points/query", {"query": WORDS, "using": "bm25", "params": UNINDEXED}, 400, "Index required but"),
        (
            "POST",
            "/points/query/batch",
            {"searches": [{"query": WORDS, "using": "bm25", "params": UNINDEXED}]},
            400,
            "Index required but",
        ),
        ("POST", "/points/delete", {"filter": {"must": [{"key": "other", "match": {"any": [1]}}]}}, 400, "[integer]"),
        ("POST", "/points/delete", {}, 400, "Format error in JSON body"),
        ("POST", "/points/query", {"query": WORDS, "using": "bm25", "prefetch": {}}, 501, "This is a test double"),
        ("PUT", "/vectors/a", {"dense": {"size": 0, "distance": "Nearby"}}, 400, "Format error in JSON body"),
        ("POST", "/points/count", {"filter": {"must": [{"is_empty": {"key": "other"}}]}}, 400, "Index required but"),
    ],
    ids=str,
)
async def test_the_double_refuses_what_qdrant_refuses(
    http: httpx.AsyncClient, collection: str, method: str, path: str, body: Any, status: int, said: str
) -> None:
    refused = await http.request(method, collection + path, json=body)
    assert refused.status_code == status
    assert said.format(name=collection.rpartition("/")[2]) in refused.json()["status"]["error"]
    assert isinstance(refused.json()["time"], float)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "/points", {"points": []}),
        ("POST", "/points", {"ids": []}),
        ("POST", "/points/scroll", {}),
        ("POST", "/points/payload", {"payload": {}, "points": []}),
        ("PUT", "/index", {"field_name": "a", "field_schema": "keyword"}),
        ("PUT", "/points/vectors", {"points": []}),
        ("POST", "/points/query", {"query": [1.0], "using": "a"}),
        ("POST", "/points/query/batch", {"searches": [{"query": [1.0], "using": "a"}]}),
        ("POST", "/points/count", {}),
        ("POST", "/points/delete", {"points": []}),
        ("PUT", "/vectors/a", {"dense": {"size": 2, "distance": "Cosine"}}),
        ("DELETE", "/vectors/a", None),
    ],
    ids=str,
)
async def test_the_double_knows_no_collection_that_was_not_made(
    http: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    missing = await http.request(method, f"/collections/missing{path}", json=body)
    assert missing.status_code == 404
    assert missing.json()["status"] == {"error": "Not found: Collection `missing` doesn't exist!"}


async def test_the_double_says_who_did_not_wait_less(http: httpx.AsyncClient, collection: str) -> None:
    body = {"points": [{"id": ID, "vector": {}, "payload": {"known": "a"}}]}
    done = [(await http.put(f"{collection}/points{query}", json=body)).json() for query in ("", "?wait=true")]
    assert [answer["result"]["status"] for answer in done] == ["acknowledged", "completed"]


async def test_the_double_has_one_holder_of_a_folder(double: QdrantDouble) -> None:
    with pytest.raises(Exception, match="WouldBlock"):
        Collections(double.folder)
