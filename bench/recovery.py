"""How long a lost worker holds up a thread: from its kill -9 to the first new token that the model sends to a worker."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from statistics import median
from typing import Any

from temporalio.api.enums.v1 import EventType

from bench.fleet import FLEET_LAYOUT, Fleet, Worker, fleet
from bench.ground import events_of, figure, p95, play, say
from domain.errors import UnavailableError
from domain.prompts import Prompt
from tests.e2e.driver import until

LONG = {"text": " ".join(f"word{number}" for number in range(600)), "delay_s": 0.05}  # half a minute
SHORT = {"when": "brief", "text": "Yes."}
LATEST_S = 3.0  # of the kill, after the first token
LOST_S = 60.0
TASK_STARTED = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED


async def measure(kills: int) -> None:
    """Print the figures, of so many kills each."""
    chance = random.Random(3)  # the same moments in every run
    async with fleet() as found:
        await play(found.model_url, SHORT, LONG)
        workers = await found.start(2)
        answering = [await _answering(found, workers, chance) for _ in range(kills)]
        idle = [await _idle(found, workers) for _ in range(kills)]
        await workers.pop().kill()
        restarted = [await _answering(found, workers, chance) for _ in range(kills)]
    say(
        f"2 {FLEET_LAYOUT}; {kills} kills each, one thread at a time; then the same with one that is started again at once"
    )
    figure("recovery.p50", median(answering), "s")
    figure("recovery.p95", p95(answering), "s")
    figure("recovery.idle_p95", p95(idle), "s")
    figure("recovery.restart", p95(restarted), "s")


async def _answering(found: Fleet, workers: list[Worker], chance: random.Random) -> float:
    """Seconds from the kill of the worker in the middle of an answer. It is started again at once."""
    thread, since = uuid.uuid4().hex, await _asked(found)
    await found.threads.signal(thread, Prompt(content="Tell me all."))
    await _first_token(found, since)
    await asyncio.sleep(chance.uniform(0, LATEST_S))
    described = await found.threads.handle(thread).describe()
    [call] = described.raw_description.pending_activities
    waited = await _kill(found, workers, call.last_worker_identity)
    await found.ready(workers)
    await _stop(found, thread)
    return waited


async def _idle(found: Fleet, workers: list[Worker]) -> float:
    """Seconds from a prompt that follows on the kill of the worker that has the idle thread in its cache."""
    thread = uuid.uuid4().hex
    await found.threads.ask(thread, Prompt(content="Be brief."), timeout_s=LOST_S)
    tasks = [event for event in await events_of(found.threads.handle(thread)) if event.event_type == TASK_STARTED]

    async def ask() -> None:
        await found.threads.signal(thread, Prompt(content="Be brief again."))

    waited = await _kill(found, workers, tasks[-1].workflow_task_started_event_attributes.identity, ask)
    await found.ready(workers)
    return waited


async def _kill(
    found: Fleet, workers: list[Worker], identity: str, then: Callable[[], Awaitable[Any]] | None = None
) -> float:
    """Kill the worker of this identity and start another. Returns the seconds until the first new token, counted from
    `then` if that is given.
    """
    index = next(i for i, worker in enumerate(workers) if identity.startswith(f"{worker.process.pid}@"))
    since, killed_at = await _asked(found), time.time()
    await workers[index].kill()
    if then is None:
        workers[index] = await found.launch()
        return await _first_token(found, since) - killed_at
    asked_at = time.time()
    await then()
    waited = await _first_token(found, since) - asked_at
    workers[index] = await found.launch()  # only now: the survivor is what is measured
    return waited


async def _first_token(found: Fleet, since: int) -> float:
    """When the model sent the first token to a request after number `since`, in seconds since 1970."""
    moments: list[float] = []

    async def sent() -> bool:
        moments[:] = [at for request in await found.requests(since) if (at := request["first_chunk_at"])]
        return bool(moments)

    await until(sent, LOST_S, "a new token")
    return min(moments)


async def _asked(found: Fleet) -> int:
    """The number of the last request."""
    return max((int(request["number"]) for request in await found.requests()), default=0)


async def _stop(found: Fleet, thread: str) -> None:
    """End the turn, so that the next measurement has the model for itself."""

    async def ended() -> bool:
        with suppress(UnavailableError):
            return (await found.threads.interrupt(thread)).disposition == "not_running"
        return False

    await until(ended, LOST_S, "the turn ended")
