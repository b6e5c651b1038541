"""What a thread asks of the store besides its turns: open, save what waits, find what was, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog
from temporalio import activity

from activities.failures import translated
from activities.ports import Catalog, Store
from activities.rows import asker_of, deleted_sentence, prompt_row
from domain import ids
from domain.content import parts_of, text_of
from domain.errors import HookError, UnknownAgentError
from domain.ledger import RECENT_IDS
from domain.messages import Message, ThreadRecord
from domain.prompts import Mode
from domain.rebuild import last_ended, rebuild, report_of
from domain.state import Said, Waiting
from domain.steps import (
    CheckpointRequest,
    FindRequest,
    Opened,
    OpenRequest,
    SaveRequest,
    SaveResult,
)
from domain.thread import MAX_WAITING, ThreadState, upgrade
from domain.wishes import TurnReport

log = structlog.get_logger()


class ThreadActivities:
    """The thread's record keeping over the ports it is given."""

    def __init__(self, store: Store, catalog: Catalog, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock

    @activity.defn(name="open_thread")
    async def open_thread(self, request: OpenRequest) -> Opened:
        """The thread as the store knows it, made now if it is new; each run that opens it gets an epoch of its own."""
        with translated():
            if refused := await self._refused(request):
                return refused
            record = await self._own(request)
            if record.deleted:  # just now
                return _deleted(request.thread)
            kept = await self._store.load_checkpoint(request.thread)
            checkpoint = upgrade(kept) if kept else None
            recent = await self._store.recent_prompts(request.thread, RECENT_IDS)
            unended = await self._store.open_prompts(request.thread, MAX_WAITING + 1)  # one may be running
            lost = await self._never_saved(request.thread, checkpoint)
            ended = await self._reports(last_ended(recent))
            state = rebuild(checkpoint, record, recent, unended, lost, ended)
            state.said = [said for said in state.said if not await self._has_said(request.thread, said)]
            state.note_busy_mode(state.agent, await self._busy_mode(state.agent, record))
            log.info("thread.opened", thread=request.thread, epoch=record.epoch, unended=len(unended) + len(lost))
            return Opened(state=state.carried(), new=record.epoch == 1)

    async def _busy_mode(self, agent: str, record: ThreadRecord) -> Mode:
        try:
            return (await self._catalog.agent(agent, asker_of(record.thread, record))).busy_mode
        except (UnknownAgentError, HookError):  # its prompts fail, saying so
            return "queue"

    async def _refused(self, request: OpenRequest) -> Opened | None:
        """Why the thread is not to be opened."""
        record = await self._store.get_thread(request.thread)
        if record is None and request.start.must_exist:
            return Opened(refused=f"there is no thread {request.thread}, and it was not to be made", unknown=True)
        if record is not None and record.deleted:
            return _deleted(request.thread)
        if record is not None and record.expires_at is not None and record.expires_at <= self._clock():
            return Opened(refused=f"thread {request.thread} has ended: its time to live is over; begin a new one")
        return None

    async def _own(self, request: OpenRequest) -> ThreadRecord:
        now, start = self._clock(), request.start
        record = await self._store.insert_thread(
            ThreadRecord(
                thread=request.thread,
                tenant=start.tenant or "",
                owner=start.owner or "",
                agent=start.agent or self._catalog.default,
                metadata=start.metadata,
                idle_timeout_s=start.idle_timeout_s,
                expires_at=now + start.ttl_s if start.ttl_s else None,
                parent=start.parent,
                created_at=now,
                updated_at=now,
            )
        )
        while record.run_id != request.run_id:
            record = await self._store.open_epoch(request.thread, record.epoch, request.run_id)
        return record

    async def _never_saved(self, thread: str, checkpoint: ThreadState | None) -> list[Waiting]:
        carried = [*checkpoint.inbox, *checkpoint.steered] if checkpoint else []
        waiting = [w for w in carried if w.prompt is not None]
        by_row = {ids.message_id(thread, w.id, "prompt"): w for w in waiting}
        for row in await self._store.get(list(by_row)):
            del by_row[row.id]
        return list(by_row.values())

    async def _has_said(self, thread: str, said: Said) -> bool:
        """Whether the store has what an operator said, and the checkpoint is older."""
        prompts = await self._store.get([ids.message_id(thread, said.prompt_id, "prompt")] if said.prompt_id else [])
        own = await self._store.get([ids.message_id(thread, said.id, "answer")])
        return bool(own) or any(prompt.final for prompt in prompts)

    @activity.defn(name="save_prompts")
    async def save_prompts(self, request: SaveRequest) -> SaveResult:
        """Save prompts that wait; tell which ids an older prompt has already."""
        with translated():
            record, now = await self._store.get_thread(request.thread), self._clock()
            if record is not None and record.deleted:  # its run is being ended
                return SaveResult()
            pairs = zip(request.prompts, request.places, strict=True)
            rows = [prompt_row(request.thread, prompt, record, now, place) for prompt, place in pairs]
            await self._store.insert(rows)
            there = {row.id: row for row in await self._store.get([row.id for row in rows])}
            clashes = [(row, there[row.id]) for row in rows]
            conflicts = [new.prompt_id for new, old in clashes if old.digest != new.digest]
            await self._change(request, conflicts, now)
            return SaveResult(
                conflicts=conflicts,
                duplicates=[new.prompt_id for new, old in clashes if old.digest == new.digest and _taken(old)],
            )

    async def _change(self, request: SaveRequest, others: list[str], now: float) -> None:
        """What was said of prompts that wait, but for `others`' rows; a prompt that no longer waits is left as it is."""
        for revision in request.revisions:
            content = revision.content
            changes = {"text": text_of(content), "parts": parts_of(content), "updated_at": now}
            await self._store.amend(ids.message_id(request.thread, revision.prompt_id, "prompt"), 0, changes)
        for prompt_id in set(request.withdrawn) - set(others):
            changes = {"status": "withdrawn", "updated_at": now}
            await self._store.amend(ids.message_id(request.thread, prompt_id, "prompt"), 0, changes)

    @activity.defn(name="find_turn")
    async def find_turn(self, request: FindRequest) -> TurnReport:
        """What the store says became of a prompt."""
        with translated():
            rows = await self._store.get([ids.message_id(request.thread, request.prompt_id, "prompt")])
            if not rows:
                return TurnReport(prompt_id=request.prompt_id, status="unknown")
            [report] = await self._reports(rows)
            return report

    async def _reports(self, rows: Sequence[Message]) -> list[TurnReport]:
        """What became of each prompt."""
        of_turn = {row.id: ids.message_id(row.thread, row.joins, "prompt") for row in rows if row.joins}
        found = {row.id: row for row in await self._store.get(list(dict.fromkeys(of_turn.values())))}
        firsts = [found.get(of_turn.get(row.id, row.id), row) for row in rows]
        answers = {row.id: row for row in await self._store.get([first.answer for first in firsts if first.answer])}
        return [report_of(row, first, answers.get(first.answer or "")) for row, first in zip(rows, firsts, strict=True)]

    @activity.defn(name="save_checkpoint")
    async def save_checkpoint(self, request: CheckpointRequest) -> None:
        """Keep the thread's private state, so that a thread Temporal lost opens again where it stood."""
        with translated():
            record = await self._store.get_thread(request.thread)
            if record is not None and record.deleted:
                return
            await self._store.save_checkpoint(request.thread, request.epoch, request.turn, request.state)


def _deleted(thread: str) -> Opened:
    return Opened(refused=deleted_sentence(thread), unknown=True)


def _taken(row: Message) -> bool:
    """Whether the row is an older prompt's and not the one being saved, which has neither turn nor end."""
    return row.final or row.turn is not None
