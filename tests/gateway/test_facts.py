"""Facts and working memory over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import httpx
import pytest

from activities.ports import Store
from adapters.qdrant_edge import EdgeStore
from client.threads import Threads
from gateway.app import make_app
from tests.activities.test_facts import Memory
from tests.gateways import health


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    store = EdgeStore(tmp_path)
    app = make_app(cast("Store", store), cast("Threads", None), health, "test", facts=Memory(store).facts)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    store.close()


async def test_a_fact_is_added_searched_replaced_and_forgotten(http: httpx.AsyncClient) -> None:
    ada = {"owner": "ada"}
    old = (await http.post("/api/facts", json=ada | {"text": "User lives in Berlin"})).json()["fact"]
    again = (await http.post("/api/facts", json=ada | {"text": "The user lives in Berlin"})).json()
    assert (again["known"], again["fact"]["id"]) == (True, old["id"])
    moved = ada | {"text": "User lives in Munich", "replaces": [old["id"]]}
    new = (await http.post("/api/facts", json=moved)).json()["fact"]
    [hit] = (await http.get("/api/facts", params=ada | {"q": "where is home"})).json()["items"]
    assert hit["fact"]["id"] == new["id"]
    history = (await http.get(f"/api/facts/{old['id']}/history")).json()["items"]
    assert [(fact["id"], fact["status"]) for fact in history] == [(old["id"], "superseded"), (new["id"], "current")]
    assert (await http.delete(f"/api/facts/{new['id']}")).json()["status"] == "forgotten"
    listed = (await http.get("/api/facts", params=ada | {"status": "current"})).json()
    assert listed == {"items": [], "next": None}


async def test_a_search_finds_the_facts_of_one_owner_only(http: httpx.AsyncClient) -> None:
    for owner in ("ada", "eve"):
        await http.post("/api/facts", json={"owner": owner, "text": "User likes green tea"})
    [hit] = (await http.get("/api/facts", params={"q": "tea", "owner": "eve"})).json()["items"]
    assert hit["fact"]["owner"] == "eve"
    answer = await http.get("/api/facts", params={"q": "tea"})
    assert (answer.status_code, "owner: " in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": " "}, "text: a fact is a sentence"),
        ({"text": "x y" * 1_000}, "at most 2000"),
        ({"text": "a b", "mood": 1}, "mood: "),
        ({"text": "a b", "scope": "all"}, "scope: "),
        ({"text": "a b", "scope": "agent"}, "agent: "),
        ({}, "text: Field required"),
    ],
)
async def test_what_is_no_fact_is_refused_in_words(http: httpx.AsyncClient, body: dict[str, str], words: str) -> None:
    answer = await http.post("/api/facts", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


async def test_pages_of_others_can_neither_add_nor_forget(http: httpx.AsyncClient) -> None:
    foreign = {"origin": "https://evil.example"}
    assert (await http.post("/api/facts", json={"text": "a b"}, headers=foreign)).status_code == 403
    assert (await http.delete(f"/api/facts/{uuid4()}", headers=foreign)).status_code == 403
    assert (await http.post("/api/facts", content=b"{}", headers={"content-type": "text/plain"})).status_code == 415
    assert (await http.delete(f"/api/facts/{uuid4()}")).status_code == 404


async def test_working_memory_is_written_by_version_and_read(http: httpx.AsyncClient) -> None:
    whose = {"owner": "ada", "agent": "a"}
    written = (await http.post("/api/notes", json=whose | {"content": "tea: no"})).json()
    assert (written["text"], written["version"]) == ("tea: no", 1)
    assert (await http.post("/api/notes", json=whose | {"content": "x", "version": 0})).status_code == 422
    assert (await http.get("/api/notes", params=whose)).json() == written
    assert (await http.get("/api/notes", params=whose | {"owner": "eve"})).json()["text"] == ""
