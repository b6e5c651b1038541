"""What a turn costs in time, with and without a tool, against the floor (bench.floor), in the same run and in turn.

The latency of a turn is taken twice: until a reader hears its end, and until the thread itself has taken note of it (its
last workflow task), which is what the floor's reply means; the ratios are of the second. Throughput: bench.throughput.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import mean, median
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from bench import throughput
from bench.floor import floor_worker, start_floor
from bench.ground import FLOOR_QUEUE, LAYOUT, Ground, figure, ground, samples, say

ANSWER = "All of this is one answer of about two hundred characters, no more. " * 3
SCRIPT: tuple[dict[str, Any], ...] = (
    throughput.STREAM,
    {"when_offered": "current_time", "tool_calls": [{"name": "current_time", "arguments": {"timezone": "UTC"}}]},
    {"after_tool": True, "text": ANSWER},
    {"text": ANSWER},
)
TASK_DONE = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
ACTIVITY_DONE = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
PER_THREAD = 20  # turns, then a fresh thread: each has the ones before it in its context
LOOK_AGAIN_S = 0.01


@dataclass
class Latencies:
    """Seconds: the floor's; ours until heard; ours until noted."""

    floor: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    noted: list[float] = field(default_factory=list)

    def print(self, turn: str, ratio: str) -> None:
        figure(f"{turn}.floor_p50", median(self.floor) * 1000, "ms")
        figure(f"{turn}.p50", median(self.noted) * 1000, "ms")
        figure(f"{turn}.{ratio}", median(self.noted) / median(self.floor))
        figure(f"{turn}.{ratio}_mean", mean(self.noted) / mean(self.floor))
        figure(f"{turn}.heard_p50", median(self.heard) * 1000, "ms")


async def main() -> None:
    wanted = samples(200)
    async with ground() as g, floor_worker(g.client, FLOOR_QUEUE, g.model):
        await g.script(*SCRIPT)
        plain = await _latencies(g, wanted, "ask", "plain")
        tool = await _latencies(g, wanted, "ask_with_tool", "clerk")
        say(f"{LAYOUT}; {wanted} samples in turn, and {wanted} of turns with one tool")
        plain.print("turn", "latency_ratio")
        tool.print("tool", "overhead_ratio")
        await throughput.measure(g, shortened=wanted < 200)


async def _latencies(g: Ground, wanted: int, update: str, agent: str) -> Latencies:
    """The floor's by its update and ours of the agent. The first turn of a thread opens it and is not counted."""
    found = Latencies()
    while len(found.floor) < wanted:
        bare, thread = await start_floor(g.client, FLOOR_QUEUE), await g.start_thread()
        await bare.execute_update(update, "warm up")
        await g.turn(thread, str(uuid.uuid4()), "warm up", agent)
        for _ in range(PER_THREAD):
            began = time.perf_counter()
            await bare.execute_update(update, "How are you today?")
            found.floor.append(time.perf_counter() - began)
            sent = datetime.now(UTC).timestamp()
            ended = await g.turn(thread, str(uuid.uuid4()), "How are you today?", agent)
            found.heard.append(ended - sent)
            found.noted.append(await _noted(g, thread) - sent)
    return found


async def _noted(g: Ground, thread: WorkflowHandle[Any, Any]) -> float:
    """When the workflow task after the last activity was done, in seconds since 1970.

    Asked for seldom, and for no more than the end of the history: to ask is work for both processes that are measured.
    """
    while True:
        last = await g.last_events(thread, 4)
        if (last[0].event_type, last[-1].event_type) == (ACTIVITY_DONE, TASK_DONE):
            return last[-1].event_time.ToNanoseconds() / 1e9
        await asyncio.sleep(LOOK_AGAIN_S)


if __name__ == "__main__":
    asyncio.run(main())
