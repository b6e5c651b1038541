"""Memory with everything real: what was said on other threads is shown to the model, and nobody else's."""

from __future__ import annotations

import asyncio
import json

import pytest

from activities.memory import Memory
from adapters import qdrant_points as points
from adapters.qdrant_facts import QdrantFacts
from adapters.static_embed import StaticEmbedder
from domain import keeping
from domain.agent import Agent
from domain.errors import ModelUnavailableError
from domain.facts import FactFilter
from domain.memory import Memory as Memory_
from domain.memory_tools import with_memory
from domain.recall import Recall
from doubles.scripted_model import Reply
from runtime.wiring import keep_memory
from tests.activities.fakes import FakeEmbedder
from tests.memories import memory_of
from tests.system import System, new_thread, started_with

NOTER = Agent("noter", instructions="You take notes.", memory=Memory_(facts=True, working=True))
WHOLE = Agent("elephant", instructions="You remember.", recall=Recall(scope="owner"))


@pytest.fixture
async def remembering(system: System) -> System:
    """A system whose one worker has memory, kept by the real workflow."""
    await restart(system, memory_of(system.store, StaticEmbedder.load()))
    await keep_memory(system.client, system.task_queue)
    return system


async def restart(system: System, memory: Memory) -> None:
    await system.stop_workers()
    system.add_agent(WHOLE)
    await system.start_worker(memory=memory)


async def tell(system: System, owner: str, content: str) -> str:
    """On a thread of its own."""
    thread = new_thread()
    await system.ask(thread, content, start=started_with(agent=WHOLE.name, owner=owner))
    return thread


async def indexed(system: System, thread: str) -> None:
    async def done() -> bool:
        return all(row.index == "done" for row in await system.rows(thread))

    await system.until(done)


def shown(system: System) -> str:
    return "\n".join(str(message["content"]) for message in system.asked())


async def test_an_agent_is_reminded_of_what_was_said_on_another_thread(remembering: System) -> None:
    owner = new_thread()
    await indexed(remembering, await tell(remembering, owner, "My cat is called Mimi and hates thunder."))
    await tell(remembering, owner, "What is my cat called?")
    assert "My cat is called Mimi" in shown(remembering)


async def test_nobody_is_reminded_of_what_another_owner_said(remembering: System) -> None:
    owner = new_thread()
    await indexed(remembering, await tell(remembering, owner, "The code of the door is 4711."))
    await indexed(remembering, await tell(remembering, f"{owner}-not", "The code of the door is what I ask you."))
    await tell(remembering, f"{owner}-not", "What is the code of the door?")
    assert "4711" not in shown(remembering)
    assert "is what I ask you" in shown(remembering)


async def test_what_was_recalled_is_recorded_with_its_scores(remembering: System) -> None:
    owner = new_thread()
    first = await tell(remembering, owner, "My cat is called Mimi and hates thunder.")
    await indexed(remembering, first)
    second = await tell(remembering, owner, "What is my cat called?")
    [answer] = [row for row in await remembering.rows(second) if row.role == "assistant"]
    [whole] = await remembering.store.get([answer.id])
    assert whole.context is not None
    [noted] = [note for note in whole.context["recalled"] if note["thread"] == first]
    assert noted["score"] > 0
    assert whole.context["model"] == "wordllama_256"


async def call(system: System, owner: str, tool: str, arguments: dict[str, object]) -> None:
    """A turn in which the model calls a tool of the memory."""
    system.model.script(
        Reply.model_validate({"tool_calls": [{"name": tool, "arguments": arguments}]}),
        Reply(after_tool=True, text="Noted."),
    )
    await system.ask(new_thread(), "Note it.", agent=NOTER.name, start=started_with(owner=owner))


async def test_a_fact_that_an_agent_noted_is_shown_on_every_thread_of_its_owner_and_no_other(
    remembering: System,
) -> None:
    remembering.add_agent(with_memory(NOTER))
    owner = new_thread()
    await call(remembering, owner, "remember", {"text": "User is allergic to peanuts"})
    for who, knows in ((owner, True), (f"{owner}-not", False)):
        remembering.model.script("Yes.")
        start = started_with(owner=who)
        await remembering.ask(new_thread(), "May I eat peanuts?", agent=NOTER.name, start=start)
        assert ("User is allergic to peanuts" in shown(remembering)) is knows


async def test_the_document_of_an_agent_is_always_in_sight(remembering: System) -> None:
    remembering.add_agent(with_memory(NOTER))
    owner = new_thread()
    await call(remembering, owner, "update_memory", {"content": "Call her Lady A."})
    remembering.model.script("Yes.")
    await remembering.ask(new_thread(), "Hello", agent=NOTER.name, start=started_with(owner=owner))
    assert "Call her Lady A." in shown(remembering)


async def test_facts_are_learned_from_a_turn_in_the_background(remembering: System) -> None:
    learner = Agent("learner", instructions="Listen.", memory=Memory_(facts=True, extract=True))
    remembering.add_agent(with_memory(learner))
    owner = new_thread()
    found = {"facts": [{"text": "User lives in Oslo", "confidence": 0.9, "replaces": []}]}
    remembering.model.script(Reply(text="Nice.", times=1), json.dumps(found))
    await remembering.ask(new_thread(), "I live in Oslo", agent="learner", start=started_with(owner=owner))
    facts = QdrantFacts(remembering.store.collection(points.FACTS))

    async def learned() -> bool:
        page = await facts.page(FactFilter(owner=owner), cursor=None, limit=5)
        return [fact.text for fact in page.items] == ["User lives in Oslo"]

    await remembering.until(learned)


async def test_an_embedding_failure_fails_no_turn_and_is_told_in_the_record(system: System) -> None:
    embedder = FakeEmbedder(f"away-{new_thread()}_26")
    embedder.error = ModelUnavailableError("down")
    memory = memory_of(system.store, embedder)
    await restart(system, memory)
    thread = await tell(system, new_thread(), "What is my cat called?")
    [answer] = [row for row in await system.rows(thread) if row.role == "assistant"]
    [whole] = await system.store.get([answer.id])
    assert whole.status == "complete"
    assert whole.context is not None
    assert "words alone" in whole.context["search"]


async def test_background_work_goes_on_with_the_next_worker(system: System) -> None:
    memory = memory_of(system.store, StaticEmbedder.load())
    await restart(system, memory)
    await keep_memory(system.client, system.task_queue)
    owner = new_thread()
    await indexed(system, await tell(system, owner, "before"))
    await restart(system, memory)
    await indexed(system, await tell(system, owner, "after"))


async def test_workers_that_start_at_once_keep_one_memory(system: System) -> None:
    handle = system.client.get_workflow_handle(keeping.workflow_id(system.task_queue))
    await asyncio.gather(*(keep_memory(system.client, system.task_queue) for _ in range(3)))
    first = (await handle.describe()).run_id
    await keep_memory(system.client, system.task_queue)
    assert (await handle.describe()).run_id == first
