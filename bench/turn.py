"""What a turn costs in time, against the floor (bench.floor), in the same run and in turn.

The latency of a turn is taken twice: until a reader hears its end, and until the thread itself has taken note of it (its
last workflow task), which is what the floor's reply means; the ratios are of the second.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from statistics import mean, median
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from bench.floor import Floor, floor_worker
from bench.ground import FLOOR_QUEUE, LAYOUT, QUEUE, Ground, events_of, figure, ground, samples, say
from domain.ids import workflow_id
from workflows.thread import AgentThread

ANSWER = "All of this is one answer of about two hundred characters, no more. " * 3
TASK_DONE = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
ACTIVITY_DONE = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
PER_THREAD = 20  # turns, then a fresh thread: histories are read back
THREADS, ROUNDS, TURNS = 100, 3, 5  # of the throughput

Turn = Callable[[], Awaitable[None]]


async def main() -> None:
    wanted = samples(200)
    async with ground() as g, floor_worker(g.client, FLOOR_QUEUE, g.model):
        await g.script({"text": ANSWER})
        floor, heard, noted = await _latency(g, wanted)
        floor_rate, our_rate = await _throughput(g)
    say(f"{LAYOUT}; {wanted} samples in turn; {THREADS} threads × {TURNS} turns × {ROUNDS} rounds in turn")
    figure("turn.floor_p50", median(floor) * 1000, "ms")
    figure("turn.p50", median(noted) * 1000, "ms")
    figure("turn.latency_ratio", median(noted) / median(floor))
    figure("turn.latency_ratio_mean", mean(noted) / mean(floor))
    figure("turn.heard_p50", median(heard) * 1000, "ms")
    figure("turn.floor_rate", floor_rate, "turns/s")
    figure("turn.rate", our_rate, "turns/s")
    figure("turn.throughput_ratio", our_rate / floor_rate)


async def _latency(g: Ground, wanted: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds: the floor's; ours until heard; ours until noted. The first turn of a thread opens it and is not counted."""
    floor, heard, noted = list[float](), list[float](), list[float]()
    while len(floor) < wanted:
        bare, thread = await _start_floor(g), await _start_thread(g)
        await bare.execute_update("ask", "warm up")
        await g.turn(thread, str(uuid.uuid4()), "warm up")
        for _ in range(PER_THREAD):
            began = time.perf_counter()
            await bare.execute_update("ask", "How are you today?")
            floor.append(time.perf_counter() - began)
            sent = datetime.now(UTC).timestamp()
            ended = await g.turn(thread, str(uuid.uuid4()), "How are you today?")
            heard.append(ended - sent)
            noted.append(await _noted(thread) - sent)
    return floor, heard, noted


async def _noted(thread: WorkflowHandle[Any, Any]) -> float:
    """When the workflow task after the last activity was done, in seconds since 1970."""
    while True:
        last = (await events_of(thread))[-4:]
        if [e.event_type for e in last if e.event_type in (TASK_DONE, ACTIVITY_DONE)][-2:] == [
            ACTIVITY_DONE,
            TASK_DONE,
        ]:
            return last[-1].event_time.ToNanoseconds() / 1e9


async def _throughput(g: Ground) -> tuple[float, float]:
    """Turns per second of the floor and of ours, each thread sending its next prompt when it hears the last one's end."""
    bares = [await _start_floor(g) for _ in range(THREADS)]
    threads = [await _start_thread(g) for _ in range(THREADS)]

    async def ask(bare: WorkflowHandle[Any, Any]) -> None:
        await bare.execute_update("ask", "How are you today?")

    async def turn(thread: WorkflowHandle[Any, Any]) -> None:
        await g.turn(thread, str(uuid.uuid4()), "How are you today?")

    floors: list[Turn] = [partial(ask, bare) for bare in bares]
    ours: list[Turn] = [partial(turn, thread) for thread in threads]
    await _rate(floors, 1)
    await _rate(ours, 1)
    rates = [(await _rate(floors, TURNS), await _rate(ours, TURNS)) for _ in range(ROUNDS)]
    return median(floor for floor, _ in rates), median(our for _, our in rates)


async def _rate(turns: list[Turn], times: int) -> float:
    async def repeat(turn: Turn) -> None:
        for _ in range(times):
            await turn()

    began = time.perf_counter()
    await asyncio.gather(*map(repeat, turns))
    return len(turns) * times / (time.perf_counter() - began)


async def _start_floor(g: Ground) -> WorkflowHandle[Any, Any]:
    return await g.client.start_workflow(Floor.run, id=uuid.uuid4().hex, task_queue=FLOOR_QUEUE)


async def _start_thread(g: Ground) -> WorkflowHandle[Any, Any]:
    return await g.client.start_workflow(AgentThread.run, id=workflow_id(uuid.uuid4().hex), task_queue=QUEUE)


if __name__ == "__main__":
    asyncio.run(main())
