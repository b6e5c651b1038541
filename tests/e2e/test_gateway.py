"""The gateway's routes for reading, over a real system: for this machine only, and errors in words."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from doubles.scripted_model import ScriptedModel
from tests.e2e.driver import Everthread, until

PROMPTS = 4


@pytest.fixture
async def talked(running: Everthread, model: ScriptedModel) -> Everthread:
    """With three threads of four turns each."""
    if not await running.messages("talk-0"):
        for thread in (f"talk-{number}" for number in range(3)):
            for number in range(PROMPTS):
                await running.signal(thread, f"prompt {number} of {thread}")
        await asyncio.gather(*(running.answered(f"talk-{number}", PROMPTS) for number in range(3)))
    return running


async def test_health_tells_what_runs(running: Everthread) -> None:
    answer = await running.get("/api/health")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "version": "0.1.0", "temporal": True, "worker": True}


async def test_threads_are_listed_by_last_activity(talked: Everthread) -> None:
    await talked.signal("talk-1", "once more")
    await talked.answered("talk-1", PROMPTS + 1)

    async def listed_first() -> bool:
        return bool((await talked.get("/api/threads?limit=1")).json()["items"][0]["thread"] == "talk-1")

    await until(listed_first, 5, "talk-1 is listed first")
    [record] = [r for r in (await talked.get("/api/threads")).json()["items"] if r["thread"] == "talk-1"]
    assert (record["agent"], record["turns"]) == ("assistant", PROMPTS + 1)


async def test_pages_have_neither_gaps_nor_doubles(talked: Everthread) -> None:
    messages = await pages(talked, "/api/threads/talk-0/messages?limit=3")
    backwards = await pages(talked, "/api/threads/talk-0/messages?limit=3&order=desc")
    threads = await pages(talked, "/api/threads?limit=1")

    expected = [(role, f"{said}prompt {n} of talk-0") for n in range(PROMPTS) for role, said in SAID]
    assert [(row["role"], row["text"]) for row in messages] == expected
    assert backwards == messages[::-1]
    names = [record["thread"] for record in threads]
    assert len(names) == len(set(names))
    assert {"talk-0", "talk-1", "talk-2"} <= set(names)


async def test_threads_are_listed_by_what_they_are_asked_for(talked: Everthread) -> None:
    async def listed(query: str) -> set[str]:
        return {record["thread"] for record in await pages(talked, f"/api/threads?limit=100&{query}")}

    assert await listed("text=prompt%20OF%20talk%200") & TALKS == {"talk-0"}
    assert await listed("agent=assistant&status=active") >= TALKS
    assert await listed("agent=poet") == set()
    assert await listed("owner=nobody") | await listed("tenant=nobody") == set()


async def test_our_own_bookkeeping_is_not_shown(talked: Everthread) -> None:
    rows = await talked.messages("talk-0")

    assert not {"raw", "result", "digest", "attempt"} & set(rows[0])


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        ("/api/threads", {"host": "evil.example"}, 403, "evil.example"),
        ("/api/health", {"host": "evil.example:8800"}, 403, "evil.example"),
        ("/api/threads", {"origin": "https://evil.example"}, 403, "https://evil.example"),
        ("/api/threads", {"origin": "null"}, 403, "null"),
        ("/api/threads/nosuch/messages", {}, 404, "nosuch"),
        ("/nowhere", {}, 404, "/api/threads/{thread}/messages"),
        ("/api/threads?limit=0", {}, 422, "limit"),
        ("/api/threads?limit=many", {}, 422, "'many'"),
        ("/api/threads?cursor=bogus", {}, 422, "cursor"),
        (f"/api/threads?text={'x' * 201}", {}, 422, "text"),
        ("/api/threads/talk-0/messages?limit=201", {}, 422, "limit"),
        ("/api/threads/talk-0/messages?cursor=bogus", {}, 422, "cursor"),
        ("/api/threads/talk-0/messages?order=up", {}, 422, "order"),
    ],
)
async def test_what_is_refused_is_a_problem_in_words(
    talked: Everthread, path: str, headers: dict[str, str], status: int, words: str
) -> None:
    answer = await talked.get(path, **headers)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert words in problem["detail"]


async def test_a_page_of_this_machine_may_read(running: Everthread) -> None:
    assert (await running.get("/api/threads", origin="http://localhost:3000")).status_code == 200


async def test_nothing_can_be_written(running: Everthread) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{running.url}/api/threads", json={})

    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")


TALKS = {"talk-0", "talk-1", "talk-2"}
SAID = (("user", ""), ("assistant", "You said: "))


async def pages(everthread: Everthread, path: str) -> list[dict[str, Any]]:
    """All items, page after page."""
    found: list[dict[str, Any]] = []
    page = (await everthread.get(path)).raise_for_status().json()
    while page["next"] is not None:
        found += page["items"]
        page = (await everthread.get(f"{path}&cursor={page['next']}")).raise_for_status().json()
    return found + list(page["items"])
