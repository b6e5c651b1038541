"""A long life: 10,000 turns on one thread, one after the other, and whether the last ones cost what the first ones did.

A turn's events and bytes are those between two ends of model calls, as far as they lie in one run; what a run begins
with, the state that is carried, is told apart. The memory is that of the worker, a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

import httpx
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.chaos_count import rows_of
from bench.fleet import FLEET_LAYOUT, Fleet, fleet
from bench.ground import figure, play, samples, say
from client.histories import events_of
from domain.ids import workflow_id
from domain.prompts import Prompt

TURNS, EARLY = 10_000, 1_000  # the early memory is that after so many turns
THREAD = "long"
ANSWER = "This is an answer of about two hundred characters, no more and not much less. " * 3
ANSWER_LIMIT_S = 120.0
TELL_EVERY = 500
ENDED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED


async def main() -> int:
    """Returns the exit status: 1 if a prompt was not answered once, in order."""
    turns = samples(TURNS)
    async with fleet() as found:
        await play(found.model_url, {"text": ANSWER})
        began = time.monotonic()
        rss = await _talk(found, turns)
        rate = turns / (time.monotonic() - began)
        runs = await _runs(found)
        faults = await _faults(found, turns)
    sizes = [turn for run in runs for turn in _turns(run)]
    some = max(1, len(sizes) // 10)
    early, late = sizes[:some], sizes[-some:]
    carried = [run[0].ByteSize() for run in runs]
    say(
        f"1 {FLEET_LAYOUT}; {turns} turns by ask, answers of {len(ANSWER)} characters; "
        f"ratios: the last {some} turns over the first {some}"
    )
    say(f"carried into the last run: {carried[-1]} B; memory {rss[0] / 1e6:.0f} MB, in the end {rss[1] / 1e6:.0f} MB")
    for fault in faults:
        say(f"BROKEN: {fault}")
    figure("long.turns", turns)
    figure("long.faults", len(faults))
    figure("long.rolls", len(runs) - 1)
    figure("long.bytes_per_turn_ratio", mean(size for _, size in late) / mean(size for _, size in early))
    figure("long.events_per_turn_ratio", mean(events for events, _ in late) / mean(events for events, _ in early))
    figure("long.bytes_per_turn", mean(size for _, size in late), "B")
    figure("long.carried_bytes_per_turn", sum(carried) / turns, "B")
    figure("long.rss_ratio", rss[1] / rss[0])
    figure("long.rate", rate, "turns/s")
    return 1 if faults else 0


async def _talk(found: Fleet, turns: int) -> tuple[int, int]:
    """Returns the worker's memory in bytes, early and in the end."""
    [worker] = await found.start()
    early, began = 0, time.monotonic()
    for number in range(1, turns + 1):
        prompt = Prompt(id=_prompt_id(number), content=f"This is prompt {number:06} of many, please answer it.")
        report = await found.threads.ask(THREAD, prompt, timeout_s=ANSWER_LIMIT_S)
        assert report.status == "answered", report
        if number == min(EARLY, turns // 2):
            early = worker.rss
        if number % TELL_EVERY == 0:
            say(f"  {number} turns, {number / (time.monotonic() - began):.1f} a second, {worker.rss / 1e6:.0f} MB")
            async with httpx.AsyncClient(trust_env=False) as http:
                await http.delete(f"{found.model_url}/_control/requests")
    return early, worker.rss


def _prompt_id(number: int) -> str:
    return f"prompt-{number:06}"


async def _runs(found: Fleet) -> list[list[HistoryEvent]]:
    """The histories of the thread's runs, the first one first."""
    runs: list[list[HistoryEvent]] = []
    run_id = (await found.threads.handle(THREAD).describe()).run_id
    while run_id:
        runs.append(await events_of(found.client, workflow_id(THREAD), run_id))
        run_id = runs[-1][0].workflow_execution_started_event_attributes.continued_execution_run_id
    return runs[::-1]


def _turns(run: Sequence[HistoryEvent]) -> list[tuple[int, int]]:
    """Events and bytes of each turn that lies in this run."""
    ends = [index + 1 for index, event in enumerate(run) if event.event_type == ENDED]
    return [(end - start, sum(event.ByteSize() for event in run[start:end])) for start, end in pairwise(ends)]


async def _faults(found: Fleet, turns: int) -> list[str]:
    """What is not as it must be: each prompt answered once, in order."""
    rows = await rows_of(found, THREAD)
    wanted = [(_prompt_id(number), number, role) for number in range(1, turns + 1) for role in ("user", "assistant")]
    faults = [f"{row.prompt_id} is {row.status}" for row in rows if row.status not in ("answered", "complete")]
    if [(row.prompt_id, row.turn, row.role) for row in rows] != wanted:
        faults.append(f"the {len(rows)} rows are not one prompt and one answer a turn, in order")
    finished = [line["message_id"] for line in found.log("message.finished")]
    if len(finished) != len(set(finished)) or set(finished) != {row.id for row in rows if row.role == "assistant"}:
        faults.append(f"{len(finished)} answers were finished, {len(set(finished))} of them different")
    return faults


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
