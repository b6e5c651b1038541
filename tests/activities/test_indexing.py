"""The chore that keeps the index of messages, on the embedded store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from activities.indexing import Indexing
from activities.memory import Memory
from adapters import qdrant_points as points
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_index import QdrantIndex
from adapters.qdrant_points import Where
from domain.errors import ModelRefusedError, ModelUnavailableError
from domain.recall import Indexed, RecallQuery, Scope
from domain.vectors import WORDS
from tests.activities.fakes import FakeEmbedder
from tests.memories import memory_of, said

ADA = Scope(owner="ada")


class CutError(Exception):
    """The process ended here."""


class CutIndex(QdrantIndex):
    """Ends at a write, before or after it is done."""

    def __init__(self, store: EdgeStore, writes: int) -> None:
        super().__init__(store.collection("messages"), store.collection("records"))
        self._left = writes

    async def place(self, entries: Sequence[Indexed]) -> None:
        await super().place(entries)
        self._cut()

    async def save_state(self, state: object) -> None:
        await super().save_state(state)  # type: ignore[arg-type]
        self._cut()

    def _cut(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CutError


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStore]:
    store = EdgeStore(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


@pytest.fixture
async def store(one_store: EdgeStore) -> EdgeStore:
    """Empty: to make one takes a second."""
    for name in points.INDEXES:
        await one_store.collection(name).delete(Where())
    return one_store


async def work_off(memory: Memory) -> None:
    for chore in memory.chores:
        while await chore.work():
            pass


async def found(memory: Memory, text: str, scope: Scope = ADA) -> list[str]:
    recalled = await memory.recaller.recall(RecallQuery(text=text, scope=scope))
    return [hit.message.text for hit in recalled.hits]


async def vectors_of(store: EdgeStore, row_id: str, *names: str) -> set[str]:
    return {*(await store.collection("messages").vectors([row_id], names)).get(row_id, {})}


async def test_what_was_said_is_found_once_it_is_indexed(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said("my cat is called Mimi"), said("it rains", turn=1)])
    assert await found(memory, "what is my cat called?") == []
    await work_off(memory)
    assert (await found(memory, "what is my cat called?"))[0] == "my cat is called Mimi"


async def test_the_backlog_is_what_is_due_in_the_store(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said("one"), said("two", turn=1), said("open", turn=2, status="pending")])
    [chore] = memory.chores
    assert await chore.due() == 2
    await work_off(memory)
    assert await chore.due() == 0


async def test_a_blank_message_shifts_no_vector(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said("aaa"), said(" \n ", turn=1), said("zzz", turn=2)])
    await work_off(memory)
    [nearest, *_] = (await memory.recaller.recall(RecallQuery(text="zzz", scope=ADA))).hits
    assert (nearest.message.text, round(nearest.dense or 0, 1)) == ("zzz", 0.7)


async def test_a_long_text_is_found_by_any_of_its_parts(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said("aaaa " * 30 + "zzzz " * 30), said("bbbb " * 60, turn=1)])
    await work_off(memory)
    by_meaning = await memory.index.search("letters_26", [[0.0] * 25 + [1.0]], ADA, 5)
    assert by_meaning[0].score > 0.9


async def test_while_the_model_is_away_messages_are_found_by_words_and_stay_due(store: EdgeStore) -> None:
    embedder = FakeEmbedder()
    memory = memory_of(store, embedder)
    await store.insert([said("my cat is called Mimi")])
    embedder.error = ModelUnavailableError("down")
    with pytest.raises(ModelUnavailableError):
        await work_off(memory)
    assert await memory.index.count_due() == 1
    embedder.error = None
    await work_off(memory)
    assert await memory.index.count_due() == 0


async def test_a_text_that_the_model_refuses_holds_up_no_other(store: EdgeStore) -> None:
    class Picky(FakeEmbedder):
        async def embed(self, texts: Sequence[str], **how: object) -> object:  # type: ignore[override]
            if any("bad" in text for text in texts):
                raise ModelRefusedError("no")
            return await super().embed(texts)

    memory = memory_of(store, Picky())  # type: ignore[arg-type]
    await store.insert([said("bad words"), said("good words", turn=1)])
    await work_off(memory)
    assert await memory.index.count_due() == 0
    assert {*await found(memory, "words")} == {"bad words", "good words"}


async def test_without_a_model_it_is_words_alone_and_says_so(store: EdgeStore) -> None:
    memory = memory_of(store)
    await store.insert([said("my cat is called Mimi")])
    await work_off(memory)
    recalled = await memory.recaller.recall(RecallQuery(text="cat", scope=ADA))
    assert [hit.message.text for hit in recalled.hits] == ["my cat is called Mimi"]
    assert "words alone" in recalled.note


async def test_a_query_whose_embedding_fails_is_searched_by_words_and_says_so(store: EdgeStore) -> None:
    embedder = FakeEmbedder()
    memory = memory_of(store, embedder)
    await store.insert([said("my cat is called Mimi")])
    await work_off(memory)
    embedder.error = ModelUnavailableError("down")
    recalled = await memory.recaller.recall(RecallQuery(text="cat", scope=ADA))
    assert ([hit.message.text for hit in recalled.hits], recalled.model) == (["my cat is called Mimi"], None)
    assert "did not answer" in recalled.note


@pytest.mark.parametrize("writes", range(4))
async def test_killed_at_any_write_it_goes_on_and_ends_the_same(store: EdgeStore, writes: int) -> None:
    rows = [said(f"message number {n}", turn=n) for n in range(5)]
    await store.insert(rows)
    embedder = FakeEmbedder()
    memory = memory_of(store, embedder)
    cut = Indexing(CutIndex(store, writes), memory.lexicon, embedder, memory.embedder_of)
    with pytest.raises(CutError):
        while await cut.work():
            pass
        raise CutError
    await work_off(memory)
    indexed = await store.get([row.id for row in rows])
    assert [(row.index, row.place) for row in indexed] == [("done", n) for n in range(5)]
    assert await memory.index.count_done() == 5
    assert [await vectors_of(store, row.id, WORDS, "letters_26") for row in rows] == [{WORDS, "letters_26"}] * 5


async def test_with_another_model_the_old_vectors_are_searched_until_all_have_new_ones(store: EdgeStore) -> None:
    old, new = FakeEmbedder("old_26"), FakeEmbedder("new_26")
    before = memory_of(store, old)
    rows = [said(f"message {n}", turn=n) for n in range(300)]
    await store.insert(rows)
    await work_off(before)

    memory = memory_of(store, new, old_26=old)
    [chore] = memory.chores
    assert await chore.work() > 0
    assert (await memory.recaller.recall(RecallQuery(text="message 7", scope=ADA))).model == "old_26"
    state = await memory.index.state()
    assert state is not None
    assert (state.filling, 0 < state.filled < 300) == ("new_26", True)
    await work_off(memory)
    assert (await memory.recaller.recall(RecallQuery(text="message 7", scope=ADA))).model == "new_26"
    assert await vectors_of(store, rows[0].id, "old_26", "new_26") == {"new_26"}


async def test_killed_while_it_makes_new_vectors_it_goes_on_where_it_was(store: EdgeStore) -> None:
    old = FakeEmbedder("old_26")
    rows = [said(f"message {n}", turn=n) for n in range(600)]
    await store.insert(rows)
    await work_off(memory_of(store, old))
    new = FakeEmbedder("new_26")
    cut = Indexing(CutIndex(store, 3), memory_of(store).lexicon, new, memory_of(store, new, old_26=old).embedder_of)
    with pytest.raises(CutError):
        while await cut.work():
            pass
    done_before = len(new.texts)
    await work_off(memory_of(store, new, old_26=old))
    assert 600 <= len(new.texts) <= 600 + 256, "what was done is not done again, but for one batch"
    assert done_before >= 256
    assert [await vectors_of(store, row.id, "new_26") for row in (rows[0], rows[-1])] == [{"new_26"}] * 2


async def test_what_is_said_while_new_vectors_are_made_has_both(store: EdgeStore) -> None:
    old, new = FakeEmbedder("old_26"), FakeEmbedder("new_26")
    await store.insert([said(f"message {n}", turn=n) for n in range(300)])
    await work_off(memory_of(store, old))
    memory = memory_of(store, new, old_26=old)
    [chore] = memory.chores
    await chore.work()
    late = said("late", turn=400)
    await store.insert([late])
    await chore.work()
    assert await vectors_of(store, late.id, "old_26", "new_26") == {"old_26", "new_26"}


async def test_rows_of_a_release_without_search_are_indexed(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said("from before", index=None)])
    await work_off(memory)
    assert await found(memory, "before") == ["from before"]


async def test_neither_of_two_owners_finds_what_the_other_said_in_the_same_words(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert(
        [
            said("my password is tiger", thread="a", owner="ada"),
            said("my password is tiger", thread="b", owner="bob"),
            said("my password is tiger", thread="c", owner="ada", tenant="other"),
        ]
    )
    await work_off(memory)
    recalled = await memory.recaller.recall(RecallQuery(text="my password is tiger", scope=ADA))
    assert [hit.message.thread for hit in recalled.hits] == ["a"]


async def test_what_failed_or_was_withdrawn_is_not_found(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    statuses = ("failed", "withdrawn", "refused", "answered", "interrupted")
    await store.insert([said("cat", turn=n, status=status) for n, status in enumerate(statuses)])
    await work_off(memory)
    hits = (await memory.recaller.recall(RecallQuery(text="cat", scope=ADA))).hits
    assert {hit.message.status for hit in hits} == {"answered", "interrupted"}


async def test_a_search_may_be_of_a_time_a_role_and_a_part_of_a_thread(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said("cat", turn=n, role="user" if n % 2 else "assistant") for n in range(6)])
    await work_off(memory)

    async def turns(**scope: object) -> set[int | None]:
        query = RecallQuery(text="cat", scope=Scope(owner="ada", **scope))  # type: ignore[arg-type]
        return {hit.message.turn for hit in (await memory.recaller.recall(query)).hits}

    assert await turns(roles=["assistant"]) == {0, 2, 4}
    assert await turns(after=1_700_000_003.0) == {3, 4, 5}
    assert await turns(before=1_700_000_003.0) == {0, 1, 2}
    assert await turns(thread="t", before_seq=2_000_000) == {0, 1}


async def test_an_owner_of_many_messages_gets_the_limit_best_first(store: EdgeStore) -> None:
    memory = memory_of(store, FakeEmbedder())
    await store.insert([said(f"note {n}", turn=n) for n in range(50)] + [said("the secret garden", turn=60)])
    await work_off(memory)
    hits = (await memory.recaller.recall(RecallQuery(text="secret garden", scope=ADA, limit=5))).hits
    assert (len(hits), hits[0].message.text, hits[0].score) == (5, "the secret garden", 1.0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    strict = RecallQuery(text="secret garden", scope=ADA, least_score=0.9)
    assert len((await memory.recaller.recall(strict)).hits) == 1
