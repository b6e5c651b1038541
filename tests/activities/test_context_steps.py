"""A step's context: what the prompt and the agent say about it, and the record that stays with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from activities import hooks
from domain import ids
from domain.agent import Agent
from domain.chat import ChatMessage
from domain.context_record import ContextRecord
from domain.errors import ContextTooLongError
from domain.hooks import ContextParts
from domain.messages import ToolCall
from domain.prompts import Prompt, PromptOptions
from tests.activities.fakes import FakeModel, Steps, completion, failure, run
from tests.system import WatchedStore


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


async def record_of(steps: Steps, prompt_id: str = "p", step: int = 0) -> ContextRecord:
    [row] = await steps.store.get([ids.message_id(steps.thread, prompt_id, "answer", step=step)])
    assert row.context is not None
    return ContextRecord.model_validate(row.context)


def second(text: str = "And?", **options: Any) -> dict[str, Any]:
    return {"prompt": Prompt(id="q", content=text, options=PromptOptions(**options)), "prompt_id": "q", "turn": 2}


async def test_what_the_model_was_shown_is_recorded_with_the_answer(steps: Steps) -> None:
    agent = Agent("a", instructions="Be brief.")
    await steps.ask(agent)
    await steps.ask(agent, **second())
    record = await record_of(steps, "q")
    assert record.recent == [ids.message_id(steps.thread, "p", slot) for slot in ("prompt", "answer")]
    assert record.running == [ids.message_id(steps.thread, "q", "prompt")]
    assert record.budget == 8_000
    assert {name for name, tokens in record.tokens.items() if tokens} == {"instructions", "recent", "prompt"}


async def test_lists_of_messages_do_not_carry_the_record(steps: Steps) -> None:
    await steps.ask(Agent("a"))
    page = await steps.store.page(steps.thread, cursor=None, limit=10, newest_first=False)
    assert [row.context for row in page.items] == [None, None]


async def test_the_text_for_the_context_is_read_in_the_place_of_the_prompts_own_in_its_turn_only(steps: Steps) -> None:
    agent = Agent("a", instructions="")
    prompt = Prompt(id="p", content="Hi", options=PromptOptions(context_prompt="Hi, and a fact: 42"))
    await steps.ask(agent, prompt=prompt)
    assert [chat.text for chat in steps.asked[0].messages] == ["Hi, and a fact: 42"]
    assert (await steps.prompt()).text == "Hi"
    await steps.ask(agent, **second())
    assert [chat.text for chat in steps.asked[0].messages] == ["Hi", "Hello!", "And?"]


async def test_the_text_for_the_context_is_read_in_every_step_of_the_turn(steps: Steps) -> None:
    call = ToolCall(call_id="c", name="look", arguments="{}")
    prompt = Prompt(id="p", content="Hi", options=PromptOptions(context_prompt="A fact: 42"))
    await steps.ask(Agent("a", instructions=""), completion("", [call]), prompt=prompt)
    await steps.ran(0)
    await steps.later(Agent("a", instructions=""), 1)
    assert steps.asked[0].messages[0].text == "A fact: 42"


async def test_a_prompt_may_leave_the_tools_of_earlier_turns_out(steps: Steps) -> None:
    agent = Agent("a", instructions="")
    await steps.ask(agent, completion("I look.", [ToolCall(call_id="c", name="look", arguments="{}")]))
    await steps.ran(0)
    await steps.later(agent, 1)
    await steps.ask(agent, **second(exclude_tool_messages=True))
    assert [chat.role for chat in steps.asked[0].messages] == ["user", "assistant", "assistant", "user"]
    assert not any(chat.tool_calls for chat in steps.asked[0].messages)


async def test_a_call_that_was_too_long_says_how_often_the_budget_was_halved(steps: Steps) -> None:
    steps.agents = [Agent("a")]
    model = FakeModel([ContextTooLongError("too long")], [ContextTooLongError("too long")], [completion()])
    request = steps.request(agent="a")
    await run(1, steps.call(model), request)
    record = await record_of(steps)
    assert (record.halved, record.budget, record.overflowed) == (2, 2_000, True)


# --- the agent's context_handler


async def test_an_agent_makes_the_messages_of_the_parts(steps: Steps) -> None:
    seen: list[ContextParts] = []

    async def handler(parts: ContextParts) -> Sequence[ChatMessage]:
        seen.append(parts)
        return [ChatMessage("system", "Ada is here."), *parts.prompt]

    await steps.ask(Agent("a", instructions="Be brief."))
    await steps.ask(Agent("a", instructions="Be brief.", context_handler=handler), **second())
    [parts] = seen
    assert [chat.text for chat in parts.recent] == ["Hi", "Hello!"]
    assert ([chat.text for chat in parts.prompt], parts.running, parts.search) == (["And?"], [], [])
    assert [chat.text for chat in steps.asked[0].messages] == ["Be brief.\n\nAda is here.", "And?"]
    assert (await record_of(steps, "q")).handled


async def test_what_an_agent_makes_of_the_parts_is_made_valid_for_the_provider(steps: Steps) -> None:
    call = ToolCall(call_id="c", name="look", arguments="{}")

    def handler(parts: ContextParts) -> list[ChatMessage]:
        lost = ChatMessage("tool", "lost", call_id="x")
        return [lost, ChatMessage("assistant", "", [call]), *parts.messages]

    await steps.ask(Agent("a", instructions="", context_handler=handler))
    assert [chat.role for chat in steps.asked[0].messages] == ["assistant", "tool", "user"]


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (None, "returned a NoneType; return a list of ChatMessage"),
        (["hello"], "returned a list; return a list of ChatMessage"),
        ([], "left no message for the model"),
        ([ChatMessage("system", "x")], "left no message for the model"),
    ],
    ids=["none", "texts", "empty", "only the system's"],
)
async def test_what_cannot_be_used_fails_the_turn_with_a_sentence(steps: Steps, result: Any, problem: str) -> None:
    steps.agents = [Agent("a", context_handler=lambda _: result)]
    error = await failure(1, steps.call(FakeModel()), steps.request(agent="a"))
    assert (error.type, error.message) == ("HookError", f"The context_handler of agent 'a' {problem}")


async def test_one_that_raises_fails_the_turn_with_a_sentence(steps: Steps) -> None:
    def handler(parts: ContextParts) -> list[ChatMessage]:
        raise KeyError(parts.thread[:0] + "lost")

    steps.agents = [Agent("a", context_handler=handler)]
    error = await failure(1, steps.call(FakeModel()), steps.request(agent="a"))
    assert error.message == "The context_handler of agent 'a' failed: KeyError: 'lost'"
    assert hooks.HOOK_S == 30.0
