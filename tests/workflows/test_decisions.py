"""Decisions about calls that wait, where something else happens at the same time; and what is told of the waiting."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from activities.ports import Store
from domain.agent import Agent
from domain.approvals import call_digest
from domain.errors import StoreError, UnknownCallError
from domain.messages import Message
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, count, started_with
from tests.workflows.test_approvals import READS, REFUND, asked, ran, resolve, results, rolled, strict, updated
from tests.workflows.test_idle import closed
from workflows import attributes

REFUND_DIGEST = call_digest("refund", '{"amount": 5}')


# --- at the deadline


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


async def test_a_thread_ends_when_its_time_is_over_though_a_call_waits(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[REFUND], step=1), READS)
    await system.submit(thread, "Do it!", id="a", agent="cashier", start=started_with(ttl_s=1.0))
    await system.waiting(thread)
    [row] = await system.ended(thread, "a")
    assert (row.status, row.error) == ("interrupted", "the thread's time to live is over")
    assert await closed(system, thread) == WorkflowExecutionStatus.COMPLETED


# --- ids


async def test_the_same_decision_again_is_not_one_about_a_later_call_of_the_same_id(
    system: System, thread: str
) -> None:
    """Providers count calls anew; and a sender that was not answered sends its decision again."""
    system.model.script(Reply(tool_calls=[REFUND], step=1), READS)
    system.add_agent(Agent("forgetful", tools=system.bench.gated(), recent_messages=0))
    await system.submit(thread, "Do it!", id="a", agent="forgetful")
    [call] = await system.waiting(thread)
    await resolve(system, thread, call, id="d", by="Eve")
    await system.ended(thread, "a")
    system.model.script(Reply(tool_calls=[REFUND], step=1), READS)
    await system.submit(thread, "Again!", id="b", agent="forgetful")
    [again] = await system.waiting(thread)
    assert again["call_id"] == call["call_id"]
    receipt = await resolve(system, thread, call, id="d", by="Eve")
    assert (receipt.decision, receipt.turn) == ("approve", 1)
    assert len(await system.waiting(thread)) == 1
    await resolve(system, thread, again, "deny", id="e")
    await system.ended(thread, "b")
    assert system.bench.ran == [("refund", 5)]


# --- a thread that was opened again


async def test_a_decision_that_opens_a_terminated_thread_waits_for_the_step_it_is_about(
    system: System, thread: str
) -> None:
    """Which is not the first: the steps before it are gone through again, from the store."""
    system.model.script(Reply(tool_calls=[ToolCall(name="look")], step=1), Reply(tool_calls=[REFUND], step=2), READS)
    await system.submit(thread, "Do it!", id="a", agent="cashier")
    [call] = await system.waiting(thread)
    await system.workflow(thread).terminate()
    receipt = await resolve(system, thread, call)
    assert receipt.decision == "approve"
    await system.ended(thread, "a")
    assert system.bench.ran == [("look", "around"), ("refund", 5)]


async def test_a_decision_about_an_unknown_call_is_refused_once_the_turn_has_ended(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="look")], step=1), Reply(text="Well.", first_delay_s=0.3))
    await system.submit(thread, "Do it!", id="a", agent="cashier")
    with pytest.raises(UnknownCallError, match="those that wait: none"):
        await resolve(system, thread, {"call_id": "c1", "digest": REFUND_DIGEST}, "deny")


async def test_a_thread_that_waited_before_it_was_lost_does_not_seem_to_wait(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await system.workflow(thread).signal("roll")
    await system.until(partial(rolled, system, thread, 1))
    await system.waiting(thread)
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    await system.idle(thread)
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)
    await system.idle(thread)
    assert await _shown_status(system, thread) == "active"
    assert (await system.record(thread)).status == "active"


# --- what is told meanwhile


async def test_what_is_refused_while_a_call_waits_is_recorded_at_once(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await system.workflow(thread).signal("resolve", {"call_id": "c1", "decision": "perhaps"})
    [row] = await system.refused(thread)
    assert (row.error or "").startswith("resolution: decision: ")
    assert await system.waiting(thread) == [call]
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 5)]


async def test_a_turn_that_is_not_the_last_seems_to_wait_while_it_does(system: System, thread: str) -> None:
    await system.ask(thread, "One", id="a", agent="cashier")
    await system.ask(thread, "Two", id="b", agent="cashier")
    await system.idle(thread)
    system.model.script(Reply(tool_calls=[REFUND], step=1), READS)
    await system.threads.regenerate(thread, prompt_id="a")
    await system.waiting(thread)
    assert (await system.record(thread)).status == "waiting"
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    await system.idle(thread)
    assert (await system.record(thread)).status == "active"


async def test_a_call_that_was_cancelled_with_its_thread_waits_again(system: System, thread: str) -> None:
    await asked(system, thread, REFUND)
    await system.workflow(thread).cancel()

    async def closed() -> bool:
        description = await system.workflow(thread).describe()
        return description.close_time is not None

    await system.until(closed)
    await system.threads.ensure_running(thread)
    [call] = await system.waiting(thread)
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 5)]


async def test_a_call_that_was_closed_with_its_turn_does_not_wait_again(system: System, thread: str) -> None:
    """The run is lost between the two writes that close a stopped turn: of its calls, and of itself."""
    await asked(system, thread, REFUND)
    await system.stop_workers()
    closing = _HalfClosing(system.store)
    await system.start_worker(store=cast("Store", closing))
    await system.threads.interrupt(thread)
    await asyncio.wait_for(closing.reached.wait(), 20)
    await system.workflow(thread).terminate()
    await system.stop_workers()
    await system.start_worker()
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    await system.idle(thread)
    assert (await system.record(thread)).status == "active"
    assert system.bench.ran == []


class _HalfClosing:
    """A store that is away whenever a turn is to be interrupted, but not for what belongs to the turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reached = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def amend(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        if changes.get("status") == "interrupted" and "turn" in changes:
            self.reached.set()
            raise StoreError("away")
        return await self._store.amend(message_id, attempt, changes)


async def test_the_time_that_a_call_waits_is_not_the_turns(system: System, thread: str) -> None:
    system.add_agent(Agent("brisk", tools=system.bench.gated(), max_seconds=1.0))
    [call] = await asked(system, thread, REFUND, agent="brisk")
    await asyncio.sleep(1.1)  # what is measured
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    [_, answer] = await system.answers(thread, "a")
    assert answer.finish == "stop"
    assert system.model.requests[-1].body.get("tools")


async def test_an_operator_is_not_kept_waiting_for_a_call_that_waits(system: System, thread: str) -> None:
    """What they say is said after the turn; and an update that waits is one that others cannot send."""
    [call] = await asked(system, thread, REFUND)
    await system.threads.take_over(thread, "ada")
    async with asyncio.timeout(5):
        receipts = [await system.threads.say(thread, f"Hello {number}", "ada") for number in range(3)]
    assert {receipt.disposition for receipt in receipts} == {"accepted"}
    await system.workflow(thread).terminate()
    await resolve(system, thread, call)
    await system.ended(thread, "a")

    async def told() -> bool:
        texts = [row.text for row in await system.rows(thread) if row.author == "ada"]
        return texts == ["Hello 0", "Hello 1", "Hello 2"]

    await system.until(told)


async def test_a_decision_that_can_never_be_carried_is_refused_as_too_large(system: System, thread: str) -> None:
    """Its JSON may have six times the bytes of what it says."""
    [call] = await asked(system, thread, REFUND)
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        given = {"decision": "approve", "digest": call["digest"], "arguments": {"why": "\x01" * 15_000}}
        await updated(system, thread, {"call_id": "c1"} | given)
    assert "keep large data elsewhere" in str(caught.value.__cause__)
    await resolve(system, thread, call, "deny")
    await system.ended(thread, "a")


async def _shown_status(system: System, thread: str) -> str:
    description = await system.workflow(thread).describe()
    return str(description.typed_search_attributes.get(attributes.STATUS))
