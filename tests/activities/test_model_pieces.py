"""`call_model`: what comes beside the text of an answer, and what of it goes back to the provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.agent import Agent
from domain.errors import ModelRefusedError, ModelUnavailableError, ThoughtsRefusedError
from domain.messages import ToolCall
from domain.model import Completion, ModelRequest, ReasoningDelta, ToolDelta
from tests.activities.fakes import PAUSE, FakeModel, Steps, attempt, completion, failure, run
from tests.agents import Workbench
from tests.system import WatchedStore

AGENT = Agent("mine", instructions="Think.", tools=Workbench().tools())
THOUGHT = {"message": {"role": "assistant", "reasoning_content": "Hm."}}
SOURCE = {"url": "https://example.com", "title": "An example"}


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


def thinking(text: str = "Yes.", calls: tuple[ToolCall, ...] = (), **fields: Any) -> Completion:
    finish = "tool_calls" if calls else "stop"
    return Completion(text, calls, finish, "m", None, THOUGHT, **({"reasoning": "Hm."} | fields))


def call(call_id: str = "c") -> ToolCall:
    return ToolCall(call_id=call_id, name="look", arguments="{}")


def raws(request: ModelRequest) -> list[dict[str, Any] | None]:
    return [message.raw for message in request.messages if message.role == "assistant"]


# --- thoughts


async def test_what_the_model_thinks_is_heard_and_kept_apart_from_what_it_says(steps: Steps) -> None:
    await steps.ask(AGENT, ReasoningDelta("H"), ReasoningDelta("m."), "Yes.", thinking())
    row = await steps.answer()
    assert (row.text, row.reasoning) == ("Yes.", "Hm.")
    heard = steps.events.of(steps.thread, "reasoning.delta")
    assert "".join(data["text"] for data in heard) == "Hm."
    assert {(data["message_id"], data["attempt"]) for data in heard} == {(row.id, row.attempt)}
    assert [data["text"] for data in steps.events.of(steps.thread, "message.delta")] == ["Yes."]


async def test_pieces_of_several_kinds_are_heard_in_their_order(steps: Steps) -> None:
    script = [ReasoningDelta("a"), "b", ReasoningDelta("c"), "d", ToolDelta(0, "c", "look", "{}")]
    await steps.ask(AGENT, *script, thinking("bd", (call(),)))
    kinds = ("reasoning.delta", "message.delta", "tool.delta")
    heard = [
        (kind, data["text"])
        for thread, kind, data in steps.events.published
        if kind in kinds and thread == steps.thread
    ]
    assert heard == [
        ("reasoning.delta", "a"),
        ("message.delta", "b"),
        ("reasoning.delta", "c"),
        ("message.delta", "d"),
        ("tool.delta", "{}"),
    ]


async def test_thoughts_go_back_to_the_provider_within_the_turn_and_never_after_it(steps: Steps) -> None:
    await steps.ask(AGENT, thinking("", (call(),)))
    await steps.ran(0)
    await steps.later(AGENT, 1, completion())
    assert raws(steps.asked[0]) == [THOUGHT]
    await steps.ask(AGENT, prompt_id="q", turn=2, prompt={"id": "q", "content": "And?"})
    assert raws(steps.asked[0]) == [None, None]


async def test_a_model_that_does_not_take_thoughts_back_is_asked_without_them(steps: Steps) -> None:
    """After a fallback to another provider, for one."""
    steps.agents = [AGENT]
    await steps.ask(AGENT, thinking("", (call(),)))
    await steps.ran(0)
    model = FakeModel(
        [ThoughtsRefusedError("unknown field reasoning_content")], [thinking("", (call("d"),))], [completion()]
    )
    activities = steps.call(model)
    await run(1, activities, steps.request(agent="mine", step=1, prompt=None))
    await steps.ran(1)
    await run(1, activities, steps.request(agent="mine", step=2, prompt=None))
    assert [raws(request) for request in model.requests] == [[THOUGHT], [None], [None, None]]


async def test_a_model_that_does_not_take_what_it_was_not_sent_fails_the_turn(steps: Steps) -> None:
    steps.agents = [AGENT]
    error = await failure(1, steps.call(FakeModel([ThoughtsRefusedError("reasoning")])), steps.request(agent="mine"))
    assert error.type == "ThoughtsRefusedError"


async def test_an_interrupted_answer_keeps_what_was_thought(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel([ReasoningDelta("Hm"), "Ye", PAUSE])
    environment = attempt()
    running = asyncio.ensure_future(environment.run(steps.call(model), steps.request(agent="mine")))
    await model.paused.wait()
    environment.cancel()
    result = await running
    row = await steps.answer()
    assert (result.finish, row.text, row.reasoning) == ("interrupted", "Ye", "Hm")


async def test_a_retry_begins_to_think_anew(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel([ReasoningDelta("Wrong"), ModelUnavailableError("cut")])
    await failure(1, steps.call(model), steps.request(agent="mine"))
    await run(2, steps.call(FakeModel([ReasoningDelta("Hm."), thinking()])), steps.request(agent="mine"))
    assert (await steps.answer()).reasoning == "Hm."


# --- arguments, sources


async def test_the_arguments_of_a_call_are_heard_as_they_come(steps: Steps) -> None:
    pieces = [
        ToolDelta(0, "c", "look", '{"what"'),
        ToolDelta(0, "c", "look", ': "x"}'),
        ToolDelta(1, "d", "look", "{}"),
    ]
    await steps.ask(AGENT, *pieces, thinking("", (call("c"), call("d"))))
    texts: dict[tuple[int, str, str], str] = {}
    for data in steps.events.of(steps.thread, "tool.delta"):
        key = (data["index"], data["call_id"], data["tool"])
        texts[key] = texts.get(key, "") + data["text"]
    assert texts == {(0, "c", "look"): '{"what": "x"}', (1, "d", "look"): "{}"}


async def test_sources_are_kept(steps: Steps) -> None:
    await steps.ask(AGENT, thinking(sources=[SOURCE]))
    assert (await steps.answer()).sources == [SOURCE]


async def test_tools_of_the_provider_are_offered_as_they_are(steps: Steps) -> None:
    search = {"type": "web_search_preview", "search_context_size": "low"}
    result = await steps.ask(Agent("mine", provider_tools=[search]), thinking(sources=[SOURCE]))
    assert steps.asked[0].tools == [search]
    assert (result.plan, (await steps.answer()).raw) == ([], THOUGHT)


# --- an answer of one's own


async def given(steps: Steps, function: Any, **agent: Any) -> Any:
    mine = Agent("mine", instructions="Own.", respond=function, tools=Workbench().tools(), **agent)
    return await steps.ask(mine)


async def test_an_agent_may_answer_by_a_function_of_its_own(steps: Steps) -> None:
    seen: list[Any] = []

    async def respond(request: ModelRequest, info: Any) -> Any:
        seen.append((request, info))
        yield "Hel"
        yield "lo\ud83d"

    result = await given(steps, respond)
    [(request, info)] = seen
    assert (result.finish, (await steps.answer()).text) == ("stop", "Hello\ufffd")
    assert [message.text for message in request.messages] == ["Own.", "Hi"]
    assert (info.agent, info.thread, info.turn, info.step) == ("mine", steps.thread, 1, 0)
    assert steps.asked == []
    assert "".join(data["text"] for data in steps.events.of(steps.thread, "message.delta")) == "Hello\ufffd"


def said_at_once(_request: ModelRequest, _info: Any) -> str:
    return "Hello!"


async def said_later(_request: ModelRequest, _info: Any) -> str:
    return "Hello!"


def completed(_request: ModelRequest, _info: Any) -> Completion:
    return completion("Hello!")


async def streamed_and_completed(_request: ModelRequest, _info: Any) -> Any:
    yield ReasoningDelta("Hm.")
    yield "Hello!"
    yield thinking("")


@pytest.mark.parametrize("function", [said_at_once, said_later, completed, streamed_and_completed])
async def test_such_a_function_may_be_of_any_kind(steps: Steps, function: Any) -> None:
    result = await given(steps, function)
    assert (result.preview, (await steps.answer()).text) == ("Hello!", "Hello!")
    assert steps.finished() == 1


async def test_such_a_function_may_call_tools_and_count_tokens(steps: Steps) -> None:
    result = await given(steps, lambda *_: completion("", [call()]))
    assert [planned.tool for planned in result.plan] == ["look"]
    assert (await steps.answer()).usage is not None


async def test_such_an_answer_is_checked_too(steps: Steps) -> None:
    texts = iter(["Perhaps.", '{"value": "yes"}'])
    await given(steps, lambda *_: next(texts), output=["yes", "no"])
    row = await steps.answer()
    assert (row.object, row.repair is not None) == ("yes", True)


async def breaks(_request: ModelRequest, _info: Any) -> Any:
    yield "Hel"
    raise LookupError("the drawer is empty\ud83d")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (breaks, "The respond of agent 'mine' failed: LookupError: the drawer is empty"),
        (lambda *_: 5, "The respond of agent 'mine' gave a int; give texts, or a Completion"),
        (lambda *_: ["a"], "The respond of agent 'mine' gave a list; give texts, or a Completion"),
        (lambda: "x", "The respond of agent 'mine' failed: TypeError"),
    ],
    ids=["raises", "a number", "a list", "wrong arguments"],
)
async def test_such_a_function_that_goes_wrong_fails_the_turn_in_a_sentence(
    steps: Steps, function: Any, told: str
) -> None:
    mine = Agent("mine", respond=function)
    steps.agents = [mine]
    error = await failure(1, steps.call(FakeModel()), steps.request(agent="mine"))
    assert (error.type, error.non_retryable) == ("HookError", True)
    assert error.message.startswith(told)


@pytest.mark.parametrize(
    ("problem", "permanent"),
    [(ModelUnavailableError("later", 3.0), False), (ModelRefusedError("never"), True)],
    ids=str,
)
async def test_such_a_function_may_say_whether_it_is_worth_another_try(
    steps: Steps, problem: Exception, permanent: bool
) -> None:
    async def respond(_request: ModelRequest, _info: Any) -> Any:
        if not problem.args:
            yield "never"
        raise problem

    steps.agents = [Agent("mine", respond=respond)]
    error = await failure(1, steps.call(FakeModel()), steps.request(agent="mine"))
    assert (error.type, error.non_retryable) == (type(problem).__name__, permanent)


async def test_such_a_function_is_cut_when_the_time_of_the_turn_is_over(steps: Steps) -> None:
    closed: list[bool] = []

    async def respond(_request: ModelRequest, _info: Any) -> Any:
        try:
            yield "So far"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    result = await given(steps, respond, max_seconds=0.05)
    assert (result.finish, result.preview, closed) == ("time_limit", "So far", [True])
