"""Agents look things up: with a tool, or before each answer, in the documents of their thread's tenant and no other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.consulting import SEARCH_KNOWLEDGE, Consulting
from activities.model import ModelActivities
from domain.agent import Agent
from domain.errors import ToolError, UnavailableError
from domain.knowledge import KnowledgeFound, KnowledgeQuery, KnowledgeSource
from domain.messages import Message, ThreadRecord
from domain.tooling import ToolContext
from tests.activities.fakes import Catalog, FakeModel, Steps, completion, run
from tests.library import FakeEmbedder, Room
from tests.system import WatchedStore, new_thread

LIBRARIAN = Agent("librarian", knowledge=(KnowledgeSource(namespace="default", description="About fruit."),))
READER = Agent("reader", knowledge=(KnowledgeSource(mode="prompt", limit=2, least_similarity=0.2),))


class AwaySearch:
    """activities.ports.KnowledgeSearch of a store that is away."""

    async def search(self, query: KnowledgeQuery) -> KnowledgeFound:
        raise UnavailableError("the store does not answer")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path / "library", FakeEmbedder())
    yield room
    room.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WatchedStore]:
    store = WatchedStore(tmp_path / "threads")
    yield store
    store.close()


def context(tenant: str) -> ToolContext[None]:
    return ToolContext(None, tenant=tenant)


async def look(search: Any, query: str, tenant: str) -> str:
    tool = Consulting(search).tool(LIBRARIAN, SEARCH_KNOWLEDGE)
    assert tool is not None
    values = tool.parse(json.dumps({"query": query}))
    return str(await tool.function(**values, context=context(tenant)))


async def answered(store: WatchedStore, search: Any, agent: Agent, tenant: str, text: str) -> tuple[FakeModel, Message]:
    """One turn's answer, and the model that was asked."""
    steps = Steps(store, thread := new_thread())
    await store.insert_thread(ThreadRecord(thread=thread, tenant=tenant))
    model = FakeModel([completion("Blue.")])
    activities = ModelActivities(
        store, steps.events, model, Catalog(agent), budget_tokens=8_000, knowledge=search, clock=lambda: 1.0
    )
    prompt = {"id": "p", "content": text}
    await run(1, activities.call_model, steps.request(agent=agent.name, prompt=prompt))
    return model, await steps.answer()


async def test_the_tool_finds_what_the_tenant_has_and_names_its_source(room: Room) -> None:
    for tenant, colour in (("acme", "blue"), ("umbrella", "red")):
        await room.read(f"# Safe\n\nThe colour of the safe is {colour}.", "safe.md", tenant=tenant, source="wiki/safe")
    found = await look(room.search, "colour of the safe", "acme")
    assert found == "[1] Safe, Safe, wiki/safe\nThe colour of the safe is blue."
    assert (await look(room.search, "colour of the safe", "other")).startswith("Nothing was found.")


async def test_a_search_that_fails_is_words_for_the_model() -> None:
    with pytest.raises(ToolError, match="cannot be searched now: the store does not answer"):
        await look(AwaySearch(), "x", "acme")


async def test_the_model_is_offered_the_tool_if_its_agent_has_documents(room: Room, store: WatchedStore) -> None:
    model, _ = await answered(store, room.search, LIBRARIAN, "acme", "Which apples are ripe?")
    [tool] = model.requests[0].tools
    assert tool["function"]["name"] == SEARCH_KNOWLEDGE
    assert "About fruit." in tool["function"]["description"]
    other, _ = await answered(store, room.search, Agent("plain"), "acme", "Which?")
    assert list(other.requests[0].tools) == []


async def test_what_is_found_for_the_prompt_is_in_the_context_and_recorded_with_the_answer(
    room: Room, store: WatchedStore
) -> None:
    await room.read("The colour of the safe is blue.", "safe.md", tenant="acme", source="https://example.org/safe")
    await room.read("The colour of the safe is red.", "safe.md", tenant="umbrella")
    model, answer = await answered(store, room.search, READER, "acme", "What is the colour of the safe?")
    shown = model.requests[0].messages[0].text
    assert "[1] safe.md, https://example.org/safe\nThe colour of the safe is blue." in shown
    assert "red" not in shown
    [source] = answer.sources or []
    assert (source["title"], source["url"], source["number"]) == ("safe.md", "https://example.org/safe", 1)
    assert source["chunk"]


async def test_what_has_nothing_to_do_with_the_prompt_stays_out(room: Room, store: WatchedStore) -> None:
    await room.read("Trains are late.", tenant="acme")
    model, answer = await answered(store, room.search, READER, "acme", "Hello")
    assert "Trains" not in model.requests[0].messages[0].text
    assert answer.sources is None


async def test_a_search_that_fails_fails_no_turn(store: WatchedStore) -> None:
    _, answer = await answered(store, AwaySearch(), READER, "acme", "Hello")
    assert (answer.status, answer.text) == ("complete", "Blue.")


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(ValueError, match="knowledge is a list of KnowledgeSource"):
        Agent("a", knowledge=("default",))  # type: ignore[arg-type]
