"""A step of which some calls wait for somebody: the others run at once, each of these once it is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.delivery import DeliveryActivities
    from domain.gates import Due, Why, by_deadline, next_due, terms_of, waiting_call
    from domain.messages import preview
    from domain.prompts import ReplyTo
    from domain.state import Gated, Running
    from domain.steps import NotifyRequest
    from domain.thread import ThreadState
    from domain.wishes import Interrupt
    from workflows import options, turn

SUMMARY_CHARS = 40
EXPIRED = "the thread's time to live is over"


class Gates:
    """Of one running step, within one run of the thread.

    What is decided is in the state before anything is done about it, and what has ended is there too: so the thread may
    continue as new while calls wait, for days, and the next run goes on with what is left. `leaves` says that it is about
    to; then nothing new is begun, and notices on their way are begun anew by the next run.
    """

    def __init__(
        self, thread: str, state: ThreadState, running: Running, calls: turn.Calls, leaves: Callable[[], bool]
    ) -> None:
        self._thread = thread
        self._state = state
        self._running = running
        self._calls = calls
        self._leaves = leaves
        self._at_work: dict[int, asyncio.Task[str]] = {}
        self._failed: list[BaseException] = []
        self._telling: dict[tuple[int, Why], asyncio.Task[None]] = {}

    async def passed(self) -> list[str] | None:
        """The ids of the results in the order of the calls, once all have ended; None if the turn stops or the thread rolls.

        Raises: ActivityError if a call could not be made, once all that run have ended.
        """
        try:
            while not (self._stops() and not self._at_work):
                self._begin()
                if len(self._running.done) == len(self._running.plan):
                    return [self._running.done[index] for index in range(len(self._running.plan))]
                await self._wait()
                self._collect()
        finally:
            await self._leave()
        return None

    async def _leave(self) -> None:
        """What is still on its way: calls only if the thread is cancelled; notices are told again by the next run."""
        told = {gated.index: gated.told for gated in self._running.gated}
        for (index, why), task in self._telling.items():
            if not task.done():
                told[index].remove(why)
                task.cancel()
        for call in self._at_work.values():
            call.cancel()
        for call in self._at_work.values():  # one by one: while a run is evicted there is no loop to gather them in
            with suppress(asyncio.CancelledError, ActivityError):
                await call

    def _stops(self) -> bool:
        return self._running.stopped() or bool(self._failed) or self._leaves()

    def _begin(self) -> None:
        """All that can be begun."""
        if self._stops():
            return
        waiting = {gated.index: gated for gated in self._running.gated}
        for index in range(len(self._running.plan)):
            gated = waiting.get(index)
            if index in self._running.done or index in self._at_work:
                continue
            if gated is None or gated.resolution is not None:
                self._at_work[index] = asyncio.create_task(self._run(index, gated))
            elif "asked" not in gated.told:
                self._tell(gated, "asked", terms_of(self._running).notify)

    async def _run(self, index: int, gated: Gated | None) -> str:
        resolution = gated.resolution if gated else None
        return await turn.run_tool(self._thread, self._state.epoch, self._running, index, self._calls, resolution)

    async def _wait(self) -> None:
        """Until something has ended, is decided, or is due, which is then done."""
        due = next_due(self._running, self._state.expires_at)
        wait_s = None if due is None else max(0.0, due.at - workflow.time())
        try:
            await workflow.wait_condition(
                self._has_news,
                timeout=None if wait_s is None else timedelta(seconds=wait_s),
                timeout_summary=f"{due.what} of {len(self._running.gated)} calls" if due else None,
            )
        except TimeoutError:
            assert due is not None
            self._fall_due(due.gated, due.what)

    def _has_news(self) -> bool:
        return (
            any(task.done() for task in self._at_work.values())
            or (self._stops() and not self._at_work)
            or (not self._stops() and any(self._can_begin(gated) for gated in self._running.gated))
        )

    def _can_begin(self, gated: Gated) -> bool:
        decided = gated.resolution is not None
        return decided and gated.index not in self._running.done and gated.index not in self._at_work

    def _collect(self) -> None:
        """Raises: ActivityError of the first that failed, once none runs any more."""
        for index, task in [(index, task) for index, task in self._at_work.items() if task.done()]:
            del self._at_work[index]
            try:
                self._state.note_call_done(index, task.result())
            except (ActivityError, asyncio.CancelledError) as error:
                self._failed.append(error)
        if self._failed and not self._at_work:
            raise self._failed[0]

    def _fall_due(self, gated: Gated, what: Due) -> None:
        if gated.resolution is not None:  # decided since the timer began, though nothing new is begun about it now
            return
        terms = terms_of(self._running)
        if what == "end":
            self._state.interrupt(Interrupt(reason=EXPIRED))
            self._calls.stop()
        elif what == "deadline":
            gated.resolution = by_deadline(self._running, gated)
        elif what == "reminder":
            self._tell(gated, "reminder", terms.notify)
        else:
            self._tell(gated, "escalated", terms.escalate_to)

    def _tell(self, gated: Gated, why: Why, to: ReplyTo | None) -> None:
        gated.told.append(why)
        if to is not None:
            self._telling[gated.index, why] = asyncio.create_task(self._notify(gated, why, to))

    async def _notify(self, gated: Gated, why: Why, to: ReplyTo) -> None:
        call = waiting_call(self._running, gated)
        request = NotifyRequest(
            thread=self._thread,
            prompt_id=self._running.prompt_id,
            turn=self._running.turn,
            message_id=turn.result_id(self._thread, self._running, gated.index),
            call=call,
            why=why,
            to=to,
        )
        summary = f"{why}: {preview(call.tool, SUMMARY_CHARS)}"
        try:
            await workflow.execute_activity_method(
                DeliveryActivities.notify, request, **options.notify(summary, to.within_s)
            )
        except ActivityError as error:
            if not is_cancelled_exception(error):
                workflow.logger.warning("notice.lost %s: %s", call.call_id, error.cause)
