"""What a turn costs in history, and that it stays so: 300 turns with answers of 2 kB, by update."""

from __future__ import annotations

import asyncio
import uuid
from itertools import pairwise
from statistics import mean

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.ground import LAYOUT, Ground, events_of, figure, ground, samples, say

ANSWER = ("All of this is one answer of about two thousand characters. " * 34)[:2000]
ACCEPTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
AROUND = 5  # turns on each side that a point is the mean of: a turn's number has one to three digits


async def main() -> None:
    turns = samples(300)
    async with ground() as g:
        await g.script({"text": ANSWER})
        plain = await _run(g, turns, "plain")
        call = {"tool_calls": [{"name": "current_time", "arguments": {"timezone": "UTC"}}]}
        await g.script(call, {"after_tool": True, "text": ANSWER})
        tool = await _run(g, 30, "clerk")
    sizes = [sum(event.ByteSize() for event in turn) for turn in plain]
    early, late = mean(sizes[10 - AROUND : 10 + AROUND]), mean(sizes[-2 * AROUND :])
    say(f"{LAYOUT}; {turns} turns and 30 with one tool, by update, answers of {len(ANSWER)} characters")
    figure("history.bytes_per_turn_ratio", late / early)
    figure("history.bytes_per_turn", late, "B")
    figure("history.events_per_turn", mean(map(len, plain)))
    figure("history.bytes_per_tool_turn", mean(sum(event.ByteSize() for event in turn) for turn in tool), "B")
    figure("history.events_per_tool_turn", mean(map(len, tool)))


async def _run(g: Ground, turns: int, agent: str) -> list[list[HistoryEvent]]:
    """The events of each turn but the first, which opens the thread, and the last, whose end is still to come."""
    handle = await g.start_thread()
    for number in range(turns + 2):
        await g.turn(handle, str(uuid.uuid4()), f"This is prompt {number:04} of many, please answer it.", agent)
        while (await handle.query("status"))["running"]:
            pass
    events = await events_of(handle)
    # A turn begins with the workflow task that its update came with, three events before its acceptance.
    starts = [index - 3 for index, event in enumerate(events) if event.event_type == ACCEPTED]
    return [events[start:end] for start, end in pairwise(starts[1:])]


if __name__ == "__main__":
    asyncio.run(main())
