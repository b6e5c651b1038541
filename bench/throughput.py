"""How many turns a second a hundred threads make: against the floor, and while two hundred other answers stream.

Each thread sends its next prompt when it hears the last one's end. Who streams has slots of its own, on a second worker
in this process; what it takes from the others is its heartbeats, one in HEARTBEAT_THROTTLE a call, and its words.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

from temporalio.client import WorkflowHandle

from bench.floor import start_floor
from bench.ground import FLOOR_QUEUE, QUEUE, Ground, figure, say
from runtime.wiring import make_worker

THREADS, ROUNDS, TURNS = 100, 3, 5
STREAMS, STREAM_QUEUE, PACE_S = 200, f"{QUEUE}-streams", 1.0  # between two words
STREAM: dict[str, Any] = {"when": "^Tell me all", "text": "word " * 3_600, "delay_s": PACE_S}

Turn = Callable[[], Awaitable[None]]


async def measure(g: Ground, *, shortened: bool) -> None:
    """The figures of it, each the median of its rounds, which take turns."""
    rounds = 1 if shortened else ROUNDS
    bares = [await start_floor(g.client, FLOOR_QUEUE) for _ in range(THREADS)]
    threads = [await g.start_thread() for _ in range(THREADS)]
    floors: list[Turn] = [partial(_ask, bare) for bare in bares]
    ours: list[Turn] = [partial(_turn, g, thread) for thread in threads]
    floor, alone, beside = list[float](), list[float](), list[float]()
    async with make_worker(g.client, STREAM_QUEUE, g.ports, max_activities=STREAMS):
        streams = [await g.start_thread(STREAM_QUEUE) for _ in range(STREAMS)]
        await _rate(floors, 1)
        await _rate(ours, 1)
        for _ in range(rounds):
            floor.append(await _rate(floors, TURNS))
            alone.append(await _rate(ours, TURNS))
            async with _streaming(g, streams):
                beside.append(await _rate(ours, TURNS))
    say(
        f"{THREADS} threads × {TURNS} turns × {rounds} rounds in turn; beside: {STREAMS} answers, a word in {PACE_S:g} s"
    )
    figure("turn.floor_rate", median(floor), "turns/s")
    figure("turn.rate", median(alone), "turns/s")
    figure("turn.throughput_ratio", median(alone) / median(floor))
    figure("turn.heartbeat_rate", median(beside), "turns/s")
    figure("turn.heartbeat_throughput_ratio", median(beside) / median(alone))


async def _ask(bare: WorkflowHandle[Any, Any]) -> None:
    await bare.execute_update("ask", "How are you today?")


async def _turn(g: Ground, thread: WorkflowHandle[Any, Any]) -> None:
    await g.turn(thread, str(uuid.uuid4()), "How are you today?")


async def _rate(turns: list[Turn], times: int) -> float:
    async def repeat(turn: Turn) -> None:
        for _ in range(times):
            await turn()

    began = time.perf_counter()
    await asyncio.gather(*map(repeat, turns))
    return len(turns) * times / (time.perf_counter() - began)


@asynccontextmanager
async def _streaming(g: Ground, threads: list[WorkflowHandle[Any, Any]]) -> AsyncIterator[None]:
    """Each thread's answer streams while this is entered."""
    await asyncio.gather(*(_signalled(g, t, "prompt", {"content": "Tell me all."}, "message.delta") for t in threads))
    yield
    await asyncio.gather(*(_signalled(g, thread, "interrupt", {}, "turn.finished") for thread in threads))


async def _signalled(
    g: Ground, thread: WorkflowHandle[Any, Any], signal: str, value: dict[str, Any], awaited: str
) -> None:
    """Send a signal and wait for the event that shows that it has worked."""
    async with aclosing(g.ports.events.follow(thread.id.removeprefix("thread/"))) as feed:
        await anext(feed)  # the snapshot: we are listening
        await thread.signal(signal, value)
        async for event in feed:
            if event.kind == awaited:
                return
