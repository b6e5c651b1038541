"""What a model was shown, over HTTP and from the command line; and what one would be shown, without asking it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from domain import ids
from domain.agent import Agent
from domain.prompts import Prompt
from gateway.app import make_app
from tests.gateways import Shell, gateway, health, looks
from tests.system import System


@pytest.fixture
async def http(system: System) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(system.store, system.threads, health, "test", contexts=looks(system))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def answer(system: System, thread: str) -> str:
    """The id of the answer to what was said on the thread."""
    system.add_agent(Agent("brief", instructions="Be brief."))
    await system.threads.submit(thread, Prompt(id="a", content="My cat is Tom.", agent="brief"))
    await system.ended(thread, "a")
    return ids.message_id(thread, "a", "answer")


async def test_what_a_model_was_shown_is_told_of_an_answer(http: httpx.AsyncClient, answer: str, thread: str) -> None:
    view = (await http.get(f"/api/messages/{answer}/context")).json()
    assert (view["thread"], view["message"], view["agent"]) == (thread, answer, "brief")
    assert view["record"]["running"] == [ids.message_id(thread, "a", "prompt")]
    assert view["record"]["tokens"]["instructions"] > 0


async def test_a_message_that_no_model_wrote_has_no_context(http: httpx.AsyncClient, answer: str, thread: str) -> None:
    prompt = ids.message_id(thread, "a", "prompt")
    found = [await http.get(f"/api/messages/{row_id}/context") for row_id in (prompt, ids.message_id("x", "x", "x"))]
    assert [response.status_code for response in found] == [404, 404]
    assert "only answers of a model have" in found[0].json()["detail"]


async def test_what_a_model_would_be_shown_is_told_without_asking_it(
    system: System, http: httpx.AsyncClient, answer: str, thread: str
) -> None:
    asked = len(system.model.requests)
    before = await system.rows(thread)
    query = {"text": "What is my cat called?", "agent": "brief"}
    view = (await http.get(f"/api/threads/{thread}/context", params=query)).json()
    assert [message["role"] for message in view["messages"]] == ["system", "user", "assistant", "user"]
    assert [message["text"] for message in view["messages"][::3]] == ["Be brief.", "What is my cat called?"]
    assert view["record"]["recent"] == [ids.message_id(thread, "a", slot) for slot in ("prompt", "answer")]
    assert (len(system.model.requests), await system.rows(thread)) == (asked, before)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/threads/nobody/context?text=x", 404, "there is no thread 'nobody'"),
        ("/api/threads/nobody/context", 422, "text"),
        ("/api/messages/xyz/context", 422, "message_id"),
    ],
)
async def test_what_cannot_be_told_is_a_problem_in_words(
    http: httpx.AsyncClient, path: str, status: int, words: str
) -> None:
    response = await http.get(path)
    assert response.status_code == status
    assert words in response.json()["detail"]


async def test_an_agent_that_is_not_there_is_refused(http: httpx.AsyncClient, answer: str, thread: str) -> None:
    response = await http.get(f"/api/threads/{thread}/context", params={"text": "x", "agent": "nobody"})
    assert response.status_code == 422
    assert "nobody" in response.json()["detail"]


async def test_the_command_line_shows_both(system: System, answer: str, thread: str) -> None:
    async with gateway(system) as port:
        shell = Shell(system, port)
        told = await shell.program("context", answer)
        assert (told.status, told.out.splitlines()[0]) == (0, "part             tokens")
        assert "of 8,000, by estimate" in told.out
        shown = await shell.program("context", "--thread", thread, "What is my cat called?", "--agent", "brief")
        assert "recent: 2 messages" in shown.out
        assert "  user      What is my cat called?" in shown.out
        [fields] = (await shell.program("context", answer, "--json")).objects
        assert fields["message"] == answer
        missing = await shell.program("context", ids.message_id("x", "x", "x"))
        assert (missing.status, "There is no message" in missing.err) == (2, True)
