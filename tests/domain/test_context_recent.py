"""The recent window: whole turns, the newest, within the number of messages and the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.chat import chat_of, close_calls, says_something
from domain.context import Options, Parts, Past, Summary, build_context
from domain.messages import Message, ToolCall
from tests.domain.contexts import PLENTY, answer, assert_valid, build, conversations, exchange, prompt, row

NOW = [prompt(9, "now", "pending")]
OTHER_SUMMARY = Summary("It began well.", 2)


def with_tools(turn: int, calls: int = 1, said: str = "done") -> list[Message]:
    """A prompt, steps with a call and its result, and an answer."""
    rows = [prompt(turn, f"ask {turn}")]
    for step in range(calls):
        call = ToolCall(call_id=f"{turn}.{step}", name="look", arguments="{}")
        rows.append(answer(turn, "", step, tool_calls=[call]))
        rows.append(row(turn, step, 100, "tool", call_id=call.call_id, name="look", text=f"seen {step}"))
    return [*rows, answer(turn, said, calls)]


def shown(history: list[Message], budget: int = PLENTY, **options: object) -> list[str]:
    return [chat.text for chat in build("", history, NOW, budget, Options(**options))][:-1]  # type: ignore[arg-type]


def test_the_window_is_of_so_many_messages_and_of_whole_turns() -> None:
    history = exchange(1, "a", "A") + exchange(2, "b", "B") + exchange(3, "c", "C")
    assert shown(history, recent_messages=5) == ["b", "B", "c", "C"]


def test_without_a_window_only_the_running_turn_is_shown() -> None:
    assert shown(exchange(1, "a", "A"), recent_messages=0) == []


def test_of_a_last_turn_that_is_longer_than_the_window_the_prompt_and_the_last_answer_are_shown() -> None:
    context = build_context(Parts("", NOW, Past(with_tools(1, 8))), PLENTY, Options(recent_messages=5))
    asked, said = context.recent
    assert asked.text.startswith("ask 1\n\n[… 16 messages of this turn are left out here")
    assert (said.text, context.record.abridged) == ("done", [with_tools(1)[0].id])


def test_of_a_last_turn_that_costs_more_than_the_budget_the_ends_are_shown() -> None:
    history = exchange(1, "a", "A") + with_tools(2, 60)
    context = build_context(Parts("", NOW, Past(history)), 600)
    assert [chat.text.split("\n")[0] for chat in context.recent] == ["ask 2", "done"]
    assert (context.record.dropped, context.record.overflowed) == ({"budget": 1}, True)


def test_a_turn_that_the_window_cuts_is_dropped_if_there_is_a_later_one() -> None:
    history = [*with_tools(1, 3)[3:], *exchange(2, "b", "B")]
    assert shown(history) == ["b", "B"]


@given(conversations(), st.integers(0, 400), st.integers(0, 12), st.booleans())
def test_the_context_is_valid_for_the_provider_whatever_the_window(
    conversation: tuple[list[Message], list[Message]], budget: int, recent: int, without: bool
) -> None:
    history, running = conversation
    options = Options(recent_messages=recent, exclude_tool_messages=without, longest=50)
    context = build_context(Parts("Be brief.", running, Past(history)), budget, options)
    assert_valid(context.messages)
    assert [chat.role for chat in context.prompt] == ["user"]
    assert context.running == close_calls(chat for row in running[1:] if says_something(chat := chat_of(row)))


def test_messages_of_tools_can_be_left_out_of_earlier_turns() -> None:
    history = with_tools(1)
    assert shown(history, exclude_tool_messages=True) == ["ask 1", "done"]
    running = with_tools(9)[:3]
    context = build_context(Parts("", running, Past(history)), PLENTY, Options(exclude_tool_messages=True))
    assert [chat.role for chat in context.running] == ["assistant", "tool"]


def test_a_turn_that_is_made_anew_sees_nothing_that_came_later() -> None:
    history = exchange(1, "a", "A") + exchange(2, "b", "B") + exchange(3, "c", "C")
    running = [prompt(2, "b", "pending", branch=1)]
    assert [chat.text for chat in build("", history, running, PLENTY)] == ["a", "A", "b"]


def test_turns_that_the_summary_stands_for_are_not_shown_beside_it() -> None:
    history = exchange(1, "a", "A") + exchange(2, "b", "B") + exchange(3, "c", "C")
    context = build_context(Parts("Be kind.", NOW, Past(history, summary=OTHER_SUMMARY)), PLENTY)
    assert [chat.text for chat in context.recent] == ["c", "C"]
    assert context.messages[0].text.endswith("It began well.")
    assert context.record.summary_through == 2


@pytest.mark.parametrize(("turn", "before"), [(1, []), (2, ["a", "A"])])
def test_a_summary_that_tells_of_later_turns_is_not_shown_to_one_that_is_made_anew(
    turn: int, before: list[str]
) -> None:
    history = exchange(1, "a", "A") + exchange(2, "b", "B")
    running = [prompt(turn, "again", "pending", branch=1)]
    context = build_context(Parts("", running, Past(history, summary=OTHER_SUMMARY)), PLENTY)
    assert [chat.text for chat in context.messages] == [*before, "again"]
    assert context.record.summary_through is None
