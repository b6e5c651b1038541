"""What a prompt, an agent and its hook say of a turn, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from domain.agent import Agent
from domain.hooks import StepChanges, StepInfo
from domain.messages import Message
from domain.prompts import Prompt, PromptOptions
from doubles.scripted_model import Reply, ReplyError, ToolCall, Usage
from tests.system import System

LOOK = Reply(tool_calls=[ToolCall(name="look")])


def options(**fields: Any) -> PromptOptions:
    return PromptOptions(**fields)


def define(system: System, name: str = "mine", **fields: Any) -> str:
    """An agent of the test's own, with the tools of the workbench."""
    system.catalog._agents[name] = Agent(name, **({"tools": system.bench.tools()} | fields))
    return name


async def ended(system: System, thread: str, content: Any, **fields: Any) -> Message:
    """The prompt's row at the end of its turn."""
    await system.submit(thread, content, id="a", **fields)
    [prompt] = await system.ended(thread, "a")
    return prompt


async def test_the_options_of_a_prompt_hold_for_every_step_of_its_turn_and_no_other(
    system: System, thread: str
) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="look")], times=1), Reply(after_tool=True, text="Seen."), "Hi!")
    wanted = options(model="other", instructions="Rhyme.", tools=["look"], settings={"temperature": 0.5})
    await system.ask(thread, "Look!", agent="helper", options=wanted)
    await system.ask(thread, "And now?", agent="helper")
    *first, last = (request.body for request in system.model.requests)
    assert [body["model"] for body in first] == ["other", "other"]
    assert [body["messages"][0]["content"] for body in first] == ["Rhyme.", "Rhyme."]
    assert [[tool["function"]["name"] for tool in body["tools"]] for body in first] == [["look"], ["look"]]
    assert [body["temperature"] for body in first] == [0.5, 0.5]
    assert (last["model"], last["messages"][0]["content"], len(last["tools"])) == ("scripted", "Use tools.", 9)
    assert "temperature" not in last


async def test_the_model_that_ran_is_recorded(system: System, thread: str) -> None:
    await system.submit(thread, "Hi", id="a", options=options(model="other"))
    await system.ended(thread, "a")
    [answer] = await system.answers(thread, "a")
    assert answer.model == "other"


async def test_a_model_that_is_out_is_passed_over_and_the_one_that_answered_is_recorded(
    system: System, thread: str
) -> None:
    away = Reply(status=503, error=ReplyError(message="Overloaded."), times=1)
    system.model.script(away, "Hello!")
    assert await system.ask(thread, "Hi", id="a", options=options(model=["first", "second"])) == "Hello!"
    assert [request.body["model"] for request in system.model.requests] == ["first", "second"]
    [answer] = await system.answers(thread, "a")
    assert answer.model == "second"


async def test_options_hold_for_a_prompt_by_signal_of_another_language(system: System, thread: str) -> None:
    handle = await system.start(thread)
    await handle.signal("prompt", {"id": "a", "content": "Hi", "options": {"instructions": ["Rhyme.", "Briefly."]}})
    await system.ended(thread, "a")
    assert [message["content"] for message in system.asked()] == ["Rhyme.", "Briefly.", "Hi"]


async def test_a_tool_that_the_agent_does_not_have_fails_the_turn_and_no_other(system: System, thread: str) -> None:
    prompt = await ended(system, thread, "Hi", agent="helper", options=options(tools=["look", "dig"]))
    assert prompt.status == "failed"
    assert "agent 'helper' has no tool 'dig'; its tools are: look, sync, hold, pay" in (prompt.error or "")
    assert system.model.requests == []
    assert await system.ask(thread, "Hi") == "You said: Hi"


async def test_a_tool_that_the_prompt_takes_away_is_not_run_even_if_the_model_calls_it(
    system: System, thread: str
) -> None:
    """Not every model keeps to what it was offered."""
    pay = ToolCall(name="pay", arguments={"amount": 5})
    system.model.script(Reply(tool_calls=[pay]), Reply(after_tool=True, text="I read: {tool}"))
    answer = await system.ask(thread, "Pay!", agent="helper", options=options(tools=["look"]))
    assert answer.startswith("I read: The tool 'pay' cannot be used now.")
    assert system.bench.ran == []


async def test_an_image_reaches_the_model(system: System, thread: str) -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    prompt = Prompt.model_validate({"id": "a", "content": [{"type": "text", "text": "What is this?"}, image]})
    await system.threads.submit(thread, prompt)
    await system.ended(thread, "a")
    assert await system.ask(thread, "Are you sure?")
    for number in (0, 1):
        assert system.asked(number)[1]["content"] == [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ]


# --- limits of a turn


async def test_a_prompt_may_limit_its_steps(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="look")], step=1), Reply(text="Enough.", step=2))
    assert await system.ask(thread, "Look for ever!", agent="helper", options=options(max_steps=2)) == "Enough."
    assert [request.body["tool_choice"] for request in system.model.requests] == ["auto", "none"]


def for_ever(system: System, tool: str = "look", **call: Any) -> None:
    """The model calls a tool for as long as it may."""
    usage = Usage(prompt_tokens=60, completion_tokens=40)
    reply = Reply(tool_calls=[ToolCall(name=tool, **call)], usage=usage)
    system.model.script(reply, reply.model_copy(update={"after_tool": True}))


async def last_answer(system: System, thread: str) -> Message:
    return (await system.answers(thread, "a"))[-1]


@pytest.mark.parametrize(
    ("agent", "tool", "finish", "steps"),
    [
        ({"max_tokens": 200}, "look", "token_limit", 3),
        ({"max_repeats": 3}, "look", "loop", 4),
        ({"max_failing_steps": 2}, "fail", "loop", 3),
    ],
)
async def test_a_turn_that_does_not_end_by_itself_is_ended_by_its_limit(
    system: System, thread: str, agent: dict[str, Any], tool: str, finish: str, steps: int
) -> None:
    """The scripted model does not even heed that it may call no tools."""
    for_ever(system, tool)
    prompt = await ended(system, thread, "Go!", agent=define(system, **agent))
    assert prompt.status == "answered"
    assert [request.body["tool_choice"] for request in system.model.requests] == ["auto"] * (steps - 1) + ["none"]
    assert "Do not call any more tools." in system.asked()[0]["content"]
    assert (await last_answer(system, thread)).finish == finish
    system.model.script("Fine.")
    assert await system.ask(thread, "And now?", agent="mine") == "Fine."


async def test_a_turn_without_limits_of_its_own_does_not_go_in_circles(system: System, thread: str) -> None:
    for_ever(system)
    await ended(system, thread, "Go!", agent="helper")
    assert len(system.model.requests) == 6
    assert (await last_answer(system, thread)).finish == "loop"


async def test_an_answer_that_takes_too_long_is_cut_and_kept(system: System, thread: str) -> None:
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    prompt = await ended(system, thread, "Count!", options=options(max_seconds=0.5))
    answer = await last_answer(system, thread)
    assert (prompt.status, answer.status, answer.text, answer.finish) == (
        *("answered", "complete", "one two", "time_limit"),
    )


# --- the hook


async def test_the_hook_of_an_agent_prepares_each_model_call(system: System, thread: str) -> None:
    """A dear model plans, a cheap one answers; what was said of the customer decides the tone."""

    def prepare(info: StepInfo) -> StepChanges | None:
        if info.step == 0:
            return StepChanges(model="dear", tools=["look"], tool_choice="look")
        return StepChanges(model="cheap", instructions=f"Be {info.metadata['tone']}.")

    system.model.script(LOOK, Reply(after_tool=True, text="Seen."))
    name = define(system, prepare_step=prepare)
    assert await system.ask(thread, "Look!", id="a", agent=name, metadata={"tone": "kind"}) == "Seen."
    first, second = (request.body for request in system.model.requests)
    assert (first["model"], [tool["function"]["name"] for tool in first["tools"]]) == ("dear", ["look"])
    assert first["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert (second["model"], second["messages"][0]["content"]) == ("cheap", "Be kind.")
    assert [answer.model for answer in await system.answers(thread, "a")] == ["dear", "cheap"]


async def test_a_hook_that_raises_fails_the_turn_at_once_and_the_thread_goes_on(system: System, thread: str) -> None:
    async def prepare(info: StepInfo) -> None:
        raise LookupError(f"no customer {info.author}")

    prompt = await ended(system, thread, "Hi", agent=define(system, prepare_step=prepare), author="Ada")
    assert prompt.status == "failed"
    assert prompt.error == "The prepare_step of agent 'mine' failed: LookupError: no customer Ada"
    assert system.model.requests == []
    assert await system.ask(thread, "Hi") == "You said: Hi"


# --- answers without a word


async def test_an_empty_answer_ends_the_turn_and_the_thread_goes_on(system: System, thread: str) -> None:
    system.model.script(Reply(text="", times=1), "Fine.")
    prompt = await ended(system, thread, "Hi")
    answer = await last_answer(system, thread)
    assert (prompt.status, answer.status, answer.text, answer.finish) == ("answered", "complete", "", "stop")
    assert await system.ask(thread, "Again") == "Fine."
    assert [message["role"] for message in system.asked()] == ["system", "user", "user"]
