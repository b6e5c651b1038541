"""What is done about memory in the background: chores, whose backlog is the store itself.

One activity does them all, for minutes at a time, on one worker at a time: the workflow that calls it has a fixed id. It
asks the store every second what is due. If its worker is lost, another one goes on within seconds, and nothing is lost
with the first, since nothing was kept but in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from temporalio import activity

from activities.lease import Lease
from domain.errors import EverthreadError
from domain.keeping import KeepRequest, KeepResult

IDLE_S = 1.0  # between two looks when nothing is due
LONGEST_REST_S = 60.0  # of a chore that cannot be done

log = structlog.get_logger()


class Chore(Protocol):
    """One kind of background work. Nothing about it is kept but in the store, so that any worker can go on with it.

    It may be cut off at any moment and begun again by another: what it does is safe to repeat.
    """

    @property
    def name(self) -> str: ...

    async def work(self) -> int:
        """Do some of what is due, for at most a few seconds; return how much was done, 0 if nothing is due.

        Raises: UnavailableError, ModelUnavailableError if it cannot be done now.
        """

    async def due(self) -> int:
        """How much there is to do."""


class KeepingActivities:
    """The chores, each in its turn; one that fails rests, longer each time, and holds up none of the others."""

    def __init__(self, chores: Sequence[Chore], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._chores = chores
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._resting: dict[str, float] = {}  # until when
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End what runs, and whatever comes: the worker stops.

        The SDK tells only those activities of its shutdown that came after another one had; the first would not hear.
        """
        self._stopping.set()

    @activity.defn(name="keep_memory")
    async def keep_memory(self, request: KeepRequest) -> KeepResult:
        """Do what is due until `seconds` are over or the worker stops."""
        until = self._clock() + request.seconds
        stopping = asyncio.create_task(self._stopping.wait())
        done = 0
        async with Lease.of_activity() as lease:
            try:
                while not stopping.done() and self._clock() < until:
                    lease.check()
                    worked = await self.round()
                    done += worked
                    if not worked:
                        await asyncio.wait({stopping}, timeout=IDLE_S)
                    else:
                        await asyncio.sleep(0)
            finally:
                stopping.cancel()
        return KeepResult(done=done)

    async def round(self) -> int:
        """Some of each chore; returns how much was done."""
        return sum([await self._work(chore) for chore in self._chores if self._ready(chore)])

    def _ready(self, chore: Chore) -> bool:
        return self._resting.get(chore.name, 0.0) <= self._clock()

    async def _work(self, chore: Chore) -> int:
        try:
            done = await chore.work()
        except EverthreadError as error:
            self._rest(chore, str(error))
            return 0
        except Exception as error:
            log.exception("chore.broken", chore=chore.name)
            self._rest(chore, repr(error))
            return 0
        self._failures.pop(chore.name, None)
        return done

    def _rest(self, chore: Chore, reason: str) -> None:
        failures = self._failures[chore.name] = self._failures.get(chore.name, 0) + 1
        rest_s = min(2.0 ** min(failures - 1, 10), LONGEST_REST_S)
        self._resting[chore.name] = self._clock() + rest_s
        log.warning("chore.failed", chore=chore.name, failures=failures, rest_s=rest_s, error=reason)
