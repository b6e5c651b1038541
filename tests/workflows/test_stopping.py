"""Turns that end by a condition, and choices of tools, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from domain.prompts import Prompt
from domain.stopping import Stop, StopInfo, step_count, tool_called
from doubles.scripted_model import Reply, ToolCall
from tests.system import System
from tests.workflows.test_options import define, ended, options

LOOK = ToolCall(name="look")
PAY = ToolCall(name="pay", arguments={"amount": 5})


def say(*calls: ToolCall, text: str = "") -> Reply:
    return Reply(text=text, tool_calls=list(calls))


def bodies(system: System) -> list[dict[str, Any]]:
    return [request.body for request in system.model.requests]


async def test_a_turn_ends_once_a_tool_has_succeeded(system: System, thread: str) -> None:
    define(system, stop=[tool_called("pay")])
    system.model.script(
        say(LOOK, text="Looking."),
        Reply(step=2, text="Paying.", tool_calls=[PAY]),
        Reply(after_tool=True, text="Never said.", step=3),
    )
    prompt = await ended(system, thread, "Pay!", agent="mine")
    assert (prompt.status, system.bench.ran) == ("answered", [("look", "around"), ("pay", 5)])
    assert len(system.model.requests) == 2
    first, second, stop = await system.answers(thread, "a")
    assert (second.id, second.text) == (prompt.answer, "Paying.")
    assert (stop.finish, stop.text, stop.usage) == ("stopped", "", None)
    assert first.finish == "tool_calls"
    report = await system.threads.ask(thread, Prompt(id="a", content="Pay!", agent="mine"))
    assert (report.status, report.text) == ("answered", "Paying.")


async def test_a_tool_that_failed_ends_nothing(system: System, thread: str) -> None:
    define(system, stop=[tool_called("fail")])
    system.model.script(say(ToolCall(name="fail")), Reply(after_tool=True, text="It failed."))
    assert await system.ask(thread, "Go", agent="mine") == "It failed."


async def test_the_thread_goes_on_after_a_turn_that_was_stopped(system: System, thread: str) -> None:
    define(system, stop=[step_count(1)])
    system.model.script(say(LOOK, text="Looking."), Reply(after_tool=True, text="never"))
    await ended(system, thread, "Look!", agent="mine")
    system.model.script("Fine.")
    assert await system.ask(thread, "And?") == "Fine."
    assert [message["role"] for message in system.asked()] == ["system", "user", "assistant", "tool", "user"]


async def test_a_turn_that_was_stopped_can_go_on(system: System, thread: str) -> None:
    define(system, stop=[step_count(1)])
    system.model.script(say(LOOK), Reply(after_tool=True, text="Seen."))
    await ended(system, thread, "Look!", agent="mine")
    await system.threads.resume(thread, prompt_id="a")

    async def seen() -> bool:
        prompt = await system.prompt(thread, "a")
        rows = await system.store.get([prompt.answer] if prompt.answer else [])
        return prompt.status == "answered" and [row.text for row in rows] == ["Seen."]

    await system.until(seen)


async def test_what_joins_a_turn_that_would_stop_is_answered_first(system: System, thread: str) -> None:
    define(system, stop=[tool_called("hold")])
    system.model.script(
        Reply(when="Wait", text="Yes?"), say(ToolCall(name="hold")), Reply(after_tool=True, text="never")
    )
    await system.submit(thread, "Hold!", id="a", agent="mine")

    async def held() -> bool:
        return ("hold", None) in system.bench.ran

    await system.until(held)
    await system.submit(thread, "Wait, one more thing", id="b", mode="steer")
    system.bench.release()
    await system.ended(thread, "a")
    assert [row.text for row in await system.answers(thread, "a")][-1] == "Yes?"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_condition_may_be_any_function_of_what_was_done(
    system: System, thread: str, asynchronous: bool
) -> None:
    seen: list[StopInfo] = []

    def enough(info: StopInfo) -> bool:
        seen.append(info)
        return "around" in info.calls[-1].text

    async def enough_later(info: StopInfo) -> bool:
        return enough(info)

    condition: Stop = enough_later if asynchronous else enough
    define(system, stop=[condition])
    system.model.script(say(LOOK, text="Looking."), Reply(after_tool=True, text="never"))
    await ended(system, thread, "Go", agent="mine", metadata={"plan": "free"})
    [info] = seen
    assert (info.agent, info.thread, info.turn, info.steps, info.text) == ("mine", thread, 1, 1, "Looking.")
    assert (info.metadata, info.usage.completion_tokens > 0) == ({"plan": "free"}, True)
    assert [(call.tool, call.succeeded) for call in info.calls] == [("look", True)]


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (lambda _: 1 / 0, "The stop of agent 'mine' failed: ZeroDivisionError"),
        (lambda _: "yes", "The stop of agent 'mine' returned a str; return True or False"),
    ],
    ids=["raises", "says something else"],
)
async def test_a_condition_that_goes_wrong_fails_the_turn_in_a_sentence(
    system: System, thread: str, condition: Any, told: str
) -> None:
    define(system, stop=[condition])
    system.model.script(say(LOOK), Reply(after_tool=True, text="never"))
    prompt = await ended(system, thread, "Go", agent="mine")
    assert (prompt.status, told in (prompt.error or "")) == ("failed", True)


async def test_a_prompt_may_stop_after_a_tool(system: System, thread: str) -> None:
    system.model.script(say(PAY), Reply(after_tool=True, text="never"))
    await ended(system, thread, "Pay!", agent="helper", options=options(stop_after_tools=["pay"]))
    assert len(system.model.requests) == 1


# --- choices of tools


async def test_a_tool_is_forced_in_the_first_call_of_a_turn_and_no_other(system: System, thread: str) -> None:
    define(system, tool_choice="look", parallel_tool_calls=False)
    system.model.script(say(LOOK), Reply(after_tool=True, text="Seen."))
    await system.ask(thread, "Look!", agent="mine")
    forced = {"type": "function", "function": {"name": "look"}}
    assert [body["tool_choice"] for body in bodies(system)] == [forced, "auto"]
    assert [body["parallel_tool_calls"] for body in bodies(system)] == [False, False]


async def test_a_choice_of_the_prompt_counts_before_the_agents(system: System, thread: str) -> None:
    define(system, tool_choice="required", parallel_tool_calls=False)
    wanted = options(tool_choice="none", parallel_tool_calls=True)
    await system.ask(thread, "Hi", agent="mine", options=wanted)
    [body] = bodies(system)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("none", True)


async def test_without_a_word_about_parallel_calls_none_is_sent(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", agent="helper")
    assert "parallel_tool_calls" not in bodies(system)[0]


async def test_a_forced_tool_that_there_is_not_fails_the_turn_in_a_sentence(system: System, thread: str) -> None:
    prompt = await ended(system, thread, "Go", agent="helper", options=options(tool_choice="dig"))
    assert "tool_choice 'dig' is no tool of agent 'helper'; it is one of: auto, required, none, look" in (
        prompt.error or ""
    )
