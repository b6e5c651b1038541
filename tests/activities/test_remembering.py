"""Memory as an agent uses it, through its tools."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest

from activities.calls import Call
from activities.remembering import Remembering
from activities.results import Outcome
from adapters.qdrant_edge import EdgeStore
from domain.agent import Agent
from domain.memory import Memory as Kept
from domain.memory_tools import with_memory
from domain.messages import Message, ThreadRecord
from domain.recall import Hit, Recalled, RecallQuery
from tests.activities import test_facts

store = test_facts.store
AGENT = with_memory(Agent("a", memory=Kept(working=True)))


class Said:
    """activities.facts_ports.Recaller, with one message, that remembers for whom it was asked."""

    def __init__(self) -> None:
        self.asked: list[RecallQuery] = []

    async def recall(self, query: RecallQuery) -> Recalled:
        self.asked.append(query)
        row = Message(id="m", thread="old", prompt_id="p", slot="prompt", role="user", text="I like oolong")
        return Recalled(hits=[Hit(message=row, score=1.0)])


class Desk:
    """Calls of the tools of one tenant's owners."""

    def __init__(self, store: EdgeStore) -> None:
        self.memory = test_facts.Memory(store)
        self.said = Said()
        self.remembering = Remembering(self.memory.facts, self.said)

    def record(self, owner: str) -> ThreadRecord:
        return ThreadRecord(thread=f"t-{owner}", tenant=self.memory.holder.tenant, owner=owner)

    async def call(self, owner: str, tool: str, arguments: str) -> Outcome:
        used = AGENT.tool(tool)
        assert used is not None
        self.memory.now += 1
        said = SimpleNamespace(id=uuid4().hex, text=arguments, created_at=self.memory.now)
        request = SimpleNamespace(thread=f"t-{owner}", turn=1)
        row = SimpleNamespace(id=uuid4().hex)
        call = SimpleNamespace(record=self.record(owner), request=request, prompt=said, row=row)
        return await self.remembering.outcome(cast("Call", call), AGENT, used.parse(arguments))


@pytest.fixture
def desk(store: EdgeStore) -> Desk:
    return Desk(store)


async def test_two_owners_with_the_same_words_recall_their_own_only(desk: Desk) -> None:
    await desk.call("ada", "remember", '{"text": "User likes tea"}')
    mine = await desk.call("ada", "recall", '{"query": "tea"}')
    other = await desk.call("eve", "recall", '{"query": "tea"}')
    assert "User likes tea" in mine.text
    assert "User likes tea" not in other.text
    assert [query.scope.owner for query in desk.said.asked] == ["ada", "eve"]
    assert {query.scope.tenant for query in desk.said.asked} == {desk.memory.holder.tenant}
    assert (await desk.call("eve", "forget", '{"text": "User likes tea"}')).failed is True
    parts = [await desk.remembering.parts(desk.record(owner), AGENT, "tea") for owner in ("ada", "eve")]
    assert ["User likes tea" in str(part) for part in parts] == [True, False]


async def test_a_fact_is_forgotten_by_what_it_says(desk: Desk) -> None:
    await desk.call("ada", "remember", '{"text": "User has a dog named Rex"}')
    assert (await desk.call("ada", "forget", '{"text": "The user has a dog, named Rex."}')).failed is False
    assert "Rex" not in (await desk.call("ada", "recall", '{"query": "dog"}')).text


async def test_the_working_memory_is_edited_and_always_seen_by_its_owner_only(desk: Desk) -> None:
    await desk.call("ada", "update_memory", '{"content": "Call her Lady A."}')
    [(name, text)] = await desk.remembering.parts(desk.record("ada"), AGENT, "hi")
    assert (name, "Call her Lady A." in text) == ("working memory", True)
    [(_, other)] = await desk.remembering.parts(desk.record("eve"), AGENT, "hi")
    assert "Lady" not in other
