"""Decisions about calls that wait, where something else happens at the same time; and what is told of the waiting."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType

from domain.approvals import call_digest
from doubles.scripted_model import ToolCall
from tests.system import System, count
from tests.workflows.test_approvals import REFUND, asked, ran, resolve, results, strict

REFUND_DIGEST = call_digest("refund", '{"amount": 5}')


@pytest.mark.parametrize("default", ["deny", "approve"])
async def test_a_decision_stands_though_its_deadline_passes_before_anything_is_done_about_it(
    system: System, thread: str, default: str
) -> None:
    """The thread is about to continue as new, and waits for another call to end first."""
    strict(system, require=("refund",), deadline_s=1.0, default=default)
    [call] = await asked(system, thread, REFUND, ToolCall(name="hold"), agent="strict", wait=1)
    await system.until(lambda: ran(system, [("hold", None)]))
    await system.workflow(thread).signal("roll")
    decision = "approve" if default == "deny" else "deny"
    await resolve(system, thread, call, decision, by="Eve")

    async def time_is_over() -> bool:
        return count(await system.history(thread), EventType.EVENT_TYPE_TIMER_FIRED) > 0

    await system.until(time_is_over)
    system.bench.release()
    await system.ended(thread, "a")
    [row, _] = await results(system, thread)
    assert (row.decision or {})["by"] == "Eve"
    assert system.bench.ran[1:] == ([("refund", 5)] if decision == "approve" else [])
