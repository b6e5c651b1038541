"""`reopen_turn`: an ended turn goes on after its last step, or begins again on a new branch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from temporalio import activity

from activities.failures import translated
from activities.ports import Store
from domain import ids
from domain.errors import SupersededError
from domain.messages import Message
from domain.rebuild import waiting_of
from domain.steps import Reopened, ReopenRequest, epoch_of, fence

ENDS = ("answered", "interrupted", "failed")  # of a turn
STEPS_A_LOOK = 50

log = structlog.get_logger()


class ReopeningActivities:
    """The record is the prompt's row: pending again, with the id of the wish, so that each wish is met once.

    It is written in a new epoch of the thread, and so beats whatever had ended the turn. A crash after that leaves an open
    prompt in the store, which the next run goes on with.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    @activity.defn(name="reopen_turn")
    async def reopen_turn(self, request: ReopenRequest) -> Reopened:
        """Meet one wish; the same again on a retry."""
        with translated():
            row_id = ids.message_id(request.thread, request.prompt_id, "prompt")
            row = next(iter(await self._store.get([row_id])), None)
            if refused := _why_not(request, row):
                return Reopened(refused=refused)
            if row is not None and row.reopened_by != request.id:
                try:
                    row = await self._reopen(request, row)
                except SupersededError as error:
                    return Reopened(refused=str(error))
            if row is None or row.reopened_by != request.id:
                return Reopened(refused=f"prompt {request.prompt_id} was opened again by another wish just now")
            waiting = None if row.final else waiting_of(row).model_dump(mode="json", exclude_defaults=True)
            return Reopened(epoch=epoch_of(row.attempt), waiting=waiting)

    async def _reopen(self, request: ReopenRequest, row: Message) -> Message | None:
        epoch = await self._next_epoch(request)
        steps, last = (0, None) if request.kind == "regenerate" else await self._steps(row)
        changes: dict[str, Any] = {
            "status": "pending",
            "branch": row.branch + 1 if request.kind == "regenerate" else row.branch,
            "from_step": steps,
            "reopened_by": request.id,
            "answer": None,
            "delivery": None,  # who is to be told hears of this end too
            "error": None,
            "replaced_by": None,
            "updated_at": self._clock(),
        }
        if agent := request.agent or (last.agent if last else None):  # it may have been routed, or handed over
            changes["agent"] = agent
        if request.options:
            changes["options"] = request.options.model_dump(mode="json")
        log.info("turn.reopened", thread=request.thread, prompt_id=row.prompt_id, turn=row.turn, kind=request.kind)
        return await self._store.reopen(row.id, fence(epoch, 0, 0), changes)

    async def _next_epoch(self, request: ReopenRequest) -> int:
        """Raises: SupersededError if the thread is another run's by now."""
        record = await self._store.get_thread(request.thread)
        if record is not None and record.run_id == request.run_id:
            record = await self._store.open_epoch(request.thread, record.epoch, request.run_id)
        if record is None or record.run_id != request.run_id:
            raise SupersededError(f"another run has opened thread {request.thread}")
        return record.epoch

    async def _steps(self, row: Message) -> tuple[int, Message | None]:
        """How many steps the turn has, on its branch, and the answer of the last."""
        found: list[Message] = []
        for first in range(0, ids.MAX_STEPS, STEPS_A_LOOK):
            steps = range(first, min(first + STEPS_A_LOOK, ids.MAX_STEPS))
            wanted = [ids.message_id(row.thread, row.prompt_id, "answer", branch=row.branch, step=s) for s in steps]
            found += await self._store.get(wanted)
            if len(found) < steps.stop:
                break
        return len(found), found[-1] if found else None


def _why_not(request: ReopenRequest, row: Message | None) -> str:
    if row is None:
        return f"the thread has no prompt {request.prompt_id}"
    if row.reopened_by == request.id:
        return ""
    if not row.final:
        return f"prompt {row.prompt_id} has not ended; interrupt its turn first, or wait"
    if row.erased and request.kind == "resume":
        return f"some messages of the turn of prompt {row.prompt_id} were erased; regenerate it instead"
    if row.status not in ENDS:
        return f"prompt {row.prompt_id} was {row.status} and has no turn of its own; send a new prompt"
    return ""
