"""How an attempt knows that it may still write.

An attempt that could not beat for a whole heartbeat timeout is lost to the server, which has started another: a process
that was stopped and goes on finds its lease run out before its first write, whatever lies in its socket. The store's
fence would keep a zombie from overwriting; the lease keeps it from finishing in the other's place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from temporalio import activity

from domain.errors import SupersededError, UnavailableError

BEAT_S = 0.5  # an interrupt comes as the answer to a beat

T = TypeVar("T")


async def until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Do what may be given up at any time.

    Raises: UnavailableError at once when the worker stops, instead of holding it up.
    """
    doing, stopping = asyncio.create_task(work), asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise UnavailableError("the worker stops; the next attempt goes on elsewhere, or later")
        return await doing
    finally:
        doing.cancel()
        stopping.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)


def interrupted() -> bool:
    """Whether it was the thread that cancelled this activity, and not the worker's end."""
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


class Lease:
    """Beats twice a second while it is entered; `check` raises SupersededError once beats were missed for too long."""

    def __init__(self, timeout_s: float, beat_s: float = BEAT_S) -> None:
        self._timeout_s = timeout_s
        self._beat_s = beat_s
        self._last_beat = time.monotonic()
        self._lost = False

    @classmethod
    def of_activity(cls) -> Lease:
        timeout = activity.info().heartbeat_timeout
        return cls(timeout.total_seconds() if timeout else float("inf"))

    def check(self) -> None:
        """Raises: SupersededError if the server must have given this attempt up."""
        self._lost = self._lost or time.monotonic() - self._last_beat > self._timeout_s
        if self._lost:
            raise SupersededError(f"no heartbeat for {self._timeout_s:g} s: another attempt has taken over")

    async def __aenter__(self) -> Self:
        self._last_beat = time.monotonic()
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, SupersededError):
            await self._task

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)  # first: most activities end before a beat is due, and it is a call
            self.check()
            activity.heartbeat()
            self._last_beat = time.monotonic()
