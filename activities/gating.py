"""Calls that wait for somebody: which do, their rows while they wait, and who hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from activities.hooks import HOOK_S, invoke
from activities.ports import EventLog, Store
from activities.rows import tool_row
from activities.step import Step
from domain.agent import Tool
from domain.approvals import Gate, gate_of
from domain.messages import Message, ToolCall
from domain.steps import PlannedCall, StepResult, ToolRequest

log = structlog.get_logger()


async def with_gates(step: Step, calls: Sequence[ToolCall], plan: Sequence[PlannedCall]) -> list[PlannedCall]:
    """The plan of an answer's calls, each with what it waits for."""
    gates = [await _gate(step, call, len(plan)) for call in calls]
    return [planned.model_copy(update={"gate": gate}) for planned, gate in zip(plan, gates, strict=True)]


async def _gate(step: Step, call: ToolCall, calls: int) -> Gate | None:
    tool = step.tool_of(call)
    if tool is None:
        return None
    try:
        arguments = tool.parse(call.arguments)
    except ValueError:  # run_tool tells the model so
        return None
    if tool.outside:
        return gate_of("result", tool.name, call.arguments, calls)
    wanted = await _wants_approval(tool, arguments)
    asks = step.agent.approvals.asks(tool.name, wanted=wanted)
    return gate_of("approval", tool.name, call.arguments, calls) if asks else None


async def _wants_approval(tool: Tool, arguments: dict[str, Any]) -> bool:
    """Whether the tool says so; the safe side if it cannot say."""
    if isinstance(tool.needs_approval, bool):
        return tool.needs_approval
    try:
        async with asyncio.timeout(HOOK_S):
            return bool(await invoke(tool.needs_approval, arguments))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's function may raise anything
        log.warning("approval.predicate_failed", tool=tool.name, error=repr(error))
        return True


class Gatekeeper:
    """The rows of calls that wait, over the ports it is given."""

    def __init__(self, store: Store, events: EventLog, clock: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    async def announce(self, step: Step, result: StepResult, answer: Message) -> StepResult:
        """Make the waiting calls visible; the same again on a retry.

        Returns the result without the gates of calls that have begun, or ended, since: their decision is in their rows.
        """
        gated = {index: call for index, call in enumerate(result.plan) if call.gate is not None}
        if not gated:
            return result
        now = self._clock()
        rows = {index: self._row(step, index, call, answer, now) for index, call in gated.items()}
        await self._store.insert(list(rows.values()))
        there = {row.id: row for row in await self._store.get([row.id for row in rows.values()])}
        waiting = {index for index, row in rows.items() if _undecided(there.get(row.id))}
        if waiting:
            step.lease.check()  # else the turn may have gone on, or ended
            changes = {"updated_at": now, "status": "waiting"}
            await self._store.end_turn(step.request.thread, step.newest_turn, changes)
        for index in sorted(waiting):
            await self._tell(step, rows[index])
        plan = [
            call if index in waiting else call.model_copy(update={"gate": None})
            for index, call in enumerate(result.plan)
        ]
        return result.model_copy(update={"plan": plan})

    @staticmethod
    def _row(step: Step, index: int, call: PlannedCall, answer: Message, now: float) -> Message:
        request, gate = step.request, call.gate
        assert gate is not None
        place = request.model_dump(include={"thread", "epoch", "prompt_id", "turn", "branch", "step", "agent"})
        row = tool_row(ToolRequest(**place, index=index, call=call), 0, step.record, now)
        row.waits, row.args_digest = gate.kind, gate.digest
        row.arguments = answer.tool_calls[index].arguments
        limit_s = step.agent.approvals.deadline_s
        row.deadline = None if limit_s is None else now + limit_s
        return row

    async def _tell(self, step: Step, row: Message) -> None:
        data = {
            "message_id": row.id,
            "call_id": row.call_id,
            "tool": row.name,
            "waits": row.waits,
            "arguments": row.arguments,
            "digest": row.args_digest,
            "deadline": row.deadline,
        }
        log.info("call.waits", message_id=row.id, tool=row.name, waits=row.waits)
        await self._events.publish(step.request.thread, "tool.waiting", step.event(**data))


def _undecided(row: Message | None) -> bool:
    """Not so a call that was closed with its turn, though nobody had decided about it."""
    return row is None or (row.decision is None and not row.final)
