"""An attempt that the server has given up does not write."""

from __future__ import annotations

import asyncio
import time

import pytest
from temporalio.testing import ActivityEnvironment

from activities.lease import Lease
from domain.errors import SupersededError
from tests.activities.fakes import attempt


async def test_it_beats_as_long_as_it_is_entered() -> None:
    environment, beats = ActivityEnvironment(), 0
    enough = asyncio.Event()

    def beat(*_: object) -> None:
        nonlocal beats
        beats += 1
        if beats == 5:
            enough.set()

    async def activity() -> None:
        async with Lease(timeout_s=5, beat_s=0.001) as lease:
            await asyncio.wait_for(enough.wait(), 5)
            lease.check()

    environment.on_heartbeat = beat
    await environment.run(activity)
    ended_with = beats
    await asyncio.sleep(0.01)
    assert beats == ended_with


async def test_a_process_that_was_stopped_finds_its_lease_lost_before_its_next_write() -> None:
    async def activity() -> None:
        async with Lease(timeout_s=0.05, beat_s=0.01) as lease:
            lease.check()
            time.sleep(0.06)  # noqa: ASYNC251 - as SIGSTOP does: nothing runs, not even the beat
            with pytest.raises(SupersededError, match=r"no heartbeat for 0\.05 s: another attempt has taken over"):
                lease.check()

    await ActivityEnvironment().run(activity)


async def test_a_lost_lease_stays_lost() -> None:
    """Even if the beat goes on before the first look: the server has started another attempt."""

    async def activity() -> None:
        async with Lease(timeout_s=0.05, beat_s=0.01) as lease:
            await asyncio.sleep(0.02)
            time.sleep(0.06)  # noqa: ASYNC251
            await asyncio.sleep(0.03)
            for _ in range(2):
                with pytest.raises(SupersededError):
                    lease.check()

    await ActivityEnvironment().run(activity)


async def test_its_time_is_the_heartbeat_timeout_of_the_activity() -> None:
    async def activity() -> None:
        lease = Lease.of_activity()
        time.sleep(0.02)  # noqa: ASYNC251
        with pytest.raises(SupersededError):
            lease.check()

    await attempt(heartbeat_timeout_s=0.01).run(activity)


async def test_an_activity_without_a_heartbeat_timeout_keeps_its_lease() -> None:
    async def activity() -> None:
        lease = Lease.of_activity()
        time.sleep(0.02)  # noqa: ASYNC251
        lease.check()

    await attempt(heartbeat_timeout_s=None).run(activity)


async def test_time_before_it_is_entered_does_not_count() -> None:
    async def activity() -> None:
        lease = Lease(timeout_s=0.05)
        time.sleep(0.06)  # noqa: ASYNC251
        async with lease:
            lease.check()

    await ActivityEnvironment().run(activity)
