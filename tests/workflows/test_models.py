"""Thoughts, sources, arguments as they come, tools of the provider, answers of one's own: on a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.model_router import ModelRouter
from adapters.openai_chat import OpenAIChat
from domain.errors import ModelUnavailableError
from domain.hooks import StepInfo
from domain.model import ModelRequest
from doubles.scripted_model import Reply, ReplyError, ToolCall
from tests.system import System
from tests.workflows.test_options import define, ended, options

SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
DETAILS = [{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "index": 0}]
LOOK = Reply(reasoning_content="Let me look.", tool_calls=[ToolCall(name="look", extra=SIGNED)], times=1)
SEEN = Reply(after_tool=True, reasoning_content="I see.", text="Seen.", times=1)


def assistants(system: System, number: int) -> list[dict[str, Any]]:
    """What the model is told that it said."""
    return [message for message in system.asked(number) if message["role"] == "assistant"]


async def test_thoughts_and_signatures_go_back_within_the_turn_and_are_kept(system: System, thread: str) -> None:
    system.model.script(LOOK, SEEN, "Fine.")
    await system.ask(thread, "Look!", id="a", agent="helper")
    await system.ask(thread, "And now?", agent="helper")
    [sent] = assistants(system, 1)
    assert sent["reasoning_content"] == "Let me look."
    assert sent["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
    assert [row.reasoning for row in await system.answers(thread, "a")] == ["Let me look.", "I see."]
    assert "Let me look" not in json.dumps(system.asked(2))
    assert "extra_content" not in json.dumps(system.asked(2))
    heard = "".join(data["text"] for data in system.events.of(thread, "reasoning.delta"))
    assert heard == "Let me look.I see."


async def test_thoughts_go_back_in_the_field_that_they_came_in(system: System, thread: str) -> None:
    look = Reply(tool_calls=[ToolCall(name="look")], extra={"reasoning": "Hm.", "reasoning_details": DETAILS}, times=1)
    system.model.script(look, SEEN)
    await system.ask(thread, "Look!", agent="helper")
    [sent] = assistants(system, 1)
    assert (sent["reasoning"], sent["reasoning_details"]) == ("Hm.", DETAILS)
    assert "reasoning_content" not in sent


async def test_a_provider_that_does_not_take_thoughts_gets_none(system: System, thread: str) -> None:
    unknown = ReplyError(message="Unknown parameter: 'messages[2].reasoning_content'.")
    system.model.script(LOOK, Reply(after_tool=True, status=400, error=unknown, times=1), SEEN)
    assert await system.ask(thread, "Look!", agent="helper") == "Seen."
    assert "reasoning_content" not in assistants(system, 2)[0]


async def test_arguments_are_heard_as_they_come(system: System, thread: str) -> None:
    call = ToolCall(name="look", arguments={"what": "a long way into the distance, Zürich 😀"}, id="c1")
    system.model.script(Reply(tool_calls=[call], times=1), SEEN)
    await system.ask(thread, "Look!", agent="helper")
    heard = system.events.of(thread, "tool.delta")
    assert json.loads("".join(data["text"] for data in heard)) == call.arguments
    assert {(data["index"], data["call_id"], data["tool"]) for data in heard} == {(0, "c1", "look")}


async def test_tools_of_the_provider_and_what_they_found(system: System, thread: str) -> None:
    search = {"type": "web_search_preview"}
    define(system, provider_tools=[search])
    cited = {"type": "url_citation", "url_citation": {"url": "https://example.com", "title": "An example"}}
    system.model.script(Reply(text="It is so.", extra={"annotations": [cited]}))
    assert await system.ask(thread, "Is it?", id="a", agent="mine") == "It is so."
    assert system.model.requests[0].body["tools"][-1] == search
    [row] = await system.answers(thread, "a")
    assert row.sources == [{"url": "https://example.com", "title": "An example"}]
    [raw] = [whole.raw for whole in await system.store.get([row.id])]
    assert raw is not None
    assert raw["message"]["annotations"] == [cited]


# --- answers of one's own


async def respond(request: ModelRequest, info: StepInfo) -> AsyncIterator[str]:
    yield f"{info.agent} heard: "
    yield request.messages[-1].text


async def test_an_answer_of_ones_own_is_streamed_saved_and_read_by_later_turns(system: System, thread: str) -> None:
    define(system, respond=respond)
    assert await system.ask(thread, "Hi", id="a", agent="mine") == "mine heard: Hi"
    assert system.model.requests == []
    heard = system.events.of(thread, "message.delta")
    assert "".join(data["text"] for data in heard) == "mine heard: Hi"
    await system.ask(thread, "And?")
    assert [message["content"] for message in system.asked()][1:] == ["Hi", "mine heard: Hi", "And?"]


async def test_a_failure_of_ones_own_fails_the_turn_and_no_other(system: System, thread: str) -> None:
    define(system, respond=lambda *_: 1 / 0)
    prompt = await ended(system, thread, "Hi", agent="mine")
    assert (prompt.status, prompt.error) == (
        "failed",
        "The respond of agent 'mine' failed: ZeroDivisionError: division by zero",
    )
    assert await system.ask(thread, "Hi") == "You said: Hi"


async def test_an_outage_of_ones_own_is_tried_again(system: System, thread: str) -> None:
    tries = iter([ModelUnavailableError("not now", 0.01), None])

    async def later(_request: ModelRequest, _info: StepInfo) -> str:
        if (problem := next(tries)) is not None:
            raise problem
        return "Now."

    define(system, respond=later)
    assert await system.ask(thread, "Hi", agent="mine") == "Now."


@pytest.mark.parametrize("cut", [Reply(reasoning_content="a b c", cut_after_chunks=2, times=1)])
async def test_a_call_that_is_cut_while_it_thinks_is_made_again(system: System, thread: str, cut: Reply) -> None:
    system.model.script(cut, Reply(reasoning_content="Hm.", text="Yes."))
    assert await system.ask(thread, "Hi", id="a") == "Yes."
    assert [row.reasoning for row in await system.answers(thread, "a")] == ["Hm."]


# --- several models


async def test_a_provider_that_is_gone_is_passed_over_for_another(system: System, thread: str) -> None:
    gone = OpenAIChat(base_url="http://127.0.0.1:9/v1", api_key="any", default_model="m")
    await system.stop_workers()
    await system.start_worker(model=ModelRouter(gone, {"backup": system.chat}))
    wanted = options(model=["m", "backup/scripted"])
    assert await system.ask(thread, "Hi", id="a", options=wanted) == "You said: Hi"
    [answer] = await system.answers(thread, "a")
    assert answer.model == "backup/scripted"
    await gone.close()


# --- values, stopped and cut


async def test_a_value_that_is_interrupted_keeps_its_part_and_is_none(system: System, thread: str) -> None:
    system.model.script(Reply(chunks=['{"name": "ap', "ple"], hang_after_chunks=2, times=1), "Fine.")
    await system.submit(thread, "Name one.", id="a", options=options(output={"type": "object"}))
    await system.streaming(thread, "apple")
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    [row] = await system.answers(thread, "a")
    assert (row.status, row.text, row.object) == ("interrupted", '{"name": "apple', None)
    assert [data["object"] for data in system.events.of(thread, "object.delta")][-1] == {"name": "apple"}
    assert await system.ask(thread, "And?") == "Fine."


async def test_a_value_whose_call_is_cut_is_asked_for_anew(system: System, thread: str) -> None:
    cut = Reply(chunks=['{"name": "pe', "ar"], cut_after_chunks=2, times=1)
    system.model.script(cut, Reply(text='{"name": "fig"}'))
    await system.submit(thread, "Name one.", id="a", options=options(output={"type": "object"}))
    await system.ended(thread, "a")
    [row] = await system.answers(thread, "a")
    assert (row.object, row.repair) == ({"name": "fig"}, None)


async def test_a_value_outlives_the_worker_that_was_asked_for_it(system: System, thread: str) -> None:
    system.model.script(
        Reply(text="No.", times=1), Reply(chunks=['{"na'], hang_after_chunks=1, times=1), '{"name": "fig"}'
    )
    await system.submit(thread, "Name one.", id="a", options=options(output={"type": "object"}))
    await system.streaming(thread, '{"na')  # in the middle of the repair
    await system.stop_workers()
    await system.start_worker()
    await system.ended(thread, "a")
    [row] = await system.answers(thread, "a")
    assert (row.object, row.repair) == ({"name": "fig"}, None)
    assert len(system.finished(thread)) == 1
