"""Conditions on what a turn has done."""

from __future__ import annotations

from typing import Any

import pytest

from domain.messages import Message, ToolCall, Usage
from domain.stopping import StopInfo, done_calls, step_count, tool_called


def row(role: str, step: int, **fields: Any) -> Message:
    return Message(id=f"{role}{step}", thread="t", prompt_id="p", slot="s", role=role, step=step, **fields)


def calling(step: int, *names: str) -> Message:
    calls = [ToolCall(call_id=f"{step}{name}", name=name, arguments="{}") for name in names]
    return row("assistant", step, status="complete", tool_calls=calls)


def result(step: int, name: str, status: str = "complete") -> Message:
    return row("tool", step, status=status, call_id=f"{step}{name}", text="Done.")


def info(steps: int, *rows: Message) -> StopInfo:
    return StopInfo("a", "t", 1, steps, done_calls(rows), "", Usage())


def test_a_number_of_model_calls_is_enough() -> None:
    assert [step_count(2)(info(steps)) for steps in (1, 2, 3)] == [False, True, True]
    with pytest.raises(ValueError, match="at least 1, not 0"):
        step_count(0)


def test_a_tool_counts_once_it_has_done_its_work() -> None:
    condition = tool_called("pay")
    assert not condition(info(1, calling(0, "look"), result(0, "look")))
    assert not condition(info(1, calling(0, "pay"), result(0, "pay", "failed")))
    assert not condition(info(1, calling(0, "pay")))
    assert condition(info(1, calling(0, "look", "pay"), result(0, "look"), result(0, "pay")))


def test_calls_are_told_in_their_order_with_what_came_of_them() -> None:
    done = done_calls([calling(0, "look", "pay"), result(0, "pay", "failed"), result(0, "look"), calling(1, "fly")])
    assert [(call.tool, call.succeeded, call.text) for call in done] == [
        ("look", True, "Done."),
        ("pay", False, "Done."),
    ]
