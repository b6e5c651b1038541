"""The parts of an erasure, each of which may be cut off anywhere and done again.

Nothing is forgotten about: what is yet to be deleted is found by its owner, its thread or its turn, and which threads are
meant by their tombstones. The numbers of the receipt stay right too: a page of rows is counted and named in the record
before it is deleted, and what is still there of it when that is done again is taken off first.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from temporalio import activity

from activities.erasing_turns import Turns
from activities.failures import translated
from activities.ports import Blobs, EventLog, Graves, Runs, Store
from activities.shredding import Shredder
from domain.erasure import (
    NAMED,
    EraseStep,
    EraseStepResult,
    Erasing,
    ErasureReceipt,
    Part,
    Remaining,
)

PAGE = 100
WORK_S = 20.0  # of one activity; then the next goes on

log = structlog.get_logger()


class ErasingActivities:
    """Over the ports it is given."""

    def __init__(
        self,
        store: Store,
        graves: Graves,
        runs: Runs,
        events: EventLog,
        blobs: Blobs | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._graves = graves
        self._runs = runs
        self._events = events
        self._shredder = Shredder(graves, blobs)
        self._turns = Turns(store, graves, runs, events, self._shredder, clock)
        self._clock = clock

    @activity.defn(name="begin_erasure")
    async def begin_erasure(self, step: EraseStep) -> ErasureReceipt:
        """Make the record of it."""
        with translated():
            noted = await self._graves.noted(step.id)
            if noted is None:
                noted = Erasing(id=step.id, subject=step.request.subject(), requested_at=self._clock())
                await self._graves.note(noted)
            log.info("erasure.began", erasure=step.id, subject=noted.subject)
            return _receipt(noted)

    @activity.defn(name="bury_threads")
    async def bury_threads(self, step: EraseStep) -> EraseStepResult:
        """Mark the threads that are to be deleted, and those on which their calls asked agents: none opens any more."""
        with translated():
            if step.request.whole_threads and step.request.thread is not None:
                await self._graves.bury(step.request.thread, step.id, self._clock())
            if step.request.whole_threads and (person := step.request.person) is not None:
                while threads := await self._graves.living(person, None, PAGE):
                    for _, record in threads:
                        await self._graves.bury(record.thread, step.id, self._clock())
                    activity.heartbeat()
            else:
                await self._bury_children(step)
            return EraseStepResult()

    async def _bury_children(self, step: EraseStep) -> None:
        """Their threads too, level by level."""
        news = True
        while news:
            news = False
            async for thread in self._buried(step.id):
                async for child in self._turns.children(thread):
                    news |= await self._graves.bury(child, step.id, self._clock())

    @activity.defn(name="end_threads")
    async def end_threads(self, step: EraseStep) -> EraseStepResult:
        """End the runs of the deleted threads."""
        with translated():
            return await self._each(step, self._runs.end)

    @activity.defn(name="erase_turns")
    async def erase_turns(self, step: EraseStep) -> EraseStepResult:
        """Delete messages and turns of threads that live on."""
        with translated():
            if step.request.whole_threads:
                return EraseStepResult()
            done = await self._turns.erase(step, self._clock() + WORK_S)
            return await self._with_receipt(step, done)

    @activity.defn(name="erase_rows")
    async def erase_rows(self, step: EraseStep) -> EraseStepResult:
        """Delete all that the collections have of the deleted threads, and of the owner or the tenant."""
        with translated():

            async def erase(thread: str) -> None:
                await self._shredder.shred(step.id, Part(thread=thread))
                await self._events.forget(thread)

            done = await self._each(step, erase)
            if done.after is None and step.request.whole_threads and (person := step.request.person) is not None:
                await self._shredder.shred(step.id, person)
            return await self._with_receipt(step, done)

    @activity.defn(name="verify_erasure")
    async def verify_erasure(self, step: EraseStep) -> EraseStepResult:
        """Look for what is left, by count and by search."""
        with translated():
            parts = [Part(thread=thread) async for thread in self._buried(step.id)]
            living = 0
            if step.request.whole_threads and (person := step.request.person) is not None:
                parts.append(person)
                living = len(await self._graves.living(person, None, PAGE))
            counted = found = 0
            for part in parts:
                activity.heartbeat()
                for eraser in self._graves.erasers:
                    counted += await eraser.count(part)
                    found += await eraser.found(part)
            if not step.request.whole_threads:
                counted += await self._turns.count(step)
            noted = await self._noted(step)
            threads = len(parts) - (step.request.whole_threads and step.request.person is not None)
            changes = {"counted": counted + living, "found": found, "threads": threads}
            await self._graves.note(noted.model_copy(update=changes))
            return await self._with_receipt(step, EraseStepResult(left=counted + found + living))

    @activity.defn(name="end_erasure")
    async def end_erasure(self, step: EraseStep) -> ErasureReceipt:
        """Take the names from the tombstones, note what remains where, and close the receipt."""
        with translated():
            noted = await self._noted(step)
            await self._graves.unname(step.id)
            clean = not noted.counted and not noted.found
            changes = {
                "status": "done" if clean and not noted.left else "incomplete",
                "verified": clean,
                "ended_at": self._clock(),
                "remaining": await self._remaining(step, noted),
            }
            noted = noted.model_copy(update=changes)
            await self._graves.note(noted)
            log.info("erasure.ended", erasure=step.id, status=noted.status, erased=noted.erased, left=noted.counted)
            return _receipt(noted)

    async def _remaining(self, step: EraseStep, noted: Erasing) -> list[Remaining]:
        days = await self._runs.retention_days()
        names: list[str] = []
        runs = 0
        async for thread in self._buried(step.id):
            runs += len(ids := await self._runs.histories(thread))
            names += [f"thread/{thread} {run_id}" for run_id in ids][: NAMED - len(names)]
            for run_id in ids if step.request.histories else []:
                await self._runs.drop_history(thread, run_id)
            activity.heartbeat()
        until = f"{days:g} days after the end of each"
        ends = "they are being deleted" if step.request.histories else until
        what = "histories of the erased threads"
        left = [Remaining(where="temporal", what=what, count=runs, names=names, until=ends)]
        if noted.open_threads:
            named = [f"thread/{thread}" for thread in noted.open_threads[:NAMED]]
            what = "histories of threads that live on: runs that began before this erasure"
            number = len(noted.open_threads)
            left.append(Remaining(where="temporal", what=what, count=number, names=named, until=until))
        what = "the history of this erasure: its request, without any content"
        left.append(Remaining(where="temporal", what=what, count=1, names=[f"erase/{step.id}"], until=until))
        stones = Remaining(
            where="records", what="tombstones: ids of the threads", count=noted.threads, until="for good"
        )
        receipt = Remaining(where="records", what="this receipt", count=1, until="for good")
        logs = Remaining(where="logs", what="ids of threads and messages, and errors", until="your log retention")
        return [*left, *([stones] if noted.threads else []), receipt, logs]

    async def _each(self, step: EraseStep, work: Callable[[str], Awaitable[None]]) -> EraseStepResult:
        """Do it for deleted threads, for a while."""
        until, after = self._clock() + WORK_S, step.after
        while stones := await self._graves.buried(step.id, after, PAGE):
            for after, thread in stones:
                await work(thread)
                activity.heartbeat()
                if self._clock() > until:
                    return EraseStepResult(after=after)
        return EraseStepResult()

    async def _buried(self, erasure: str) -> AsyncIterator[str]:
        after: str | None = None
        while stones := await self._graves.buried(erasure, after, PAGE):
            for after, thread in stones:  # noqa: B007
                activity.heartbeat()
                yield thread

    async def _with_receipt(self, step: EraseStep, result: EraseStepResult) -> EraseStepResult:
        return result.model_copy(update={"receipt": _receipt(await self._noted(step))})

    async def _noted(self, step: EraseStep) -> Erasing:
        return await self._shredder.settled(step.id)


def _receipt(noted: Erasing) -> ErasureReceipt:
    return ErasureReceipt.model_validate(noted.model_dump(include=set(ErasureReceipt.model_fields)))
