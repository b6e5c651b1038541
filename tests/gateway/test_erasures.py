"""Forgetting over HTTP: begun, followed, and refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from domain.prompts import ThreadStart
from gateway.app import make_app
from tests.gateways import health
from tests.system import System, new_thread


@pytest.fixture
async def http(system: System) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(system.store, system.threads, health, "test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def shown(system: System, http: httpx.AsyncClient, erasure: str) -> dict[str, Any]:
    async def find() -> dict[str, Any] | None:
        answer = await http.get(f"/api/erasures/{erasure}")
        return answer.json() if answer.status_code == 200 and answer.json()["erased"] else None

    found = await system.until(find)
    assert found is not None
    return found


async def test_a_thread_is_deleted_and_gone_from_every_list_at_once(
    system: System, http: httpx.AsyncClient, thread: str
) -> None:
    await system.ask(thread, "Hi", start=ThreadStart(owner=thread))
    answer = await http.delete(f"/api/threads/{thread}")
    assert answer.status_code == 202
    receipt = await shown(system, http, answer.json()["id"])
    assert (receipt["status"], receipt["subject"], receipt["erased"]) == (
        "running",
        f"thread {thread}",
        {"messages": 2},
    )
    assert (await http.get("/api/threads", params={"owner": thread})).json()["items"] == []
    assert (await http.get(f"/api/threads/{thread}/messages")).status_code == 404
    again = await http.delete(f"/api/threads/{thread}")
    assert again.json()["id"] == receipt["id"]


async def test_an_erasure_is_begun_by_a_post_and_followed_by_its_id(
    system: System, http: httpx.AsyncClient, thread: str
) -> None:
    await system.ask(thread, "Hi", start=ThreadStart(owner=thread))
    for _ in range(2):
        answer = await http.post("/api/erasures", json={"id": f"e-{thread}", "owner": thread})
        assert (answer.status_code, answer.json()["id"]) == (202, f"e-{thread}")
    assert "page" not in await shown(system, http, f"e-{thread}")
    other = await http.post("/api/erasures", json={"id": f"e-{thread}", "owner": "bob"})
    assert (other.status_code, "used before" in other.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b'{"thread": "t"}', {"content-type": "text/plain"}, 415, "send application/json"),
        (b"[1]", {"content-type": "application/json"}, 422, "the body is a JSON object"),
        (b"{}", {"content-type": "application/json"}, 422, "nothing is named"),
        (b'{"thread": "t", "before": 99999999999}', {"content-type": "application/json"}, 422, "lies ahead"),
        (
            b'{"thread": "t"}',
            {"content-type": "application/json", "origin": "https://evil.example"},
            403,
            "evil.example",
        ),
    ],
)
async def test_what_cannot_be_erased_is_a_problem_in_words(
    http: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    answer = await http.post("/api/erasures", content=body, headers=headers)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


async def test_a_page_of_another_site_cannot_delete(http: httpx.AsyncClient, thread: str) -> None:
    answer = await http.delete(f"/api/threads/{thread}", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


async def test_what_is_not_there_is_404(http: httpx.AsyncClient, thread: str) -> None:
    assert (await http.delete(f"/api/threads/{thread}")).status_code == 404
    assert (await http.get(f"/api/erasures/e-{thread}")).status_code == 404


async def test_owners_are_listed_page_by_page(system: System, http: httpx.AsyncClient) -> None:
    tenant = f"shop-{new_thread()}"
    for owner in ("ada", "bob", "ada"):
        await system.ask(new_thread(), "Hi", start=ThreadStart(owner=owner, tenant=tenant))
    first = (await http.get("/api/owners", params={"tenant": tenant, "limit": 1})).json()
    rest = (await http.get("/api/owners", params={"tenant": tenant, "limit": 1, "cursor": first["next"]})).json()
    found = {item["owner"]: item["threads"] for item in first["items"] + rest["items"]}
    assert (found, rest["next"]) == ({"ada": 2, "bob": 1}, None)
