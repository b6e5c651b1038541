"""`close_turn`: the ends of turns that no model call could end, and what was refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from temporalio import activity

from activities.delegation import STOPPED, stop_child
from activities.failures import translated
from activities.ports import Agents, EventLog, Store
from activities.rows import joined_changes, prompt_row, refused_row, tool_row
from domain import ids
from domain.messages import Message, ThreadRecord, preview
from domain.steps import Closed, CloseRequest, PlannedCall, ToolRequest, closing_fence, fence

UNDECIDED_CALL = "The call was not run: the turn was stopped before anybody had decided about it."
UNENDED_CALL = "The call was stopped before it ended; its outcome is unknown."

log = structlog.get_logger()


class ClosingActivities:
    """Ends of turns over the ports it is given."""

    def __init__(
        self, store: Store, events: EventLog, agents: Agents, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._events = events
        self._agents = agents
        self._clock = clock

    @activity.defn(name="close_turn")
    async def close_turn(self, request: CloseRequest) -> Closed | None:
        """Record a turn that failed or was interrupted, or things that were refused. The same again on a retry.

        Returns the end that the turn has, which may be an earlier one.
        """
        with translated():
            record = await self._store.get_thread(request.thread)
            now = self._clock()
            kept = [] if record is not None and record.deleted else request.refusals  # else its count were not zero
            await self._store.insert([refused_row(request.thread, r, record, now) for r in kept])
            for refusal in request.refusals:
                log.warning("prompt.refused", thread=request.thread, error=refusal.reason)
                data = {"prompt_id": refusal.prompt_id or refusal.id, "error": refusal.reason}
                await self._events.publish(request.thread, "prompt.refused", data)
            if request.prompt_id is None:
                return None
            return await self._close(request, request.prompt_id, record, now)

    async def _close(
        self, request: CloseRequest, prompt_id: str, record: ThreadRecord | None, now: float
    ) -> Closed | None:
        thread, mine = request.thread, closing_fence(request.epoch)
        gone = record is not None and record.deleted
        if request.prompt is not None and not gone:
            await self._store.insert([prompt_row(thread, request.prompt, record, now)])
        ended = {"status": request.status, "error": request.error, "updated_at": now}
        answer = ids.message_id(thread, prompt_id, "answer", branch=request.branch, step=request.step)
        said = await self._store.amend(answer, mine, ended)
        if said is not None and said.attempt == mine:
            await self._tell_finished(request, said)
        for index, joined in enumerate(request.joined):
            changes = joined_changes(request.turn, prompt_id, request.branch, request.step, index)
            await self._store.amend(ids.message_id(thread, joined, "prompt"), mine, changes | {"updated_at": now})
        if request.calls and said is not None and not gone:
            await self._close_calls(request, prompt_id, said, record, now)
        place: dict[str, Any] = {"turn": request.turn, "seq": ids.first_seq(request.turn), "agent": request.agent}
        if said is not None and said.text:
            place["answer"] = said.id  # as far as it came
        if request.replaced_by is not None:
            place["replaced_by"] = request.replaced_by
        row_id = ids.message_id(thread, prompt_id, "prompt")
        if request.joined and (said is None or said.status != "complete"):
            # It had an answer, and was to go on with what joined it: that is what was cut off.
            going_on = {"status": "pending", "from_step": request.step}
            await self._store.reopen(row_id, fence(request.epoch, request.step, 0), going_on)
        row = await self._store.amend(row_id, mine, ended | place)
        if row is not None and row.status == "answered":  # the step was just done when it was given up
            return await self._answered(row)
        asked = {"preview": preview(row.text, 80)} if row else {}
        status = "failed" if request.status == "failed" else "active"
        await self._store.end_turn(thread, request.turn, {"updated_at": now, "status": status} | asked)
        if record is not None and record.status == "waiting" and record.turns > request.turn:  # it was opened again
            await self._store.end_turn(thread, record.turns, {"status": "active"})
        note = log.warning if request.status == "failed" else log.info
        note(f"turn.{request.status}", thread=thread, prompt_id=prompt_id, turn=request.turn, error=request.error)
        data = {"turn": request.turn, "prompt_id": prompt_id, "status": request.status, "error": request.error}
        await self._events.publish(thread, "turn.finished", data)
        return Closed(status=request.status)

    async def _answered(self, row: Message) -> Closed:
        answers = await self._store.get([row.answer]) if row.answer else []
        return Closed(status=row.status, message_id=row.answer, preview=preview(answers[0].text) if answers else "")

    async def _close_calls(
        self, request: CloseRequest, prompt_id: str, planned: Message, record: ThreadRecord | None, now: float
    ) -> None:
        """A call that had not ended, or not even begun, gets a result that says so; an agent that it asked is stopped."""
        asked = [
            ToolRequest(
                thread=request.thread,
                epoch=request.epoch,
                prompt_id=prompt_id,
                turn=request.turn,
                branch=request.branch,
                step=request.step,
                index=index,
                agent=request.agent,
                call=PlannedCall(call_id=call.call_id, tool=call.name),
            )
            for index, call in enumerate(planned.tool_calls[: request.calls])
        ]
        rows = [tool_row(call, 0, record, now) for call in asked]
        await self._store.insert(rows)
        for row in await self._store.get([row.id for row in rows]):
            text = UNDECIDED_CALL if row.waits else UNENDED_CALL
            changes = {"status": request.status, "text": text, "updated_at": now}
            closed = await self._store.amend(row.id, closing_fence(request.epoch), changes)
            if closed is not None and closed.child is not None and closed.attempt == closing_fence(request.epoch):
                await stop_child(self._agents, row.id, closed.child, request.error or STOPPED)

    async def _tell_finished(self, request: CloseRequest, row: Message) -> None:
        data = {"message_id": row.id, "attempt": row.attempt, "turn": request.turn, "step": row.step}
        finish = {"status": row.status, "finish": request.status, "agent": request.agent}
        await self._events.publish(request.thread, "message.finished", data | finish)
