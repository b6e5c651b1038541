"""What a thread asks of the store besides its steps: open, save what waits, close what no step could end, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from temporalio import activity

from activities.failures import translated
from activities.ports import Catalog, EventLog, Store
from activities.rows import prompt_row, refused_row, tool_row
from domain import ids
from domain.messages import Message, ThreadRecord, preview
from domain.prompts import TurnReport
from domain.rebuild import rebuild
from domain.state import Waiting
from domain.steps import (
    CheckpointRequest,
    CloseRequest,
    FindRequest,
    Opened,
    OpenRequest,
    PlannedCall,
    SaveRequest,
    SaveResult,
    ToolRequest,
    closing_fence,
)
from domain.thread import MAX_WAITING, RECENT_IDS, ThreadState, upgrade

UNENDED_CALL = "The call was stopped before it ended; its outcome is unknown."

log = structlog.get_logger()


class ThreadActivities:
    """The thread's record keeping over the ports it is given."""

    def __init__(
        self, store: Store, events: EventLog, catalog: Catalog, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog
        self._clock = clock

    @activity.defn(name="open_thread")
    async def open_thread(self, request: OpenRequest) -> Opened:
        """The thread as the store knows it, made now if it is new; each run that opens it gets an epoch of its own."""
        with translated():
            record = await self._own(request)
            kept = await self._store.load_checkpoint(request.thread)
            checkpoint = upgrade(kept) if kept else None
            recent = await self._store.recent_prompts(request.thread, RECENT_IDS)
            unended = await self._store.open_prompts(request.thread, MAX_WAITING + 1)  # one may be running
            lost = await self._never_saved(request.thread, checkpoint)
            state = rebuild(checkpoint, record, recent, unended, lost)
            log.info("thread.opened", thread=request.thread, epoch=record.epoch, unended=len(unended) + len(lost))
            return Opened(state=state.carried())

    async def _own(self, request: OpenRequest) -> ThreadRecord:
        now, start = self._clock(), request.start
        record = await self._store.insert_thread(
            ThreadRecord(
                thread=request.thread,
                tenant=start.tenant or "",
                owner=start.owner or "",
                agent=start.agent or self._catalog.default,
                metadata=start.metadata,
                created_at=now,
                updated_at=now,
            )
        )
        while record.run_id != request.run_id:
            record = await self._store.open_epoch(request.thread, record.epoch, request.run_id)
        return record

    async def _never_saved(self, thread: str, checkpoint: ThreadState | None) -> list[Waiting]:
        waiting = [w for w in checkpoint.inbox if w.prompt is not None] if checkpoint else []
        by_row = {ids.message_id(thread, w.id, "prompt"): w for w in waiting}
        for row in await self._store.get(list(by_row)):
            del by_row[row.id]
        return list(by_row.values())

    @activity.defn(name="save_prompts")
    async def save_prompts(self, request: SaveRequest) -> SaveResult:
        """Save prompts that wait; tell which ids an older prompt has already."""
        with translated():
            record, now = await self._store.get_thread(request.thread), self._clock()
            pairs = zip(request.prompts, request.places, strict=True)
            rows = [prompt_row(request.thread, prompt, record, now, place) for prompt, place in pairs]
            await self._store.insert(rows)
            there = {row.id: row for row in await self._store.get([row.id for row in rows])}
            clashes = [(row, there[row.id]) for row in rows]
            return SaveResult(
                conflicts=[new.prompt_id for new, old in clashes if old.digest != new.digest],
                duplicates=[new.prompt_id for new, old in clashes if old.digest == new.digest and _taken(old)],
            )

    @activity.defn(name="close_turn")
    async def close_turn(self, request: CloseRequest) -> None:
        """Record a turn that failed or was interrupted, or things that were refused. The same again on a retry."""
        with translated():
            record = await self._store.get_thread(request.thread)
            now = self._clock()
            await self._store.insert([refused_row(request.thread, r, record, now) for r in request.refusals])
            for refusal in request.refusals:
                log.warning("prompt.refused", thread=request.thread, error=refusal.reason)
                data = {"prompt_id": refusal.prompt_id or refusal.id, "error": refusal.reason}
                await self._events.publish(request.thread, "prompt.refused", data)
            if request.prompt_id is not None:
                await self._close(request, request.prompt_id, record, now)

    async def _close(self, request: CloseRequest, prompt_id: str, record: ThreadRecord | None, now: float) -> None:
        thread, mine = request.thread, closing_fence(request.epoch)
        if request.prompt is not None:
            await self._store.insert([prompt_row(thread, request.prompt, record, now)])
        ended = {"status": request.status, "error": request.error, "updated_at": now}
        answer = ids.message_id(thread, prompt_id, "answer", branch=request.branch, step=request.step)
        said = await self._store.amend(answer, mine, ended)
        if said is not None and said.attempt == mine:
            await self._tell_finished(request, said)
        if request.calls and said is not None:
            await self._close_calls(request, prompt_id, said, record, now)
        place = {"turn": request.turn, "seq": ids.first_seq(request.turn), "agent": request.agent}
        row = await self._store.amend(ids.message_id(thread, prompt_id, "prompt"), mine, ended | place)
        asked = preview(row.text, 80) if row else ""
        await self._store.end_turn(thread, request.turn, {"updated_at": now, "preview": asked})
        note = log.warning if request.status == "failed" else log.info
        note(f"turn.{request.status}", thread=thread, prompt_id=prompt_id, turn=request.turn, error=request.error)
        data = {"turn": request.turn, "prompt_id": prompt_id, "status": request.status, "error": request.error}
        await self._events.publish(thread, "turn.finished", data)

    async def _close_calls(
        self, request: CloseRequest, prompt_id: str, planned: Message, record: ThreadRecord | None, now: float
    ) -> None:
        """A call that had not ended, or not even begun, gets a result that says so."""
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
        for row in rows:
            changes = {"status": request.status, "text": UNENDED_CALL, "updated_at": now}
            await self._store.amend(row.id, closing_fence(request.epoch), changes)

    async def _tell_finished(self, request: CloseRequest, row: Message) -> None:
        data = {"message_id": row.id, "attempt": row.attempt, "turn": request.turn, "step": row.step}
        finish = {"status": row.status, "finish": request.status, "agent": request.agent}
        await self._events.publish(request.thread, "message.finished", data | finish)

    @activity.defn(name="find_turn")
    async def find_turn(self, request: FindRequest) -> TurnReport:
        """What the store says became of a prompt."""
        with translated():
            rows = await self._store.get([ids.message_id(request.thread, request.prompt_id, "prompt")])
            answers = await self._store.get([row.answer for row in rows if row.answer])
            if not rows:
                return TurnReport(prompt_id=request.prompt_id, status="unknown")
            status = rows[0].status if rows[0].final else "running" if rows[0].turn is not None else "waiting"
            return TurnReport.model_validate(
                {
                    "prompt_id": request.prompt_id,
                    "status": status,
                    "turn": rows[0].turn,
                    "message_id": rows[0].answer,
                    "text": preview(answers[0].text) if answers else "",
                    "error": rows[0].error,
                }
            )

    @activity.defn(name="save_checkpoint")
    async def save_checkpoint(self, request: CheckpointRequest) -> None:
        """Keep the thread's private state, so that a thread Temporal lost opens again where it stood."""
        with translated():
            await self._store.save_checkpoint(request.thread, request.epoch, request.turn, request.state)


def _taken(row: Message) -> bool:
    """Whether the row is an older prompt's and not the one being saved, which has neither turn nor end."""
    return row.final or row.turn is not None
