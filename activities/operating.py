"""A person in an agent's place: who has the thread, and what they say on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from temporalio import activity

from activities.failures import translated
from activities.ports import EventLog, Store
from activities.rows import living
from domain import ids
from domain.errors import NotVisibleYetError
from domain.messages import Message, ThreadRecord, preview
from domain.steps import OperatorRequest, SayRequest, SayResult, fence

HUMAN = {"provider": "human"}

log = structlog.get_logger()


class OperatingActivities:
    """Over the ports it is given. What is said is a row like an answer's, with an author and without a model."""

    def __init__(self, store: Store, events: EventLog, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    @activity.defn(name="note_operator")
    async def note_operator(self, request: OperatorRequest) -> None:
        """Keep who has the thread, so that it is known wherever the thread goes on."""
        with translated():
            record = await self._store.get_thread(request.thread)
            if record is None:
                raise NotVisibleYetError(f"thread {request.thread} does not show yet")
            changes = {"operator": request.operator, "updated_at": self._clock()}
            await self._store.end_turn(request.thread, record.turns, changes)
            log.info("operator.changed", thread=request.thread, before=request.before, operator=request.operator)
            data = {"operator": request.operator or None, "before": request.before or None}
            await self._events.publish(request.thread, "operator.changed", data)

    @activity.defn(name="save_said")
    async def save_said(self, request: SayRequest) -> SayResult:
        """Save what was said, and that it answers a prompt; the same again on a retry."""
        with translated():
            record = living(await self._store.get_thread(request.thread))
            row = _row(request, record, fence(request.epoch, request.step, activity.info().attempt), self._clock())
            await self._store.insert([row])
            asked = await self._answered(request, row)
            changes: dict[str, Any] = {"updated_at": row.updated_at, "status": "active"}
            if asked is not None:
                changes["preview"] = preview(asked.text, 80)
            await self._store.end_turn(request.thread, request.turn, changes)
            log.info("operator.said", message_id=row.id, prompt_id=row.prompt_id, by=request.by)
            await self._tell(row, answers=asked is not None)
            return SayResult(message_id=row.id)

    async def _answered(self, request: SayRequest, row: Message) -> Message | None:
        if request.prompt_id is None:
            return None
        place = {"turn": request.turn, "seq": ids.first_seq(request.turn), "agent": None}
        ended = {"status": "answered", "answer": row.id, "updated_at": row.updated_at}
        return await self._store.amend(
            ids.message_id(request.thread, request.prompt_id, "prompt"), row.attempt, place | ended
        )

    async def _tell(self, row: Message, *, answers: bool) -> None:
        data = {"message_id": row.id, "attempt": row.attempt, "turn": row.turn}
        who = {"step": row.step, "agent": row.author, "author": row.author}
        await self._events.publish(row.thread, "message.started", data | who)
        await self._events.publish(row.thread, "message.delta", data | {"text": row.text})
        await self._events.publish(
            row.thread, "message.finished", data | who | {"status": row.status, "finish": row.finish}
        )
        if answers:
            ended = {"turn": row.turn, "prompt_id": row.prompt_id, "status": "answered", "message_id": row.id}
            await self._events.publish(row.thread, "turn.finished", ended)


def _row(request: SayRequest, record: ThreadRecord | None, attempt: int, now: float) -> Message:
    prompt_id = request.prompt_id or request.id
    return Message(
        id=ids.message_id(request.thread, prompt_id, "answer", branch=request.branch, step=request.step),
        thread=request.thread,
        prompt_id=prompt_id,
        slot="answer",
        role="assistant",
        tenant=record.tenant if record else "",
        owner=record.owner if record else "",
        turn=request.turn,
        branch=request.branch,
        step=request.step,
        seq=ids.seq(request.turn, request.step, ids.ANSWER_ORDINAL),
        status="complete",
        attempt=attempt,
        text=request.content,
        index="due",
        author=request.by,
        finish="stop",
        metadata=HUMAN,
        created_at=now,
        updated_at=now,
    )
