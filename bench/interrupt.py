"""How soon a turn stops: from the signal to the last delta that a reader sees, at random moments of a long answer.

And how soon a thread goes on when its worker was killed, see bench.recovery.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import aclosing
from statistics import median
from typing import Any

from temporalio.client import WorkflowHandle

from bench import recovery
from bench.ground import LAYOUT, Ground, figure, ground, p95, samples, say

WORDS = " ".join(f"word{number}" for number in range(2_000))
PACE_S = 0.02  # between two words
LATEST_S = 3.0  # of the interrupt, after the first word
AT_ONCE = 4  # threads
INTERRUPTS_PER_KILL, FEWEST_KILLS = 20, 3


async def main() -> None:
    wanted = samples(200)
    chance = random.Random(3)  # the same moments in every run
    async with ground() as g:
        await g.script({"text": WORDS, "delay_s": PACE_S})
        threads = await asyncio.gather(*(g.start_thread() for _ in range(AT_ONCE)))
        shares = [wanted // AT_ONCE + (number < wanted % AT_ONCE) for number in range(AT_ONCE)]
        found = await asyncio.gather(*(_share(g, t, n, chance) for t, n in zip(threads, shares, strict=True)))
    waits = sorted(wait for share in found for wait in share)
    say(f"{LAYOUT}; {wanted} interrupts by signal, {AT_ONCE} threads at once; slowest {waits[-1]:.2f} s")
    figure("interrupt.p50", median(waits), "s")
    figure("interrupt.p95", p95(waits), "s")
    await recovery.measure(max(FEWEST_KILLS, wanted // INTERRUPTS_PER_KILL))


async def _share(g: Ground, thread: WorkflowHandle[Any, Any], times: int, chance: random.Random) -> list[float]:
    return [await _interrupted(g, thread, chance.uniform(0, LATEST_S)) for _ in range(times)]


async def _interrupted(g: Ground, thread: WorkflowHandle[Any, Any], after_s: float) -> float:
    """Seconds from the signal to the last delta of the turn."""
    prompt_id, last = str(uuid.uuid4()), 0.0
    async with aclosing(g.ports.events.follow(thread.id.removeprefix("thread/"))) as feed:
        await anext(feed)
        await thread.signal("prompt", {"id": prompt_id, "content": "Tell me all."})
        stopping: asyncio.Task[float] | None = None
        async for event in feed:
            if event.kind == "message.delta":
                last = time.perf_counter()
                stopping = stopping or asyncio.create_task(_stop(thread, prompt_id, after_s))
            elif event.kind == "turn.finished" and event.data["prompt_id"] == prompt_id:
                assert event.data["status"] == "interrupted", event.data
                break
        assert stopping is not None
    return max(0.0, last - await stopping)


async def _stop(thread: WorkflowHandle[Any, Any], prompt_id: str, after_s: float) -> float:
    await asyncio.sleep(after_s)
    signalled = time.perf_counter()
    await thread.signal("interrupt", {"prompt_id": prompt_id})
    return signalled


if __name__ == "__main__":
    asyncio.run(main())
