"""Knowledge over HTTP: handed in, read, searched, deleted, and refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from activities.ports import Store
from client.threads import Threads
from gateway.app import make_app
from gateway.knowledge import Library
from tests.gateways import health
from tests.library import FakeEmbedder, Room

DOCUMENTS = "/api/knowledge/default/documents"


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path, FakeEmbedder())
    yield room
    room.close()


@pytest.fixture
async def http(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    library = Library(room.store, room.search, room.blobs)
    app = make_app(cast("Store", None), cast("Threads", None), health, "test", library=library)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def post(http: httpx.AsyncClient, text: str, key: str, **fields: Any) -> dict[str, Any]:
    answer = await http.post(DOCUMENTS, json={"text": text, "key": key} | fields)
    assert answer.is_success, answer.text
    return cast("dict[str, Any]", answer.json())


async def test_a_document_is_taken_read_and_found(room: Room, http: httpx.AsyncClient) -> None:
    answer = await http.post(DOCUMENTS, json={"text": "# Apples\n\nThey are ripe.", "key": "a.md"})
    assert answer.status_code == 202
    taken = answer.json()
    assert (taken["status"], taken["new"]) == ("pending", True)
    assert (await http.get(f"{DOCUMENTS}/{taken['id']}")).json()["status"] == "pending"
    await room.work()
    ready = (await http.get(f"{DOCUMENTS}/{taken['id']}")).json()
    assert (ready["status"], ready["chunks"], ready["done"], ready["title"]) == ("ready", 1, 1, "Apples")
    found = (await http.get("/api/knowledge/default/search", params={"q": "ripe apples"})).json()
    [hit] = found["hits"]
    assert (hit["chunk"]["text"], hit["chunk"]["document"]) == ("They are ripe.", taken["id"])
    assert 0 < hit["score"] <= 1


async def test_the_same_again_is_nothing_new(room: Room, http: httpx.AsyncClient) -> None:
    first = await post(http, "words", "k")
    await room.work()
    again = await http.post(DOCUMENTS, json={"text": "words", "key": "k"})
    assert (again.status_code, again.json()["new"], again.json()["id"]) == (200, False, first["id"])


async def test_documents_are_listed_by_state_in_pages_and_counted(room: Room, http: httpx.AsyncClient) -> None:
    for number in range(3):
        await post(http, f"words {number}", f"k{number}")
    await room.work()
    await post(http, "waits", "w")
    page = (await http.get(DOCUMENTS, params={"status": "ready", "limit": 2})).json()
    rest = (await http.get(DOCUMENTS, params={"status": "ready", "limit": 2, "cursor": page["next"]})).json()
    assert sorted(row["key"] for row in [*page["items"], *rest["items"]]) == ["k0", "k1", "k2"]
    assert rest["next"] is None
    assert (await http.get("/api/knowledge/default/status")).json() == {
        "pending": 1, "ready": 3, "replaced": 0, "failed": 0,
    }  # fmt: skip


async def test_what_is_deleted_is_gone(room: Room, http: httpx.AsyncClient) -> None:
    one, _ = await post(http, "apple one", "k1"), await post(http, "apple two", "k2")
    await room.work()
    assert (await http.delete(f"{DOCUMENTS}/{one['id']}")).json() == {"deleted": 1}
    assert (await http.get(f"{DOCUMENTS}/{one['id']}")).status_code == 404
    assert (await http.delete(DOCUMENTS, params={"key": "k2"})).json() == {"deleted": 1}
    assert (await http.get("/api/knowledge/default/search", params={"q": "apple"})).json()["hits"] == []
    await post(http, "apple three", "k3")
    assert (await http.delete(DOCUMENTS, params={"all": "true"})).json() == {"deleted": 1}
    assert (await http.get(DOCUMENTS)).json()["items"] == []


async def test_another_tenant_neither_reads_nor_finds_nor_deletes(room: Room, http: httpx.AsyncClient) -> None:
    taken = await post(http, "apple", "k", tenant="acme")
    await room.work()
    other = {"tenant": "umbrella"}
    assert (await http.get(f"{DOCUMENTS}/{taken['id']}", params=other)).status_code == 404
    assert (await http.delete(f"{DOCUMENTS}/{taken['id']}", params=other)).status_code == 404
    assert (await http.delete(DOCUMENTS, params=other | {"key": "k"})).json() == {"deleted": 0}
    search = "/api/knowledge/default/search"
    assert (await http.get(search, params=other | {"q": "apple"})).json()["hits"] == []
    assert len((await http.get(search, params={"tenant": "acme", "q": "apple"})).json()["hits"]) == 1


async def test_filters_are_named_in_the_address(room: Room, http: httpx.AsyncClient) -> None:
    for lang in ("de", "en", "fr"):
        await post(http, f"apple {lang}", lang, filters={"lang": lang})
    await room.work()
    found = await http.get(
        "/api/knowledge/default/search", params={"q": "apple", "filter": ["lang=de", "lang=en"], "limit": 9}
    )
    assert sorted(hit["chunk"]["key"] for hit in found.json()["hits"]) == ["de", "en"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        ("POST", DOCUMENTS, {"json": {"text": ""}}, 422, "it has no content"),
        ("POST", DOCUMENTS, {"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "application/json"),
        ("POST", "/api/knowledge/a%20b/documents", {"json": {"text": "x"}}, 422, "namespace"),
        ("GET", f"{DOCUMENTS}/00000000-0000-4000-8000-000000000000", {}, 404, "There is no document"),
        ("GET", f"{DOCUMENTS}/x", {}, 404, "There is no document"),
        ("GET", f"{DOCUMENTS}/{'z' * 36}", {}, 404, "There is no document"),
        ("GET", f"{DOCUMENTS}?cursor=x", {}, 422, "cursor"),
        ("GET", f"{DOCUMENTS}?status=gone", {}, 422, "status"),
        ("DELETE", DOCUMENTS, {}, 422, "give key=… for one document, or all=true"),
        ("GET", "/api/knowledge/default/search", {}, 422, "q"),
        ("GET", "/api/knowledge/default/search?q=x&limit=99", {}, 422, "limit"),
        ("GET", "/api/knowledge/default/search?q=x&filter=de", {}, 422, "is no name=value"),
        ("GET", "/api/knowledge/default/search?q=x&filter=a%20b=c", {}, 422, "filter: a name is"),
    ],
)
async def test_what_cannot_be_done_is_a_problem_in_words(
    http: httpx.AsyncClient, method: str, path: str, options: dict[str, Any], status: int, words: str
) -> None:
    answer = await http.request(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
