"""Calls that wait for somebody: approved, denied, edited, left too long; through rolls, crashes and other prompts."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from domain.agent import Agent
from domain.approvals import ApprovalPolicy, Resolution, call_digest
from domain.errors import ResolvedAlreadyError, UnknownCallError
from domain.messages import Message
from domain.prompts import Prompt, ReplyTo
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, said

READS = Reply(after_tool=True, text="I read: {tool}")
REFUND = ToolCall(name="refund", arguments={"amount": 5}, id="c1")


async def asked(system: System, thread: str, *calls: ToolCall, agent: str = "cashier", wait: int | None = None) -> Any:
    """A turn, with prompt `a`, whose calls wait; what the thread says of them."""
    system.model.script(Reply(tool_calls=list(calls), step=1), READS)
    await system.submit(thread, "Do it!", id="a", agent=agent)
    return [] if wait == 0 else await system.waiting(thread, wait or len(calls))


def strict(system: System, **policy: Any) -> None:
    """The agent `strict`, with these approvals."""
    tools = (*system.bench.tools(), *system.bench.gated())
    system.catalog._agents["strict"] = Agent("strict", tools=tools, approvals=ApprovalPolicy(**policy))


async def resolve(system: System, thread: str, call: dict[str, Any], decision: str = "approve", **fields: Any) -> Any:
    given = {"call_id": call["call_id"], "decision": decision, "digest": call["digest"]} | fields
    return await system.threads.resolve(thread, Resolution.model_validate(given))


async def results(system: System, thread: str) -> list[Message]:
    return [row for row in await system.rows(thread) if row.role == "tool"]


# --- approve, deny, edit


async def test_a_call_that_needs_an_approval_is_run_once_it_is_approved(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    assert (call["call_id"], call["tool"], call["arguments"]) == ("c1", "refund", '{"amount":5}')
    [row] = await results(system, thread)
    assert (row.status, row.waits, row.arguments, row.args_digest) == (
        "pending",
        "approval",
        '{"amount":5}',
        call["digest"],
    )
    assert (await system.record(thread)).status == "waiting"
    assert system.bench.ran == []
    receipt = await resolve(system, thread, call, by="Eve", reason="fine")
    assert (receipt.decision, receipt.turn, receipt.left) == ("approve", 1, 0)
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 5)]
    [row] = await results(system, thread)
    assert (row.status, row.waits, row.text) == ("complete", None, "Refunded 5.")
    assert row.decision is not None
    assert {key: row.decision[key] for key in ("decision", "by", "reason")} == {
        "decision": "approve", "by": "Eve", "reason": "fine",
    }  # fmt: skip
    assert (await system.answers(thread, "a"))[-1].text == "I read: Refunded 5."
    assert (await system.record(thread)).status == "active"


async def test_readers_hear_that_a_call_waits_and_how_it_was_decided(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    [waiting] = system.events.of(thread, "tool.waiting")
    assert (waiting["call_id"], waiting["waits"], waiting["digest"]) == ("c1", "approval", call["digest"])
    await resolve(system, thread, call, "deny", by="Eve", reason="too much")
    await system.ended(thread, "a")
    [resolved] = system.events.of(thread, "tool.resolved")
    assert (resolved["decision"], resolved["by"], resolved["reason"]) == ("deny", "Eve", "too much")


async def test_the_model_reads_why_a_call_was_denied_and_it_is_not_run(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await resolve(system, thread, call, "deny", by="Eve", reason="too much")
    await system.ended(thread, "a")
    assert system.bench.ran == []
    assert (await system.answers(thread, "a"))[-1].text == "I read: The call was denied by Eve: too much"
    assert said(await results(system, thread)) == [("tool", "denied", "The call was denied by Eve: too much")]


async def test_what_is_approved_may_differ_from_what_was_asked(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await resolve(system, thread, call, arguments={"amount": 3})
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 3)]


async def test_edited_arguments_that_the_tool_does_not_take_are_told_to_the_model(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await resolve(system, thread, call, arguments={"amount": "all"})
    await system.ended(thread, "a")
    assert system.bench.ran == []
    assert "Invalid arguments: amount" in (await system.answers(thread, "a"))[-1].text


async def test_a_predicate_on_the_arguments_says_which_calls_wait(system: System, thread: str) -> None:
    system.model.script(
        Reply(tool_calls=[ToolCall(name="spend", arguments={"amount": amount}) for amount in (50, 500)], step=1), READS
    )
    await system.submit(thread, "Spend!", id="a", agent="cashier")
    [call] = await system.waiting(thread)
    assert call["arguments"] == '{"amount":500}'
    await system.until(lambda: ran(system, [("spend", 50)]))
    await resolve(system, thread, call, "deny")
    await system.ended(thread, "a")
    assert system.bench.ran == [("spend", 50)]


async def test_a_policy_of_the_agent_asks_for_tools_by_name(system: System, thread: str) -> None:
    strict(system, require=("p*",), allow=("refund",))
    calls = [ToolCall(name="pay", arguments={"amount": 1}), ToolCall(name="refund", arguments={"amount": 2})]
    [call] = await asked(system, thread, *calls, agent="strict", wait=1)
    assert call["tool"] == "pay"
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    assert sorted(system.bench.ran) == [("pay", 1), ("refund", 2)]


async def test_several_calls_of_a_step_are_answered_one_by_one(system: System, thread: str) -> None:
    calls = [ToolCall(name="refund", arguments={"amount": n}, id=f"c{n}") for n in (1, 2, 3)]
    waiting = {call["call_id"]: call for call in await asked(system, thread, *calls)}
    assert (await resolve(system, thread, waiting["c2"])).left == 2
    await system.until(lambda: ran(system, [("refund", 2)]))
    assert (await resolve(system, thread, waiting["c1"], "deny", reason="no")).left == 1
    assert [call["call_id"] for call in await system.waiting(thread)] == ["c3"]
    assert (await system.threads.turn(thread, "a")).status == "running"
    await resolve(system, thread, waiting["c3"])
    await system.ended(thread, "a")
    shown = [message["content"] for message in system.asked() if message["role"] == "tool"]
    assert shown == ["The call was denied: no", "Refunded 2.", "Refunded 3."]


async def test_calls_that_need_nobody_run_while_another_waits(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND, ToolCall(name="look"), wait=1)
    await system.until(lambda: ran(system, [("look", "around")]))
    await resolve(system, thread, call)
    await system.ended(thread, "a")


async def test_a_call_with_arguments_that_are_invalid_waits_for_nobody(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="refund", arguments={"amount": "x"})], step=1), READS)
    assert "Invalid arguments" in await system.ask(thread, "Do it!", agent="cashier")


# --- what is refused


async def test_a_second_decision_is_refused_and_the_first_stands(system: System, thread: str) -> None:
    first, second = (ToolCall(name="refund", arguments={"amount": n}, id=f"c{n}") for n in (1, 2))
    one, other = await asked(system, thread, first, second)
    await resolve(system, thread, one, "deny", by="Eve", reason="no", id="d")
    with pytest.raises(ResolvedAlreadyError, match="call c1 was denied by Eve: no"):
        await resolve(system, thread, one, by="Eve", id="d")
    with pytest.raises(ResolvedAlreadyError, match="call c1 was denied by Eve: no"):
        await resolve(system, thread, one, by="Mallory")
    await resolve(system, thread, other)
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 2)]


async def test_a_late_decision_is_told_how_it_was_decided(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await resolve(system, thread, call, by="Eve")
    await system.ended(thread, "a")
    await system.idle(thread)
    with pytest.raises(ResolvedAlreadyError, match="call c1 was approved by Eve; it has ended"):
        await resolve(system, thread, call, "deny")


async def test_the_same_decision_sent_again_is_the_same_decision(system: System, thread: str) -> None:
    first, second = (ToolCall(name="refund", arguments={"amount": n}, id=f"c{n}") for n in (1, 2))
    one, other = await asked(system, thread, first, second)
    receipts = await asyncio.gather(*(resolve(system, thread, one, id="d") for _ in range(3)))
    assert {receipt.decision for receipt in receipts} == {"approve"}
    await resolve(system, thread, other)
    await system.ended(thread, "a")
    assert (await resolve(system, thread, one, id="d")).decision == "approve"
    with pytest.raises(ResolvedAlreadyError, match="call c1 was approved"):
        await resolve(system, thread, one, "deny", id="d")
    assert sorted(system.bench.ran) == [("refund", 1), ("refund", 2)]


async def test_a_decision_about_other_arguments_is_refused(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    with pytest.raises(UnknownCallError, match="is not that of call c1"):
        await resolve(system, thread, call | {"digest": "0" * 20})
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await updated(system, thread, {"call_id": "c1", "decision": "approve"})
    assert "approve needs the digest" in str(caught.value.__cause__)
    with pytest.raises(UnknownCallError, match="no call 'c9' waits on this thread; those that wait: c1"):
        await resolve(system, thread, call | {"call_id": "c9"})
    with pytest.raises(UnknownCallError, match="the decision is approve or deny"):
        await resolve(system, thread, call, "result", result=1)
    await resolve(system, thread, call, "deny")
    await system.ended(thread, "a")


async def test_a_decision_waits_for_a_call_that_the_thread_is_about_to_know_of(system: System, thread: str) -> None:
    """Who reads the store may be quicker than the thread, above all after a crash."""
    system.model.script(Reply(tool_calls=[REFUND], step=1, first_delay_s=0.3), READS)
    await system.submit(thread, "Do it!", id="a", agent="cashier")
    digest = call_digest("refund", '{"amount": 5}')
    receipt = await resolve(system, thread, {"call_id": "c1", "digest": digest})
    assert receipt.decision == "approve"
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 5)]


async def test_a_decision_about_no_call_of_the_step_is_refused_once_the_step_is_known(
    system: System, thread: str
) -> None:
    system.model.script(Reply(text="Well.", first_delay_s=0.2))
    await system.submit(thread, "Do it!", id="a", agent="cashier")
    with pytest.raises(UnknownCallError, match="those that wait: none"):
        await resolve(system, thread, {"call_id": "c1", "digest": "0" * 20}, "deny")


async def test_a_decision_by_signal_that_cannot_be_taken_is_recorded(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    handle = system.workflow(thread)
    await handle.signal("resolve", {"call_id": "c1", "decision": "perhaps"})
    await handle.signal("resolve", {"call_id": "c1", "decision": "approve", "digest": call["digest"], "by": "Eve"})
    await system.ended(thread, "a")
    [row] = await system.refused(thread)
    assert row.error is not None
    assert row.error.startswith("resolution: decision: ")
    assert row.text == "{'call_id': 'c1', 'decision': 'perhaps'}"
    assert system.bench.ran == [("refund", 5)]


# --- time


async def test_at_the_deadline_the_default_is_decided(system: System, thread: str) -> None:
    strict(system, require=("pay",), deadline_s=0.3)
    system.model.script(Reply(tool_calls=[ToolCall(name="pay", arguments={"amount": 1})], step=1), READS)
    assert await system.ask(thread, "Pay!", agent="strict") == (
        "I read: The call was denied by the deadline: nobody decided in time"
    )
    assert system.bench.ran == []


async def test_the_default_may_be_to_approve(system: System, thread: str) -> None:
    strict(system, require=("pay",), deadline_s=0.3, default="approve")
    system.model.script(Reply(tool_calls=[ToolCall(name="pay", arguments={"amount": 1})], step=1), READS)
    assert await system.ask(thread, "Pay!", agent="strict") == "I read: Paid 1."


async def test_people_are_told_of_a_call_reminded_and_others_called_in(system: System, thread: str) -> None:
    """By signals to workflows: here to another thread, which refuses what it does not know, and so records it."""
    deputy = f"{thread}-deputy"
    to, other = (ReplyTo(workflow_id=f"thread/{name}") for name in (thread, deputy))
    strict(system, require=("pay",), notify=to, remind_s=0.2, escalate_s=0.3, escalate_to=other)
    await system.start(deputy)
    [call] = await asked(system, thread, ToolCall(name="pay", arguments={"amount": 1}), agent="strict")
    [row] = await system.refused(deputy)
    assert row.error is not None
    assert "signal a string ('answer') is not known" in row.error
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    assert len(await system.refused(thread, 2)) == 2


# --- crashes, rolls, others


async def test_a_thread_continues_as_new_while_a_call_waits(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND, ToolCall(name="look"), wait=1)
    await system.until(lambda: ran(system, [("look", "around")]))
    for runs in (1, 2):
        await system.workflow(thread).signal("roll")
        await system.until(partial(rolled, system, thread, runs))
    assert await system.waiting(thread) == [call]
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    assert sorted(system.bench.ran) == [("look", "around"), ("refund", 5)]
    assert len(system.model.requests) == 2


async def test_a_decision_is_taken_while_no_worker_runs(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await system.stop_workers()
    given = {"call_id": "c1", "decision": "approve", "digest": call["digest"]}
    await system.workflow(thread).signal("resolve", given)
    await system.start_worker()
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 5)]


async def test_a_terminated_thread_waits_again_for_what_was_not_decided(system: System, thread: str) -> None:
    first, second = (ToolCall(name="refund", arguments={"amount": n}, id=f"c{n}") for n in (1, 2))
    one, other = await asked(system, thread, first, second)
    await resolve(system, thread, one)
    await system.until(lambda: ran(system, [("refund", 1)]))
    await system.until(lambda: _saved(system, thread, "Refunded 1."))
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)
    assert [call["call_id"] for call in await system.waiting(thread)] == ["c2"]
    await resolve(system, thread, other)
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 1), ("refund", 2)]
    assert len(system.model.requests) == 2


async def test_an_interrupt_ends_the_waiting_and_the_thread_goes_on(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    assert said(await results(system, thread)) == [
        ("tool", "interrupted", "The call was not run: the turn was stopped before anybody had decided about it.")
    ]
    with pytest.raises(ResolvedAlreadyError, match="was not decided before its turn ended"):
        await resolve(system, thread, call)
    system.model.script()
    assert await system.ask(thread, "And now?", id="b") == "You said: And now?"


@pytest.mark.parametrize(("mode", "first"), [("queue", "a"), ("interrupt", "b")])
async def test_a_prompt_while_a_call_waits_follows_the_busy_mode(
    system: System, thread: str, mode: str, first: str
) -> None:
    [call] = await asked(system, thread, REFUND)
    await system.threads.submit(thread, Prompt.model_validate({"id": "b", "content": "And?", "mode": mode}))
    if mode == "queue":
        assert (await system.threads.turn(thread, "b")).status == "waiting"
        await resolve(system, thread, call)
    rows = await system.ended(thread, "a", "b")
    assert [row.status for row in rows] == ["answered" if mode == "queue" else "interrupted", "answered"]
    assert system.bench.ran == ([("refund", 5)] if mode == "queue" else [])


async def test_a_steered_prompt_joins_once_the_calls_are_decided(system: System, thread: str) -> None:
    [call] = await asked(system, thread, REFUND)
    system.model.script("Quickly.")
    await system.submit(thread, "Be quick!", id="b", mode="steer")
    await resolve(system, thread, call)
    await system.ended(thread, "a", "b")
    assert [message["content"] for message in system.asked()][-2:] == ["Refunded 5.", "Be quick!"]


# --- tools that others run


async def test_a_tool_that_others_run_waits_for_its_result(system: System, thread: str) -> None:
    [call] = await asked(system, thread, ToolCall(name="measure", id="m1"))
    assert call["kind"] == "result"
    await resolve(system, thread, call, "result", result={"cm": 12}, by="the lab")
    await system.ended(thread, "a")
    assert (await system.answers(thread, "a"))[-1].text == 'I read: {"cm": 12}'
    [row] = await results(system, thread)
    assert (row.status, (row.decision or {})["by"]) == ("complete", "the lab")


async def test_whoever_runs_a_tool_may_say_that_there_is_no_result(system: System, thread: str) -> None:
    [call] = await asked(system, thread, ToolCall(name="measure"))
    await resolve(system, thread, call, "error", reason="the ruler broke")
    await system.ended(thread, "a")
    assert said(await results(system, thread)) == [("tool", "failed", "The call ended with an error: the ruler broke")]


async def test_a_result_that_is_too_large_to_travel_is_refused(system: System, thread: str) -> None:
    [call] = await asked(system, thread, ToolCall(name="measure"))
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await updated(system, thread, {"call_id": call["call_id"], "decision": "result", "result": "x" * 40_000})
    assert "more than 32000; keep large data elsewhere" in str(caught.value.__cause__)
    await resolve(system, thread, call, "result", result="x" * 31_000)
    await system.ended(thread, "a")


async def test_a_worker_killed_while_a_call_waits_costs_nothing(system: System, thread: str) -> None:
    """Nothing runs while it waits: any worker goes on with the decision."""
    [call] = await asked(system, thread, REFUND)
    await system.stop_workers()
    await system.start_worker(max_cached_workflows=0)
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 5)]


async def test_a_waiting_call_costs_no_activity(system: System, thread: str) -> None:
    """23 events of a turn with a tool, the update's two, and one for the status, twice."""
    [call] = await asked(system, thread, REFUND)
    await resolve(system, thread, call)
    await system.ended(thread, "a")
    await system.idle(thread)
    assert len(await system.history(thread)) <= 38


async def updated(system: System, thread: str, wanted: dict[str, Any]) -> Any:
    """As a client of another language would."""
    return await system.workflow(thread).execute_update("resolve", wanted)


async def ran(system: System, what: list[tuple[str, Any]]) -> bool:
    return system.bench.ran == what


async def rolled(system: System, thread: str, runs: int) -> bool:
    return len(await system.runs(thread)) > runs


async def _saved(system: System, thread: str, text: str) -> bool:
    return any(row.final and row.text == text for row in await results(system, thread))
