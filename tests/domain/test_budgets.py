"""When a turn must end: limits of tokens and time, and turns that go in circles."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.agent import Agent
from domain.budgets import ending, total_usage
from domain.messages import Message, ToolCall, Usage


def answer(step: int, *calls: str, tokens: int | None = None, **fields: Any) -> Message:
    """`calls`: the JSON text of their arguments."""
    made = [ToolCall(call_id=f"{step}.{n}", name="look", arguments=text) for n, text in enumerate(calls)]
    usage = None if tokens is None else Usage(prompt_tokens=tokens - 1, completion_tokens=1)
    return row("assistant", step, ids.ANSWER_ORDINAL, tool_calls=made, usage=usage, **fields)


def result(step: int, number: int = 0, *, failed: bool = False) -> Message:
    return row("tool", step, ids.TOOL_ORDINAL + number, status="failed" if failed else "complete")


def row(role: str, step: int, ordinal: int, **fields: Any) -> Message:
    seq = ids.seq(1, step, ordinal)
    known = {
        "id": f"{seq}",
        "thread": "t",
        "prompt_id": "p",
        "slot": "s",
        "role": role,
        "turn": 1,
        "status": "complete",
    }
    return Message.model_validate(known | {"seq": seq, "step": step} | fields)


def agent(**limits: Any) -> Agent:
    return Agent("a", **({"max_repeats": None, "max_failing_steps": None} | limits))


def finish(limited: Agent, *turn: Message, elapsed_s: float = 0.0) -> str | None:
    end = ending(limited, turn, elapsed_s)
    return end.finish if end else None


@given(st.lists(st.none() | st.integers(1, 50), max_size=6), st.integers(1, 150))
def test_a_turn_ends_when_its_answers_have_taken_the_tokens(counts: list[int | None], most: int) -> None:
    """An answer whose tokens the provider did not count costs nothing: there is nothing to count."""
    turn = [answer(step, tokens=count) for step, count in enumerate(counts)]
    used = total_usage(turn)
    assert used.prompt_tokens + used.completion_tokens == sum(count or 0 for count in counts)
    expected = "token_limit" if sum(count or 0 for count in counts) >= most else None
    assert finish(agent(max_tokens=most), *turn) == expected


@pytest.mark.parametrize(("elapsed_s", "expected"), [(1.9, None), (2.0, "time_limit"), (60.0, "time_limit")])
def test_a_turn_ends_when_its_time_is_over(elapsed_s: float, expected: str | None) -> None:
    assert finish(agent(max_seconds=2.0), elapsed_s=elapsed_s) == expected


@given(st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=5), st.integers(2, 4))
def test_a_turn_ends_when_it_has_made_a_call_too_often_in_a_row_or_not(steps: list[list[int]], most: int) -> None:
    turn = [answer(step, *(json.dumps({"n": n}) for n in made)) for step, made in enumerate(steps)]
    every = [n for made in steps for n in made]
    too_often = any(every.count(n) >= most for n in every)
    assert finish(agent(max_repeats=most), *turn) == ("loop" if too_often else None)


def test_the_same_arguments_written_otherwise_are_the_same() -> None:
    turn = [answer(0, '{"a": 1, "b": 2}', '{"b":2,"a":1}')]
    assert finish(agent(max_repeats=2), *turn) == "loop"
    assert finish(agent(max_repeats=2), answer(0, "", "{}")) == "loop"
    assert finish(agent(max_repeats=2), answer(0, "{broken", "{broken")) == "loop"
    assert finish(agent(max_repeats=2), answer(0, "{broken", "{broken ")) is None


@given(st.lists(st.lists(st.booleans(), max_size=3), max_size=6), st.integers(1, 4))
def test_a_turn_ends_when_every_tool_failed_for_steps_in_a_row(steps: list[list[bool]], most: int) -> None:
    """`steps`: for each result whether it is a failure; a step without calls is one that did not fail."""
    turn: list[Message] = []
    for step, failures in enumerate(steps):
        turn += [answer(step), *(result(step, n, failed=failed) for n, failed in enumerate(failures))]
    last = steps[-most:]
    all_failed = len(last) == most and all(failures and all(failures) for failures in last)
    assert finish(agent(max_failing_steps=most), *turn) == ("loop" if all_failed else None)


def test_the_model_is_told_why_it_must_end() -> None:
    end = ending(agent(max_repeats=2), [answer(0, "{}", "{}")], 0.0)
    assert end is not None
    assert end.note.startswith("The tool look was called 2 times with the same arguments. Do not call any more tools.")


def test_the_guards_can_be_switched_off() -> None:
    turn = [row for step in range(20) for row in (answer(step, "{}"), result(step, failed=True))]
    assert finish(agent(), *turn) is None
    assert finish(Agent("a"), *turn) == "loop", "they are on unless they are switched off"
