"""`call_model`: what the prompt, the agent and its hook say of one call."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest

from domain.agent import Agent
from domain.chat import UNSEEN_IMAGE, ChatMessage
from domain.errors import ImagesRefusedError
from domain.hooks import StepChanges, StepInfo
from domain.messages import Usage
from domain.model import ModelRequest
from domain.prompts import Prompt, PromptOptions
from tests.activities.fakes import FakeModel, Steps, completion, failure, look, run
from tests.agents import Workbench
from tests.system import WatchedStore

TOOLS = Workbench().tools()
HELPER = Agent("mine", instructions="Use tools.", tools=TOOLS, model="m1", options={"temperature": 0.1})


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


def names(request: ModelRequest) -> list[str]:
    return [tool["function"]["name"] for tool in request.tools]


# --- what the prompt says


def wanting(**options: Any) -> Prompt:
    return Prompt(id="p", content="Hi", options=PromptOptions(**options))


async def test_what_the_prompt_says_counts_before_the_agent(steps: Steps) -> None:
    options = {"model": "m2", "instructions": ["Rhyme.", "Briefly."], "tools": ["pay"], "settings": {"top_p": 0.5}}
    await steps.ask(HELPER, prompt=wanting(**options))
    [asked] = steps.asked
    assert (asked.model, names(asked), asked.options) == ("m2", ["pay"], {"top_p": 0.5})
    assert [message.text for message in asked.messages] == ["Rhyme.", "Briefly.", "Hi"]


async def test_what_the_prompt_does_not_say_is_the_agents(steps: Steps) -> None:
    await steps.ask(HELPER, prompt=wanting(max_steps=2))
    [asked] = steps.asked
    assert (asked.model, names(asked), asked.options) == ("m1", [t.name for t in TOOLS], {"temperature": 0.1})


async def test_later_steps_keep_to_what_the_prompt_says(steps: Steps) -> None:
    """The options are read from the prompt's row: no later step is told of them."""
    await steps.ask(HELPER, completion("", [look()]), prompt=wanting(model="m2", max_steps=2))
    await steps.ran(0)
    await steps.later(HELPER, 1)
    [asked] = steps.asked
    assert (asked.model, asked.tool_choice) == ("m2", "none")


async def test_a_tool_that_is_unknown_to_the_agent_fails_the_turn_with_the_choice(steps: Steps) -> None:
    steps.agents = [replace(HELPER, tools=TOOLS[:2])]
    request = steps.request(agent="mine", prompt=wanting(tools=["dig"]))
    failed = await failure(1, steps.call(FakeModel()), request)
    assert (failed.type, failed.non_retryable) == ("InputRefusedError", True)
    assert failed.message == "options of the prompt: agent 'mine' has no tool 'dig'; its tools are: look, sync"


async def test_a_call_of_a_tool_that_was_not_offered_is_marked(steps: Steps) -> None:
    calls = [look(), look("d", name="pay"), look("e", name="dig")]
    result = await steps.ask(HELPER, completion("", calls), prompt=wanting(tools=["look"]))
    assert [(call.tool, call.offered) for call in result.plan] == [("look", True), ("pay", False), ("dig", False)]


async def test_a_prompt_may_leave_out_the_past(steps: Steps) -> None:
    await steps.ask(HELPER)
    second = Prompt(id="q", content="And?", options=PromptOptions(recent_messages=0))
    await steps.ask(HELPER, prompt=second, prompt_id="q", turn=2)
    assert [message.text for message in steps.asked[0].messages] == ["Use tools.", "And?"]


async def test_an_image_of_the_prompt_reaches_the_model(steps: Steps) -> None:
    url = "data:image/png;base64,AAAA"
    content = [{"type": "text", "text": "What is this?"}, {"type": "image", "url": url}]
    await steps.ask(HELPER, prompt=Prompt.model_validate({"id": "p", "content": content}))
    shown = steps.asked[0].messages[-1]
    assert (shown.text, [part.url for part in shown.parts]) == ("What is this?", ["", url])


async def test_a_model_that_cannot_see_is_told_of_past_images_in_words(steps: Steps) -> None:
    """Else one image would keep every agent with such a model out of the thread."""
    image = {"type": "image", "url": "https://example.com/a.png"}
    await steps.ask(HELPER, prompt=Prompt.model_validate({"id": "p", "content": [image]}))
    blind, second = FakeModel([ImagesRefusedError("I cannot see.")], [completion()]), Prompt(id="q", content="And?")
    steps.agents = [HELPER]
    await run(1, steps.call(blind), steps.request(agent="mine", prompt=second, prompt_id="q", turn=2))
    assert [message.text for message in blind.requests[1].messages] == ["Use tools.", UNSEEN_IMAGE, "Hello!", "And?"]
    assert not any(message.parts for message in blind.requests[1].messages)


async def test_an_image_that_the_model_cannot_see_fails_its_own_turn(steps: Steps) -> None:
    prompt = Prompt.model_validate({"id": "p", "content": [{"type": "image", "url": "https://example.com/a.png"}]})
    failed = await failure(
        1, steps.call(FakeModel([ImagesRefusedError("I cannot see.")])), steps.request(prompt=prompt)
    )
    assert (failed.message, failed.non_retryable) == ("I cannot see.", True)


async def test_the_workflow_is_told_what_prompts_do_while_the_agent_is_busy(steps: Steps) -> None:
    assert (await steps.ask(replace(HELPER, busy_mode="steer"))).busy_mode == "steer"


# --- the hook


async def test_the_hook_sees_what_the_call_is_about(steps: Steps) -> None:
    seen: list[StepInfo] = []
    agent = replace(HELPER, prepare_step=seen.append)
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    prompt = Prompt(id="p", content="Hi", author="Ada", metadata={"plan": "free"})
    await steps.ask(agent, completion("", [look()]), prompt=prompt)
    await steps.ran(0)
    await steps.later(agent, 1)
    first, second = seen
    assert (first.step, first.turn, first.thread, first.last) == (0, 1, steps.thread, False)
    assert (first.author, first.metadata, first.usage) == ("Ada", {"plan": "free"}, Usage())
    assert first.messages == (ChatMessage("user", "Hi"),)
    assert (second.step, second.usage) == (1, usage)
    assert [message.role for message in second.messages] == ["user", "assistant", "tool"]


async def test_the_hook_may_change_all_of_a_call(steps: Steps) -> None:
    async def prepare(info: StepInfo) -> StepChanges:
        return StepChanges(
            model="m3",
            instructions="Be someone else.",
            tools=["pay", "look"],
            tool_choice="pay",
            settings={"top_p": 1},
            messages=[*info.messages, ChatMessage("user", "Now!")],
        )

    await steps.ask(replace(HELPER, prepare_step=prepare))
    [asked] = steps.asked
    assert (asked.model, names(asked), asked.tool_choice, asked.options) == ("m3", ["look", "pay"], "pay", {"top_p": 1})
    assert [message.text for message in asked.messages] == ["Be someone else.", "Hi", "Now!"]


async def test_the_hook_comes_after_the_prompts_options(steps: Steps) -> None:
    agent = replace(HELPER, prepare_step=lambda _: StepChanges(model="m3"))
    await steps.ask(agent, prompt=wanting(model="m2", tools=["look"]))
    assert (steps.asked[0].model, names(steps.asked[0])) == ("m3", ["look"])


async def test_a_hook_that_says_nothing_changes_nothing(steps: Steps) -> None:
    await steps.ask(HELPER)
    plain = steps.asked
    other = Steps(steps.store, steps.thread + "x")
    await other.ask(replace(HELPER, prepare_step=lambda _: None))
    assert other.asked == plain


async def test_a_call_of_a_tool_that_the_hook_took_away_is_not_run(steps: Steps) -> None:
    agent = replace(HELPER, prepare_step=lambda _: StepChanges(tools=["look"]))
    result = await steps.ask(agent, completion("", [look(name="pay")]))
    assert [call.offered for call in result.plan] == [False]


async def test_the_hook_cannot_make_the_conversation_invalid(steps: Steps) -> None:
    """A call without its result is closed, a result without its call left out."""
    messages = [
        ChatMessage("tool", "of nothing", call_id="x"),
        ChatMessage("user", "Hi"),
        ChatMessage("assistant", "", [look("c")]),
    ]
    await steps.ask(replace(HELPER, prepare_step=lambda _: StepChanges(messages=messages)))
    assert [message.role for message in steps.asked[0].messages] == ["system", "user", "assistant", "tool"]


async def test_the_hook_cannot_give_tools_to_a_last_call(steps: Steps) -> None:
    agent = replace(HELPER, max_steps=1, prepare_step=lambda _: StepChanges(tool_choice="required"))
    await steps.ask(agent)
    assert steps.asked[0].tool_choice == "none"


def raises(_: StepInfo) -> StepChanges:
    raise LookupError("no such customer\ud83d")


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (raises, "failed: LookupError: no such customer"),
        (lambda _: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (lambda _: sys.exit(2), "failed: SystemExit: 2"),
        (lambda _: {"model": "m"}, "returned a dict; return StepChanges or None"),
        (lambda _: StepChanges(tools=["dig"]), "returned what cannot be used: agent 'mine' has no tool 'dig'"),
        (lambda _: StepChanges(tools=["look"], tool_choice="pay"), "chose 'pay'; tool_choice is one of: auto,"),
        (lambda _: StepChanges(settings={"seed": object()}), "returned what cannot be used: Object of type object"),
        (lambda _: StepChanges(messages=[]), "left no message for the model"),
        (lambda _: StepChanges(model=5), "failed: ValidationError: 2 validation errors for StepChanges model"),  # type: ignore[arg-type]
        (
            lambda _: StepChanges(messages=[ChatMessage("user", None)]),  # type: ignore[arg-type]
            "failed: ValidationError: 1 validation error for StepChanges messages.0.text",
        ),
    ],
)
async def test_a_hook_that_goes_wrong_fails_the_turn_in_a_sentence(steps: Steps, hook: Any, why: str) -> None:
    """And for good: the next attempt would fail as well."""
    steps.agents = [replace(HELPER, prepare_step=hook)]
    model = FakeModel()
    failed = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (failed.type, failed.non_retryable, model.requests) == ("HookError", True, [])
    assert failed.message.startswith(f"The prepare_step of agent 'mine' {why}")


async def test_a_hook_that_takes_too_long_fails_the_turn(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: StepInfo) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("activities.hooks.HOOK_S", 0.02)
    steps.agents = [replace(HELPER, prepare_step=hangs)]
    failed = await failure(1, steps.call(FakeModel()), steps.request(agent="mine"))
    assert failed.message == "The prepare_step of agent 'mine' did not finish within 0.02 s"
    assert failed.non_retryable
