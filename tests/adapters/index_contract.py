"""What the index of messages does, whatever engine holds it. A test module with a fixture `store` derives a class of its own.

The store may be shared: each test takes a tenant, and a model, of its own.
"""

from __future__ import annotations

from uuid import uuid4

import pytest

from adapters import qdrant_points as points
from adapters.qdrant_index import QdrantIndex
from adapters.qdrant_points import Where
from adapters.qdrant_store import QdrantStore, Vectors
from domain.messages import Message
from domain.recall import Indexed, IndexState, Scope
from domain.vectors import Sparse
from tests.memories import said

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]
WORDS = points.SPARSE_VECTOR
HELLO: Vectors = {WORDS: Sparse([7], [1.0])}


class IndexContract:
    @pytest.fixture
    def index(self, store: QdrantStore) -> QdrantIndex:
        return QdrantIndex(store.collection(points.MESSAGES), store.collection(points.RECORDS))

    @pytest.fixture
    def tenant(self) -> str:
        return uuid4().hex

    @pytest.fixture
    async def model(self, index: QdrantIndex) -> str:
        name = f"m{uuid4().hex}"
        await index.add_model(name, 2)
        return name

    async def put(
        self,
        store: QdrantStore,
        index: QdrantIndex,
        row: Message,
        vectors: Vectors,
        place: int = 0,
    ) -> Message:
        await store.insert([row])
        await index.put([Indexed(id=row.id, attempt=row.attempt, vectors=dict(vectors), place=place, tokens=3)])
        return row

    def row(self, tenant: str, turn: int = 0, **fields: object) -> Message:
        thread = str(fields.pop("thread", "t"))
        return said("Hello", thread=f"{tenant}-{thread}", turn=turn, **({"tenant": tenant} | fields))  # type: ignore[arg-type]

    async def test_what_is_put_is_found_and_due_no_more(
        self, store: QdrantStore, index: QdrantIndex, tenant: str, model: str
    ) -> None:
        row = await self.put(store, index, self.row(tenant), {model: [EAST], WORDS: Sparse([7], [1.0])}, place=4)
        [stored] = await store.get([row.id])
        assert (stored.index, stored.place, stored.tokens) == ("done", 4, 3)
        queries: Vectors = {model: [EAST], WORDS: Sparse([7], [1.0])}
        for name, query in queries.items():
            [found] = await index.search(name, query, Scope(tenant=tenant, owner="ada"), 5)
            assert (found.id, found.thread, found.place) == (row.id, row.thread, 4)
            assert found.score > 0

    async def test_neither_of_two_owners_finds_the_others_in_the_same_words(
        self, store: QdrantStore, index: QdrantIndex, tenant: str, model: str
    ) -> None:
        vectors: Vectors = {model: [EAST], WORDS: Sparse([7], [1.0])}
        mine = await self.put(store, index, self.row(tenant, thread="a"), vectors)
        await self.put(store, index, self.row(tenant, thread="b", owner="bob"), vectors)
        await self.put(store, index, self.row(f"{tenant}-2", thread="c"), vectors)
        queries: Vectors = {model: [EAST], WORDS: Sparse([7], [1.0])}
        for name, query in queries.items():
            found = await index.search(name, query, Scope(tenant=tenant, owner="ada"), 5)
            assert [one.id for one in found] == [mine.id]

    async def test_a_row_that_has_changed_meanwhile_stays_due(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        row = self.row(tenant, attempt=5)
        await store.insert([row])
        await index.put([Indexed(id=row.id, attempt=4, vectors={WORDS: Sparse([7], [1.0])})])
        [stored] = await store.get([row.id])
        assert stored.index == "due"

    async def test_a_row_that_is_deleted_by_now_is_left_out(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        gone = self.row(tenant)
        row = self.row(tenant, turn=1)
        await store.insert([row])
        entries = [Indexed(id=one.id, attempt=0, vectors={WORDS: Sparse([7], [1.0])}) for one in (gone, row)]
        await index.put(entries)
        assert [one.id for one in await store.get([gone.id, row.id])] == [row.id]

    async def test_what_failed_or_was_withdrawn_or_still_runs_is_not_found(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        for turn, status in enumerate(("failed", "withdrawn", "refused", "answered")):
            await self.put(store, index, self.row(tenant, turn, status=status), HELLO)
        found = await index.search(WORDS, Sparse([7], [1.0]), Scope(tenant=tenant), 9)
        assert len(found) == 1

    async def test_a_scope_is_of_threads_roles_agents_and_times(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        rows = [
            await self.put(
                store,
                index,
                self.row(tenant, turn, role="user" if turn % 2 else "assistant", agent=f"a{turn}"),
                HELLO,
                place=turn,
            )
            for turn in range(4)
        ]

        async def turns(**scope: object) -> list[int]:
            wanted = Scope(tenant=tenant, **scope)  # type: ignore[arg-type]
            found = {one.id for one in await index.search(WORDS, Sparse([7], [1.0]), wanted, 9)}
            return [row.turn or 0 for row in rows if row.id in found]

        assert await turns(thread=rows[0].thread) == [0, 1, 2, 3]
        assert await turns(thread="another") == []
        assert await turns(roles=["user"]) == [1, 3]
        assert await turns(agents=["a1", "a2"]) == [1, 2]
        assert await turns(before_seq=rows[2].seq) == [0, 1]
        assert await turns(after=rows[1].created_at, before=rows[3].created_at) == [1, 2]

    async def test_neighbours_are_found_by_their_places(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        rows = [await self.put(store, index, self.row(tenant, turn), HELLO, place=turn) for turn in range(5)]
        await self.put(store, index, self.row(tenant, 2, thread="else"), HELLO, place=2)
        scope = Scope(tenant=tenant, owner="ada")
        found = await index.beside({(rows[0].thread, 1), (rows[0].thread, 2), ("nowhere", 3)}, scope)
        assert {one.id for one in found} == {rows[1].id, rows[2].id}
        assert await index.beside({(rows[0].thread, 1)}, Scope(tenant=tenant, owner="bob")) == []
        assert await index.last_place(rows[0].thread, rows[3].seq) == 2
        assert await index.last_place(rows[0].thread, 0) is None

    async def test_turns_come_whole_and_in_order(self, store: QdrantStore, index: QdrantIndex, tenant: str) -> None:
        rows = [self.row(tenant, turn) for turn in range(4)]
        await store.insert(rows)
        found = await index.turns({(rows[0].thread, 2), (rows[0].thread, 1), ("nowhere", 3)}, 50)
        assert [row.turn for row in found] == [1, 2]

    async def test_due_rows_come_oldest_first(self, store: QdrantStore, index: QdrantIndex, tenant: str) -> None:
        old = [self.row(tenant, turn, created_at=turn - 1e9) for turn in (2, 0, 1)]
        await store.insert(old)
        assert [row.turn for row in (await index.due(10_000))[:3]] == [0, 1, 2]
        await index.put([Indexed(id=row.id, attempt=0, vectors={}) for row in old])

    async def test_rows_are_loaded_with_vectors_made_elsewhere(
        self, store: QdrantStore, index: QdrantIndex, tenant: str, model: str
    ) -> None:
        rows = [self.row(tenant, turn) for turn in range(3)]
        made = [Indexed(id=row.id, attempt=0, vectors={model: [EAST]}, place=row.turn or 0) for row in rows]
        await index.load(rows, made)
        await index.load(rows, made)
        found = await index.search(model, [EAST], Scope(tenant=tenant, owner="ada"), 9)
        assert sorted((one.id, one.place) for one in found) == sorted((row.id, row.turn) for row in rows)
        assert {row.index for row in await store.get([row.id for row in rows])} == {"done"}

    async def test_the_state_is_kept(self, index: QdrantIndex) -> None:
        state = IndexState(active="a", filling="b", after="c", filled=3, tokens=5)
        await index.save_state(state)
        assert await index.state() == state

    async def test_rows_of_a_release_without_search_are_due_and_no_others(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        rows = [
            self.row(tenant, turn, role=role, index=known)
            for turn, (role, known) in enumerate(
                [("user", None), ("assistant", None), ("tool", None), ("user", "skipped"), ("user", "done")]
            )
        ]
        await store.insert(rows)
        await index.mark_old()
        await index.mark_old()
        stored = await store.get([row.id for row in rows])
        assert [row.index for row in stored] == ["due", "due", None, "skipped", "done"]

    async def test_what_is_not_final_is_not_due_yet(self, store: QdrantStore, index: QdrantIndex, tenant: str) -> None:
        rows = [self.row(tenant, turn, status=status) for turn, status in enumerate(("pending", "refused", "answered"))]
        await store.insert(rows)
        due = {row.id for row in await index.due(10_000)}
        assert [row.id in due for row in rows] == [False, False, True]
        assert await index.count_due() == len(due)

    async def test_a_walk_gives_what_is_in_the_index_once(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        rows = {(await self.put(store, index, self.row(tenant, turn), HELLO)).id for turn in range(5)}
        await store.insert([due := self.row(tenant, 9)])
        walked: list[str] = []
        while page := await index.walk(walked[-1] if walked else None, 3):
            walked += [row.id for row in page]
        assert len(walked) == len(set(walked)) == await index.count_done()
        assert rows <= set(walked)
        assert due.id not in walked

    async def test_a_scope_is_counted_and_tells_what_words_are_worth(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        await self.put(store, index, self.row(tenant, 0), {WORDS: Sparse([7, 8], [0.5, 2.0])})
        await self.put(store, index, self.row(tenant, 1), {WORDS: Sparse([8], [3.0])})
        mine = Scope(tenant=tenant, owner="ada")
        before = await index.worth([7, 8, 9], mine)
        assert before.keys() == {7, 8}
        assert before[7] > before[8] > 0
        await self.put(store, index, self.row(tenant, 2, thread="b", owner="bob"), {WORDS: Sparse([7], [1.0])})
        assert (await index.count(mine), await index.count(Scope(tenant=tenant))) == (2, 3)
        assert await index.worth([7, 8, 9], mine) == before

    async def test_vectors_of_a_model_that_is_dropped_find_nothing_and_words_still_do(
        self, store: QdrantStore, index: QdrantIndex, tenant: str, model: str
    ) -> None:
        row = await self.put(store, index, self.row(tenant), {model: [EAST], WORDS: Sparse([7], [1.0])})
        await index.drop_model(model)
        assert await index.search(model, [EAST], Scope(tenant=tenant), 5) == []
        assert [one.id for one in await index.search(WORDS, Sparse([7], [1.0]), Scope(tenant=tenant), 5)] == [row.id]

    async def test_vectors_of_another_model_are_placed_beside_and_the_row_stays_as_it_is(
        self, store: QdrantStore, index: QdrantIndex, tenant: str, model: str
    ) -> None:
        row = await self.put(store, index, self.row(tenant), HELLO, place=2)
        before = await store.get([row.id])
        await index.place([Indexed(id=row.id, attempt=0, vectors={model: [EAST]}, place=9)])
        assert await store.get([row.id]) == before
        queries: Vectors = {model: [EAST], WORDS: Sparse([7], [1.0])}
        for name, query in queries.items():
            assert [one.id for one in await index.search(name, query, Scope(tenant=tenant), 5)] == [row.id]

    async def test_a_message_that_is_deleted_is_found_no_more(
        self, store: QdrantStore, index: QdrantIndex, tenant: str
    ) -> None:
        row = await self.put(store, index, self.row(tenant), HELLO)
        assert len(await index.search(WORDS, Sparse([7], [1.0]), Scope(tenant=tenant), 5)) == 1
        await store.collection(points.MESSAGES).delete(Where(row.id))
        assert await index.search(WORDS, Sparse([7], [1.0]), Scope(tenant=tenant), 5) == []
