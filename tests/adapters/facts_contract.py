"""What facts, working memories and lessons must do on every store. A test module with a fixture `store`, which has
`collection(name)`, derives a class of its own. The store may be shared: each test takes a tenant of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from uuid import uuid4

import pytest

from adapters import qdrant_points as points
from adapters.qdrant_facts import QdrantFacts, QdrantLessons, QdrantNotes
from adapters.qdrant_store import Collection
from domain import ids
from domain.facts import Fact, FactFilter, digest_of, fact_id
from domain.memory import Holder
from domain.messages import Message
from domain.vectors import Sparse, Vector

MODEL = "fact_test_2"
EAST, NORTH = [[1.0, 0.0]], [[0.0, 1.0]]


class Collections(Protocol):
    def collection(self, name: str) -> Collection: ...


def holder(**fields: str) -> Holder:
    return Holder.model_validate({"tenant": uuid4().hex, "owner": "ada"} | fields)


def fact(whose: Holder, text: str, **fields: Any) -> Fact:
    space, digest = whose.space("owner"), digest_of(text)
    known = {"id": fact_id(space, "m", digest), "space": space, "digest": digest, "text": text, "message": "m"}
    return Fact.model_validate(known | {"tenant": whose.tenant, "owner": whose.owner} | fields)


async def open_facts(store: Collections) -> QdrantFacts:
    facts = QdrantFacts(store.collection(points.FACTS))
    await facts.add_model(MODEL, 2)
    return facts


async def put(facts: QdrantFacts, new: Fact, dense: Any = EAST, words: tuple[int, ...] = (1,)) -> Fact:
    vectors: dict[str, Vector] = {MODEL: dense, "bm25": Sparse(words, [1.0] * len(words))}
    await facts.insert([new.model_copy(update={"embedded": MODEL})], {new.id: vectors})
    [kept] = await facts.get([new.id])
    return kept


def of(whose: Holder, **fields: Any) -> FactFilter:
    return FactFilter.model_validate({"tenant": whose.tenant, "spaces": whose.visible} | fields)


class FactsContract:
    """One class for all stores."""

    async def test_a_fact_is_inserted_once(self, store: Collections) -> None:
        facts, ada = await open_facts(store), holder()
        first = await put(facts, fact(ada, "User is Ada", confidence=0.5))
        again = await put(facts, fact(ada, "User is Ada", confidence=0.9))
        assert again == first

    async def test_only_a_current_fact_is_closed_and_once(self, store: Collections) -> None:
        facts, ada = await open_facts(store), holder()
        kept = await put(facts, fact(ada, "User is Ada"))
        closed = await facts.close(kept.id, {"status": "forgotten", "valid_to": 5.0})
        late = await facts.close(kept.id, {"status": "superseded", "valid_to": 9.0})
        assert late == closed
        assert closed is not None
        assert (closed.status, closed.valid_to) == ("forgotten", 5.0)
        assert await facts.close(fact(ada, "nothing").id, {"status": "forgotten"}) is None

    async def test_a_fact_that_a_newer_one_names_is_superseded_before_its_own_row_says_so(
        self, store: Collections
    ) -> None:
        facts, ada = await open_facts(store), holder()
        old = await put(facts, fact(ada, "User lives in Berlin"))
        new = await put(facts, fact(ada, "User lives in Munich", supersedes=[old.id], valid_from=7.0))
        [seen] = await facts.get([old.id])
        assert (seen.status, seen.superseded_by, seen.valid_to) == ("superseded", new.id, 7.0)
        found = await facts.search(MODEL, EAST, of(ada, status="current"), 9)
        assert [hit.id for hit, _ in found] == [new.id]
        listed = await facts.page(of(ada, status="current"), cursor=None, limit=9)
        assert [item.id for item in listed.items] == [new.id]

    @pytest.mark.parametrize(("vector", "query"), [(MODEL, EAST), ("bm25", Sparse([1], [1.0]))], ids=["dense", "words"])
    async def test_two_owners_with_the_same_words_find_their_own_only(
        self, store: Collections, vector: str, query: Vector
    ) -> None:
        facts, ada = await open_facts(store), holder()
        eve, other = ada.model_copy(update={"owner": "eve"}), holder()
        mine = [await put(facts, fact(whose, "User likes tea")) for whose in (ada, eve, other)]
        for whose, own in zip((ada, eve, other), mine, strict=True):
            assert [hit.id for hit, _ in await facts.search(vector, query, of(whose), 9)] == [own.id]

    async def test_the_nearest_come_first_with_what_is_closed_if_it_is_asked_for(self, store: Collections) -> None:
        facts, ada = await open_facts(store), holder()
        near, far = await put(facts, fact(ada, "near")), await put(facts, fact(ada, "far"), NORTH, (2,))
        await facts.close(near.id, {"status": "forgotten"})
        assert [hit.id for hit, _ in await facts.search(MODEL, EAST, of(ada), 9)] == [near.id, far.id]
        assert [hit.id for hit, _ in await facts.search(MODEL, EAST, of(ada, status="current"), 9)] == [far.id]

    async def test_pages_give_every_fact_once_the_newest_first(self, store: Collections) -> None:
        facts, ada = await open_facts(store), holder()
        for number in range(5):
            await put(facts, fact(ada, f"fact {number}", created_at=float(number // 2)))
        found: list[str] = []
        cursor: str | None = None
        for _ in range(9):
            page = await facts.page(of(ada), cursor=cursor, limit=2)
            found += [item.text for item in page.items]
            if (cursor := page.next) is None:
                break
        assert len(found) == 5
        assert found[0] == "fact 4"
        assert set(found) == {f"fact {number}" for number in range(5)}

    async def test_a_fact_without_a_vector_is_found_by_words_and_gets_one_later(self, store: Collections) -> None:
        facts, ada = await open_facts(store), holder()
        bare = fact(ada, "bare")
        await facts.insert([bare], {bare.id: {"bm25": Sparse([7], [1.0])}})
        assert await facts.search(MODEL, EAST, of(ada), 9) == []
        assert bare.id in [due.id for due in await facts.unembedded(MODEL, 10_000)]
        await facts.place(bare.id, MODEL, EAST)
        assert [hit.id for hit, _ in await facts.search(MODEL, EAST, of(ada), 9)] == [bare.id]
        assert bare.id not in [due.id for due in await facts.unembedded(MODEL, 10_000)]

    async def test_of_writers_of_one_version_of_the_notes_one_wins(self, store: Collections) -> None:
        notes, ada = QdrantNotes(store.collection(points.RECORDS)), holder(agent="a")
        empty = await notes.notes(ada)
        seen = await asyncio.gather(*(notes.write(ada, empty, f"by {n}", f"w{n}", 1.0) for n in range(5)))
        last = await notes.notes(ada)
        assert (last.version, len(last.writers)) == (1, 1)
        assert {found.text for found in seen if found.version == 1} == {last.text}
        assert await notes.notes(ada.model_copy(update={"owner": "eve"})) == empty

    async def test_a_lesson_is_kept_once_and_due_until_it_is_done(self, store: Collections) -> None:
        lessons = QdrantLessons(collection := store.collection(points.MESSAGES))
        row = Message(
            id=ids.message_id(uuid4().hex, "p", "prompt"), thread="t", prompt_id="p", slot="prompt", role="user",
            status="answered", learn="due", learn_at=-5.0,
        )  # fmt: skip
        await collection.insert({row.id: points.message_payload(row)})
        assert row.id in [due.id for due in await lessons.due(-4.0, 9)]
        assert row.id not in [due.id for due in await lessons.due(-6.0, 9)]
        first = await lessons.keep(row.id, {"facts": [1]})
        assert await lessons.keep(row.id, {"facts": [2]}) == first
        assert first is not None
        assert (first.learn, first.lesson) == ("ready", {"facts": [1]})
        assert row.id in [due.id for due in await lessons.due(-4.0, 9)]
        await lessons.settle(row.id, {"learn": "done"})
        assert row.id not in [due.id for due in await lessons.due(-4.0, 9)]
