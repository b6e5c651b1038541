"""What memory adds to a turn: the same turns in turn, without memory and with all of it, of an owner with a past.

With it: the owner's messages are recalled, facts and the working memory are shown, each turn is indexed and learned from
in the background, all with the embedding model of this machine. Both kinds of turn run beside that background work.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any

from temporalio.client import WorkflowHandle

from bench.ground import QUEUE, Ground, figure, ground, samples, say
from bench.store import Talk, message
from domain.agent import Agent
from domain.facts import NewFact
from domain.ids import workflow_id
from domain.memory import Holder, Memory
from domain.prompts import ThreadStart
from domain.recall import Recall
from workflows.thread import AgentThread

OWNER, PAST, FACTS = "owner-1", 2_000, 50
PER_THREAD = 20
WITHOUT = Agent("without", recall=None)
WITH = Agent("with", recall=Recall(scope="owner"), memory=Memory(facts=True, extract=True, working=True))


async def main() -> None:
    wanted = samples(200)
    async with ground([WITHOUT, WITH], remembering=True) as g:
        await g.script({"text": '{"facts": []}'})
        talk = Talk()
        await _make_past(g, talk)
        found: dict[str, list[float]] = {WITHOUT.name: [], WITH.name: []}
        while len(found[WITH.name]) < wanted:
            threads = {name: await _thread(g, name) for name in found}
            for _ in range(PER_THREAD):
                text = talk.text(8)
                for name, times in found.items():
                    sent = datetime.now(UTC).timestamp()
                    ended = await g.turn(threads[name], str(uuid.uuid4()), text, name)
                    times.append((ended - sent) * 1e3)
    off, on = found[WITHOUT.name], found[WITH.name]
    say(f"{len(on)} turns each; the owner has {PAST:,} messages and {FACTS} facts; until the end is heard")
    figure("memory.turn_off_p50", median(off), "ms")
    figure("memory.turn_on_p50", median(on), "ms")
    figure("memory.added_p50", median(on) - median(off), "ms")
    figure("memory.added_p95", _p95(on) - _p95(off), "ms")


async def _make_past(g: Ground, talk: Talk) -> None:
    memory = g.ports.memory
    assert memory is not None
    await g.ports.store.insert([message(talk, number, OWNER) for number in range(PAST)])
    async with asyncio.timeout(120):
        while await memory.index.count_due():  # noqa: ASYNC110 - the chores are another's
            await asyncio.sleep(0.2)
    notebook = g.ports.notebook
    assert notebook is not None
    for _ in range(FACTS):
        await notebook.facts.remember(
            NewFact(holder=Holder(owner=OWNER, agent=WITH.name), text=talk.text(8), origin="api")
        )


async def _thread(g: Ground, agent: str) -> WorkflowHandle[Any, Any]:
    """A thread of the owner's, opened by a turn that does not count."""
    handle = await g.client.start_workflow(
        AgentThread.run, ThreadStart(agent=agent, owner=OWNER), id=workflow_id(uuid.uuid4().hex), task_queue=QUEUE
    )
    await g.turn(handle, str(uuid.uuid4()), "warm up", agent)
    return handle


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


if __name__ == "__main__":
    asyncio.run(main())
