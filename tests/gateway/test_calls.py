"""Calls that wait, over HTTP: listed, decided, and refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from doubles.scripted_model import ToolCall
from gateway.app import make_app
from tests.gateways import health
from tests.system import System
from tests.workflows.test_approvals import asked

REFUND = ToolCall(name="refund", arguments={"amount": 5}, id="c1")


@pytest.fixture
async def http(system: System) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(system.store, system.threads, health, "test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_what_waits_is_listed_and_decided(system: System, http: httpx.AsyncClient, thread: str) -> None:
    call, _ = await asked(system, thread, REFUND, ToolCall(name="measure", id="m1"))
    [row] = (await http.get("/api/calls", params={"thread": thread})).json()["items"]
    assert (row["call_id"], row["name"], row["arguments"], row["args_digest"]) == (
        "c1", "refund", '{"amount":5}', call["digest"],
    )  # fmt: skip
    [other] = (await http.get("/api/calls", params={"thread": thread, "waits": "result"})).json()["items"]
    answer = await http.post(
        f"/api/threads/{thread}/calls/c1", json={"decision": "approve", "digest": row["args_digest"], "by": "eve"}
    )
    assert (answer.status_code, answer.json()["decision"], answer.json()["left"]) == (200, "approve", 1)
    answer = await http.post(f"/api/threads/{thread}/calls/m1", json={"decision": "result", "result": 5})
    assert answer.status_code == 200
    await system.ended(thread, "a")
    assert other["call_id"] == "m1"
    assert (await http.get("/api/calls", params={"thread": thread})).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b'{"decision": "deny"}', {"content-type": "text/plain"}, 415, "send application/json"),
        (b'{"decision": "deny"}', {}, 415, "content-type is missing"),
        (b"{", {"content-type": "application/json"}, 422, "the body is no JSON"),
        (b"[1]", {"content-type": "application/json"}, 422, "the body is a JSON object"),
        (b'{"decision": "maybe"}', {"content-type": "application/json"}, 422, "decision"),
        (b'{"decision": "approve"}', {"content-type": "application/json"}, 422, "approve needs the digest"),
        (b'{"decision": "deny", "x": 1}', {"content-type": "application/json"}, 422, "'x' is not a field"),
        (b'{"decision": "deny"}', {"content-type": "application/json"}, 404, "no call 'c9' waits"),
        (b'{"reason": "' + b"x" * 200_000, {"content-type": "application/json"}, 413, "more than 100000 bytes"),
        (b"{}", {"content-type": "application/json", "origin": "https://evil.example"}, 403, "evil.example"),
    ],
)
async def test_what_cannot_be_decided_is_a_problem_in_words(
    system: System, http: httpx.AsyncClient, thread: str, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    await system.ask(thread, "Hi")
    answer = await http.post(f"/api/threads/{thread}/calls/c9", content=body, headers=headers)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in problem["detail"]


async def test_a_second_decision_is_a_conflict_and_an_unknown_thread_is_not_made(
    system: System, http: httpx.AsyncClient, thread: str
) -> None:
    await asked(system, thread, REFUND)
    path = f"/api/threads/{thread}/calls/c1"
    assert (await http.post(path, json={"decision": "deny", "by": "eve"})).status_code == 200
    answer = await http.post(path, json={"decision": "deny"})
    assert (answer.status_code, answer.json()["detail"][:25]) == (409, "call c1 was denied by eve")
    answer = await http.post(f"/api/threads/{thread}-not/calls/c1", json={"decision": "deny"})
    assert answer.status_code == 404
    assert await system.store.get_thread(f"{thread}-not") is None
