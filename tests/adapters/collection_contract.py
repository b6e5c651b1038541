"""What every collection must do, whatever engine holds it. A test module with a fixture `store` derives a class of its own.

The store may be shared by the tests: each takes a tenant and a vector's name of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any, Protocol
from uuid import uuid4

import pytest

from adapters import qdrant_points as points
from adapters.qdrant_points import Fields, Where
from adapters.qdrant_store import Collection, Vectors
from domain.errors import StoreError
from domain.vectors import Sparse

EAST, NORTH, NORTHEAST = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]


class Opened(Protocol):
    def collection(self, name: str) -> Collection: ...


def new_name() -> str:
    return f"n{uuid4().hex}"


class Rows:
    """Points of one tenant in one collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.tenant = new_name()

    async def add(self, vectors: Vectors | None = None, **payload: Any) -> str:
        point_id = str(uuid4())
        whole = {"tenant": self.tenant} | payload
        await self.collection.insert({point_id: whole}, {point_id: vectors} if vectors else None)
        return point_id

    def where(self, **equal: str) -> Where:
        return Where(equal={"tenant": self.tenant} | equal)

    async def walked(self, where: Where) -> set[str]:
        return {point_id for point_id, _ in await self.collection.walk(where, None, 100)}


class CollectionContract:
    @pytest.fixture
    async def rows(self, store: Opened) -> AsyncIterator[Rows]:
        rows = Rows(store.collection(points.MESSAGES))
        yield rows
        await rows.collection.delete(rows.where())  # they are no whole messages, and others go over all that there are

    @pytest.fixture
    async def model(self, rows: Rows) -> str:
        """The name of vectors of two dimensions."""
        await rows.collection.add_vector(name := new_name(), 2)
        return name

    @pytest.mark.parametrize("name", points.INDEXES)
    async def test_every_collection_takes_and_counts_points(self, store: Opened, name: str) -> None:
        rows = Rows(store.collection(name))
        await rows.add({points.SPARSE_VECTOR: Sparse([1], [1.0])})
        assert await rows.collection.count(rows.where()) == 1

    async def test_the_nearest_come_best_first_with_their_scores(self, rows: Rows, model: str) -> None:
        far, near = await rows.add({model: [NORTH]}), await rows.add({model: [EAST]}, text="near")
        between = await rows.add({model: [NORTHEAST]})
        await rows.add()
        found = await rows.collection.search(model, [EAST], rows.where(), 10)
        assert [(point_id, round(score, 4)) for point_id, score, _ in found] == [(near, 1), (between, 0.6), (far, 0)]
        assert found[0][2] == {"tenant": rows.tenant, "text": "near"}
        assert len(await rows.collection.search(model, [EAST], rows.where(), 2)) == 2

    async def test_the_nearest_piece_of_a_text_counts(self, rows: Rows, model: str) -> None:
        pieces = await rows.add({model: [NORTH, EAST]})
        await rows.add({model: [NORTHEAST]})
        [(best, score, _), _] = await rows.collection.search(model, [EAST], rows.where(), 10)
        assert (best, round(score, 4)) == (pieces, 1)

    async def test_a_rare_word_weighs_more_than_a_common_one(self, rows: Rows) -> None:
        common, rare = uuid4().int % 2**31, uuid4().int % 2**31
        many = [await rows.add({points.SPARSE_VECTOR: Sparse([common], [1.0])}) for _ in range(5)]
        one = await rows.add({points.SPARSE_VECTOR: Sparse([rare], [1.0])})
        query = Sparse([common, rare], [1.0, 1.0])
        found = await rows.collection.search(points.SPARSE_VECTOR, query, rows.where(), 10)
        assert found[0][0] == one
        assert found[0][1] > found[1][1] > 0
        assert {point_id for point_id, _, _ in found[1:]} == set(many)

    async def test_of_two_owners_with_the_same_words_neither_finds_the_others(self, rows: Rows, model: str) -> None:
        vectors: Vectors = {model: [EAST], points.SPARSE_VECTOR: Sparse([7], [1.0])}
        mine = {owner: await rows.add(vectors, owner=owner) for owner in ("ada", "eve")}
        stranger = Rows(rows.collection)
        await stranger.add(vectors, owner="ada")
        for owner, point_id in mine.items():
            for vector, query in ((model, [EAST]), (points.SPARSE_VECTOR, Sparse([7], [1.0]))):
                found = await rows.collection.search(vector, query, rows.where(owner=owner), 10)
                assert [found_id for found_id, _, _ in found] == [point_id]

    async def test_a_name_that_no_vector_has_finds_nothing(self, rows: Rows) -> None:
        assert await rows.collection.search(new_name(), [EAST], rows.where(), 10) == []

    async def test_vectors_are_placed_beside_others_and_what_does_not_exist_is_left_out(
        self, rows: Rows, model: str
    ) -> None:
        there, missing = await rows.add({points.SPARSE_VECTOR: Sparse([3], [2.0])}, text="kept"), str(uuid4())
        await rows.collection.place({there: {model: [EAST]}, missing: {model: [EAST]}})
        names = (model, points.SPARSE_VECTOR, "no-such-name")
        found = await rows.collection.vectors([there, missing], names)
        assert found == {there: {model: [EAST], points.SPARSE_VECTOR: Sparse([3], [2.0])}}
        assert await rows.collection.get([there, missing]) == [{"tenant": rows.tenant, "text": "kept"}]
        await rows.collection.place({missing: {model: [EAST]}})

    async def test_a_second_insert_and_a_change_leave_vectors_as_they_are(self, rows: Rows, model: str) -> None:
        there = await rows.add({model: [EAST]})
        await rows.collection.insert({there: {"tenant": "other"}}, {there: {model: [NORTH]}})
        await rows.collection.change(Where(there), {"text": "changed"})
        assert await rows.collection.vectors([there], [model]) == {there: {model: [EAST]}}
        assert await rows.collection.get([there]) == [{"tenant": rows.tenant, "text": "changed"}]

    async def test_a_walk_gives_each_point_once_whatever_is_added_or_deleted(self, rows: Rows) -> None:
        first = {await rows.add() for _ in range(7)}
        seen: list[str] = []
        while page := await rows.collection.walk(rows.where(), seen[-1] if seen else None, 2):
            assert len(page) <= 2
            seen += [point_id for point_id, _ in page]
            await rows.collection.delete(Where(seen[-1]))
            if len(seen) < 8:
                await rows.add()
        assert len(seen) == len(set(seen))
        assert first <= set(seen)

    async def test_what_a_filter_names_is_counted_and_deleted_and_no_other(self, rows: Rows, model: str) -> None:
        for owner in ("ada", "ada", "eve"):
            await rows.add({model: [EAST]}, owner=owner)
        assert await rows.collection.count(rows.where(owner="ada")) == 2
        await rows.collection.delete(rows.where(owner="ada"))
        assert await rows.collection.count(rows.where(owner="ada")) == 0
        assert await rows.collection.count(rows.where()) == 1
        assert len(await rows.collection.search(model, [EAST], rows.where(), 10)) == 1

    async def test_how_rare_a_word_is_depends_on_the_filter_alone(self, rows: Rows) -> None:
        for number in range(4):
            await rows.add({points.SPARSE_VECTOR: Sparse([1] if number else [1, 2], [3.0] * (1 if number else 2))})
        alone = await rows.collection.worth(points.SPARSE_VECTOR, [1, 2, 9], rows.where())
        assert alone == {1: pytest.approx(math.log(1 + 0.5 / 4.5)), 2: pytest.approx(math.log(1 + 3.5 / 1.5))}
        others = Rows(rows.collection)
        await others.add({points.SPARSE_VECTOR: Sparse([2], [1.0])})
        assert await rows.collection.worth(points.SPARSE_VECTOR, [1, 2, 9], rows.where()) == alone

    async def test_a_score_by_words_is_of_what_the_words_are_worth_within_the_filter(self, rows: Rows) -> None:
        await rows.add({points.SPARSE_VECTOR: Sparse([1], [2.0])})
        await rows.add({points.SPARSE_VECTOR: Sparse([5], [2.0])})
        worth = await rows.collection.worth(points.SPARSE_VECTOR, [1], rows.where())
        [(_, score, _)] = await rows.collection.search(points.SPARSE_VECTOR, Sparse([1], [1.5]), rows.where(), 5)
        assert score == pytest.approx(1.5 * 2.0 * worth[1], rel=1e-5)

    async def test_a_number_is_one_of_several(self, rows: Rows) -> None:
        one, two = await rows.add(turn=1), await rows.add(turn=2)
        await rows.add(turn=3)
        mine = {"tenant": rows.tenant}
        assert await rows.walked(Where(equal=mine, among={"turn": [1, 2, 7]})) == {one, two}

    async def test_filters_hold_what_they_say(self, rows: Rows) -> None:
        one = await rows.add(seq=1, role="user", index="due")
        two = await rows.add(seq=2, role="tool", index="")
        three = await rows.add(seq=3, role="assistant", index=None)
        mine = {"tenant": rows.tenant}
        assert await rows.walked(Where(equal=mine, among={"role": ["user", "tool"]})) == {one, two}
        assert await rows.walked(Where(equal=mine, among={"role": []})) == set()
        assert await rows.walked(Where(equal=mine, at_least={"seq": 2.0})) == {two, three}
        assert await rows.walked(Where(equal=mine, missing=["waits"])) == {one, two, three}
        assert three in await rows.walked(Where(equal=mine, missing=["index"]))
        assert one not in await rows.walked(Where(equal=mine, missing=["index"]))
        assert await rows.walked(Where(point_ids=[one, three])) == {one, three}
        assert await rows.walked(Where(point_ids=[])) == set()

    async def test_what_others_say_does_not_change_the_score_of_what_is_found_of_mine(self, rows: Rows) -> None:
        mine = rows.where(owner="ada")
        for number in (1, 2, 2):
            await rows.add({points.SPARSE_VECTOR: Sparse([number], [1.0])}, owner="ada")
        before = await rows.collection.search(points.SPARSE_VECTOR, Sparse([1], [1.0]), mine, 5)
        for _ in range(20):
            await rows.add({points.SPARSE_VECTOR: Sparse([1], [1.0])}, owner="eve")
        assert len(before) == 1
        assert await rows.collection.search(points.SPARSE_VECTOR, Sparse([1], [1.0]), mine, 5) == before

    async def test_more_of_a_word_comes_first_and_what_has_no_word_in_common_is_not_found(self, rows: Rows) -> None:
        little, much, _ = [
            await rows.add({points.SPARSE_VECTOR: Sparse([number], [weight])})
            for number, weight in ((1, 1.0), (1, 2.0), (2, 9.0))
        ]
        found = await rows.collection.search(points.SPARSE_VECTOR, Sparse([1], [1.0]), rows.where(), 5)
        assert [point_id for point_id, _, _ in found] == [much, little]
        assert found[0][1] == pytest.approx(2 * found[1][1])

    async def test_nearness_is_of_the_direction_whatever_the_length(self, rows: Rows, model: str) -> None:
        for vector in ([-3.0, 0.0], [0.5, 0.0], [0.0, 7.0]):
            await rows.add({model: [vector]})
        found = await rows.collection.search(model, [[2.0, 0.0]], rows.where(), 5)
        assert [score for _, score, _ in found] == pytest.approx([1.0, 0.0, -1.0], abs=1e-6)

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            ("none", set()),
            ("ranking", {"created_at", "role"}),
            ("context", {"created_at", "role", "seq"}),
            ("listed", {"created_at", "role", "seq", "tenant"}),
            ("all", {"created_at", "role", "seq", "tenant", "raw"}),
        ],
    )
    async def test_a_hit_and_a_walked_row_have_the_fields_that_were_asked_for(
        self, rows: Rows, fields: Fields, shown: set[str]
    ) -> None:
        words = Sparse([1], [1.0])
        await rows.add({points.SPARSE_VECTOR: words}, created_at=1.5, role="user", seq=1, raw="{}")
        [(_, _, hit)] = await rows.collection.search(points.SPARSE_VECTOR, words, rows.where(), 1, fields)
        [(_, row)] = await rows.collection.walk(rows.where(), None, 1, fields)
        assert hit.keys() == row.keys() == shown

    async def test_a_model_may_be_added_by_several_at_once(self, rows: Rows) -> None:
        name = new_name()
        await asyncio.gather(*(rows.collection.add_vector(name, 2) for _ in range(8)))
        await rows.add({name: [EAST]})
        assert len(await rows.collection.search(name, [EAST], rows.where(), 10)) == 1

    async def test_points_that_vanish_while_vectors_are_placed_are_left_out_and_the_others_get_theirs(
        self, rows: Rows, model: str
    ) -> None:
        there = [await rows.add() for _ in range(30)]
        kept, gone = there[::2], there[1::2]
        await asyncio.gather(
            *(rows.collection.place({point_id: {model: [EAST]} for point_id in there}) for _ in range(4)),
            *(rows.collection.delete(Where(point_id)) for point_id in gone),
        )
        assert await rows.collection.vectors(there, [model]) == {point_id: {model: [EAST]} for point_id in kept}

    async def test_a_change_by_a_filter_is_of_all_that_it_holds_for_and_no_other(self, rows: Rows) -> None:
        old, new = await rows.add(role="user"), await rows.add(role="user", index="done")
        await rows.collection.change(Where(equal={"tenant": rows.tenant}, missing=["index"]), {"index": "due"})
        assert [row["index"] for row in await rows.collection.get([old, new])] == ["due", "done"]

    async def test_a_vector_is_added_once_and_of_another_size_is_refused(self, rows: Rows, model: str) -> None:
        there = await rows.add({model: [EAST]})
        await rows.collection.add_vector(model, 2)
        with pytest.raises(StoreError, match="of another size than 3"):
            await rows.collection.add_vector(model, 3)
        assert await rows.collection.vectors([there], [model]) == {there: {model: [EAST]}}

    async def test_a_dropped_vector_is_forgotten_and_may_come_again_in_another_size(
        self, rows: Rows, model: str
    ) -> None:
        there = await rows.add({model: [EAST], points.SPARSE_VECTOR: Sparse([3], [2.0])})
        await rows.collection.drop_vector(model)
        await rows.collection.drop_vector(model)
        assert await rows.collection.search(model, [EAST], rows.where(), 10) == []
        assert await rows.collection.vectors([there], [points.SPARSE_VECTOR]) == {
            there: {points.SPARSE_VECTOR: Sparse([3], [2.0])}
        }
        await rows.collection.add_vector(model, 3)
        await rows.collection.place({there: {model: [[1.0, 0.0, 0.0]]}})
        assert len(await rows.collection.search(model, [[1.0, 0.0, 0.0]], rows.where(), 10)) == 1
