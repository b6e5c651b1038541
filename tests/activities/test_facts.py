"""The memory of facts over the embedded store, with the bundled embedding model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import uuid4

import pytest

from activities.facts import Facts
from adapters import qdrant_points as points
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_facts import QdrantFacts, QdrantNotes
from adapters.static_embed import StaticEmbedder
from domain.errors import InputRefusedError, ModelUnavailableError
from domain.facts import FactFilter, NewFact
from domain.memory import Holder, NotesChange
from domain.vectors import Embedded


@cache
def embedder() -> StaticEmbedder:
    return StaticEmbedder.load()


class Away(StaticEmbedder):
    """An embedding model that cannot be had."""

    async def embed(
        self, texts: Sequence[str], *, query: bool = False, weights: Mapping[str, float] | None = None
    ) -> Embedded:
        raise ModelUnavailableError("away")


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeStore]:
    store = EdgeStore(tmp_path_factory.mktemp("facts"))
    yield store
    store.close()


class Memory:
    """One owner's memory, whose clock the test sets."""

    def __init__(self, store: EdgeStore, **whose: str) -> None:
        self.now = 1_000.0
        self.holder = Holder.model_validate({"tenant": uuid4().hex, "owner": "ada", "agent": "a"} | whose)
        self.facts = self.with_embedder(store, embedder())

    def with_embedder(self, store: EdgeStore, embedder: StaticEmbedder) -> Facts:
        kept = QdrantFacts(store.collection(points.FACTS))
        notes = QdrantNotes(store.collection(points.RECORDS))
        return Facts(kept, notes, embedder, WordLexicon(), lambda: self.now)

    async def add(self, text: str, **fields: Any) -> tuple[str, bool]:
        """The id, and whether it was known."""
        self.now += 1
        learned = await self.facts.remember(NewFact.model_validate({"holder": self.holder, "text": text} | fields))
        return learned.fact.id, learned.known

    async def texts(self, **fields: Any) -> list[str]:
        where = FactFilter.model_validate({"tenant": self.holder.tenant, "spaces": self.holder.visible} | fields)
        return sorted(fact.text for fact in (await self.facts.page(where, cursor=None, limit=100)).items)

    async def find(self, text: str) -> list[str]:
        where = FactFilter(tenant=self.holder.tenant, spaces=self.holder.visible, status="current")
        return [hit.fact.text for hit in await self.facts.search(text, where, 10)]


@pytest.fixture
def memory(store: EdgeStore) -> Memory:
    return Memory(store)


async def test_a_fact_in_other_words_is_known(memory: Memory) -> None:
    first, _ = await memory.add("User works as a nurse at a hospital")
    assert await memory.add("The user works in a hospital, as a nurse.") == (first, True)
    assert await memory.add("user works as a NURSE at a hospital") == (first, True)
    assert await memory.texts() == ["User works as a nurse at a hospital"]


@pytest.mark.parametrize(
    "other",
    ["User has a dog named Tom", "User has no dog named Rex", "User has 2 dogs, Rex and Tom", "User lives in Berlin"],
)
async def test_another_name_number_or_denial_is_another_fact(memory: Memory, other: str) -> None:
    await memory.add("User has a dog named Rex")
    assert (await memory.add(other))[1] is False


async def test_a_newer_fact_replaces_an_older_one_and_both_are_kept_with_their_times(memory: Memory) -> None:
    old, _ = await memory.add("User lives in Berlin", said_at=10.0)
    new, _ = await memory.add("User lives in Munich", said_at=20.0, replaces=[old])
    assert await memory.find("where does the user live") == ["User lives in Munich"]
    before, after = await memory.facts.history(old)
    assert (before.id, before.status, before.valid_from, before.valid_to, before.superseded_by) == (
        old, "superseded", 10.0, 20.0, new,
    )  # fmt: skip
    assert (after.id, after.status, after.supersedes, after.valid_to) == (new, "current", [old], None)
    assert await memory.facts.history(new) == [before, after]


async def test_a_known_fact_that_is_said_again_ends_the_one_it_replaces(memory: Memory) -> None:
    new, _ = await memory.add("User lives in Munich", said_at=10.0)
    old, _ = await memory.add("User lives in Berlin", said_at=12.0)
    assert await memory.add("User lives in Munich", said_at=20.0, replaces=[old]) == (new, True)
    assert await memory.find("where does the user live") == ["User lives in Munich"]
    [berlin] = [fact for fact in await memory.facts.history(old) if fact.id == old]
    assert (berlin.status, berlin.superseded_by, berlin.valid_to) == ("superseded", new, 20.0)


async def test_what_is_learned_late_does_not_replace_what_was_said_after_it(memory: Memory) -> None:
    new, _ = await memory.add("User lives in Munich", said_at=20.0)
    await memory.add("User lives in Berlin", said_at=10.0, replaces=[new])
    assert await memory.find("where does the user live") == ["User lives in Munich"]
    assert await memory.texts(status="superseded") == ["User lives in Berlin"]


async def test_a_forgotten_fact_is_not_learned_again_from_old_text(memory: Memory) -> None:
    old, _ = await memory.add("User likes green tea", message="m1", said_at=10.0, said="I like green tea")
    memory.now = 100.0
    await memory.facts.forget(old)
    again: dict[str, Any] = {"said": "I like green tea", "origin": "extracted"}
    assert await memory.add("User likes green tea", message="m0", said_at=50.0, **again) == (old, True)
    assert await memory.add("User likes green tea", message="m9", said_at=500.0, **again) == (old, True)
    assert await memory.find("green tea") == []
    told = again | {"origin": "tool"}
    assert (await memory.add("User likes green tea", message="m9", said_at=500.0, **told))[1] is False
    assert await memory.find("green tea") == ["User likes green tea"]


async def test_what_was_replaced_comes_back_only_in_the_users_own_words(memory: Memory) -> None:
    old, _ = await memory.add("User lives in Berlin", said_at=10.0)
    memory.now = 50.0
    new, _ = await memory.add("User lives in Munich", said_at=50.0, replaces=[old])
    echo = {"message": "m2", "said_at": 60.0, "origin": "extracted", "said": "What is the weather?"}
    assert await memory.add("User lives in Berlin", **echo) == (old, True)
    moved = echo | {"message": "m3", "said": "I live in Berlin again", "replaces": [new]}
    assert (await memory.add("User lives in Berlin", **moved))[1] is False
    assert await memory.find("where does the user live") == ["User lives in Berlin"]


async def test_a_writer_cut_off_between_its_two_writes_is_made_up_for_by_the_repetition(
    memory: Memory, store: EdgeStore
) -> None:
    old, _ = await memory.add("User lives in Berlin", said_at=10.0)
    cut = memory.with_embedder(store, embedder())

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    cut._close = killed  # type: ignore[method-assign,assignment]
    new = NewFact(holder=memory.holder, text="User lives in Munich", replaces=[old], message="m", said_at=20.0)
    with pytest.raises(KeyboardInterrupt):
        await cut.remember(new)
    assert await memory.find("where does the user live") == ["User lives in Munich"]
    again = await memory.facts.remember(new)
    assert again.known is True
    [row] = await store.collection(points.FACTS).get([old])
    assert (row["status"], row["superseded_by"]) == ("superseded", again.fact.id)
    assert await memory.texts() == ["User lives in Berlin", "User lives in Munich"]


async def test_owners_tenants_and_agents_see_their_own_and_what_is_shared(store: EdgeStore) -> None:
    ada = Memory(store)
    tenant = ada.holder.tenant
    eve, other = Memory(store, tenant=tenant, owner="eve"), Memory(store, tenant=tenant, agent="b")
    for whose in (ada, eve):
        await whose.add(f"{whose.holder.owner} likes tea")
    await ada.add("The office serves tea at noon", scope="tenant")
    await ada.add("This agent was told of tea bags", scope="agent")
    shared = "The office serves tea at noon"
    assert set(await ada.find("tea")) == {"ada likes tea", shared, "This agent was told of tea bags"}
    assert set(await eve.find("tea")) == {"eve likes tea", shared}
    assert set(await other.find("tea")) == {"ada likes tea", shared}
    assert await Memory(store).find("tea") == []


async def test_nobody_replaces_or_forgets_what_is_not_theirs(store: EdgeStore) -> None:
    ada = Memory(store)
    eve = Memory(store, tenant=ada.holder.tenant, owner="eve")
    mine, _ = await ada.add("User lives in Berlin")
    await eve.add("User lives in Munich", replaces=[mine])
    assert await eve.facts.forget(mine, [eve.holder.space("owner")]) is None
    assert await ada.find("live") == ["User lives in Berlin"]


async def test_a_hit_by_meaning_and_by_words_stands_first(memory: Memory) -> None:
    for text in ("User plays the piano", "User owns a piano shop", "User enjoys classical music"):
        await memory.add(text)
    where = FactFilter(tenant=memory.holder.tenant, spaces=memory.holder.visible)
    found = await memory.facts.search("piano", where, 10)
    both = [hit.dense is not None and hit.lexical is not None for hit in found]
    assert both == sorted(both, reverse=True)
    assert both[0] is True


async def test_without_an_embedding_facts_are_kept_and_found_by_words(memory: Memory, store: EdgeStore) -> None:
    away, memory.facts = memory.facts, memory.with_embedder(store, Away.load())
    await memory.add("User lives in Berlin")
    assert await memory.find("Berlin") == ["User lives in Berlin"]
    memory.facts = away
    assert await memory.find("capital of Germany, the city of Berlin") == ["User lives in Berlin"]
    assert await memory.facts.embed_some(10_000) >= 1
    assert await memory.facts.embed_some(10_000) == 0


@pytest.mark.parametrize("text", ["", " ", "!!", "x" * 2_001])
async def test_what_is_no_fact_is_refused_in_words(memory: Memory, text: str) -> None:
    with pytest.raises(InputRefusedError, match="text: a fact"):
        await memory.add(text)


async def test_the_working_memory_is_changed_once_for_each_writer(memory: Memory) -> None:
    whole = await memory.facts.change_notes(memory.holder, NotesChange(content="tea: no"), "w1")
    assert await memory.facts.change_notes(memory.holder, NotesChange(content="tea: no"), "w1") == whole
    part = await memory.facts.change_notes(memory.holder, NotesChange(find="no", replace="yes", version=1), "w2")
    assert (part.text, part.version) == ("tea: yes", 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": "x" * 4_001}, "at most 4000"),
        ({"content": "x", "version": 3}, "is version 1 now"),
        ({"find": "nowhere", "replace": ""}, "0 times, not once"),
        ({}, "give either content"),
        ({"content": "x", "find": "y"}, "give either content"),
    ],
)
async def test_a_change_of_the_working_memory_that_cannot_be_made_is_told(
    memory: Memory, change: dict[str, Any], words: str
) -> None:
    await memory.facts.change_notes(memory.holder, NotesChange(content="tea"), "w")
    with pytest.raises(InputRefusedError, match=words):
        await memory.facts.change_notes(memory.holder, NotesChange.model_validate(change), "v")
