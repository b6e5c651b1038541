"""What erasure must do on every store; see tests/adapters/store_contract.py."""

from __future__ import annotations

from typing import Protocol
from uuid import uuid4

import pytest

from activities.ports import Eraser, Store
from adapters import qdrant_points as points
from adapters.qdrant_erasing import QdrantGraves
from adapters.qdrant_store import Collection
from domain import ids
from domain.erasure import Erasing, Part
from domain.messages import ThreadRecord
from domain.vectors import Sparse
from tests.adapters.store_contract import new_thread, row

PROBE = {points.SPARSE_VECTOR: Sparse([7], [1.0])}


class Collections(Store, Protocol):
    def collection(self, name: str) -> Collection: ...


def eraser_of(graves: QdrantGraves, name: str) -> Eraser:
    return next(eraser for eraser in graves.erasers if eraser.name == name)


class ErasingContract:
    """Inherited by the tests of each store."""

    @pytest.fixture
    def graves(self, store: Collections) -> QdrantGraves:
        return QdrantGraves(store.collection, probes=PROBE)

    # --- rows

    async def test_rows_are_counted_and_deleted_by_thread_by_turn_and_by_id(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        thread, messages = new_thread(), graves.erasers[0]
        rows = [row(thread, turn=turn) for turn in (1, 1, 2)]
        await store.insert([*rows, other := row(new_thread(), turn=1)])
        assert [await messages.count(Part(thread=thread, turn=turn)) for turn in (1, 2, 3)] == [2, 1, 0]
        page = await messages.page(Part(thread=thread), 2)
        assert len(page) == 2
        await messages.delete(page)
        assert await messages.there([one.id for one in rows]) == 1
        await messages.delete(await messages.page(Part(messages=[one.id for one in rows]), 10))
        assert await messages.count(Part(thread=thread)) == 0
        assert await store.get([other.id]) == [other]

    async def test_owners_with_the_same_name_in_two_tenants_are_two(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        owner, mine, other = f"ada-{uuid4().hex}", row(new_thread()), row(new_thread())
        await store.insert(
            [
                mine.model_copy(update={"owner": owner, "tenant": ""}),
                other.model_copy(update={"owner": owner, "tenant": "shop"}),
            ]
        )
        assert await graves.erasers[0].page(Part(tenant="", owner=owner), 10) == [mine.id]
        assert await graves.erasers[0].page(Part(tenant="shop", owner=owner), 10) == [other.id]

    async def test_vectors_go_with_their_rows(self, store: Collections, graves: QdrantGraves) -> None:
        thread, messages = new_thread(), store.collection(points.MESSAGES)
        await store.insert([one := row(thread)])
        await messages.place({one.id: PROBE})
        assert await graves.erasers[0].found(Part(thread=thread)) == 1
        await graves.erasers[0].delete([one.id])
        assert await graves.erasers[0].found(Part(thread=thread)) == 0
        assert await messages.vectors([one.id], list(PROBE)) == {}

    async def test_facts_are_of_an_owner_of_a_thread_and_of_a_message(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        owner, thread, message = uuid4().hex, new_thread(), str(uuid4())
        fact = {"tenant": "", "owner": owner, "thread": thread, "message": message}
        await store.collection(points.FACTS).insert({str(uuid4()): fact})
        facts = eraser_of(graves, "facts")
        for part in (Part(tenant="", owner=owner), Part(thread=thread), Part(messages=[message])):
            assert await facts.count(part) == 1
        assert await facts.count(Part(thread=thread, turn=1)) == 0

    async def test_what_a_collection_cannot_tell_apart_it_leaves(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        """Knowledge has a tenant and no owner: an owner's erasure must not take the tenant's."""
        tenant = uuid4().hex
        await store.collection(points.CHUNKS).insert({str(uuid4()): {"tenant": tenant}})
        knowledge = eraser_of(graves, "knowledge")
        assert await knowledge.count(Part(tenant=tenant, owner="ada")) == 0
        assert await knowledge.count(Part(tenant=tenant)) == 1
        assert [await eraser.page(Part(), 10) for eraser in graves.erasers] == [[]] * 4

    async def test_records_of_a_thread_are_found_but_for_its_own_and_receipts(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        thread, records = new_thread(), eraser_of(graves, "records")
        await store.insert_thread(ThreadRecord(thread=thread))
        await store.save_checkpoint(thread, 1, 1, {"a": 1})
        await store.collection(points.RECORDS).insert({str(uuid4()): {"kind": "summary", "thread": thread}})
        assert await records.count(Part(thread=thread)) == 2
        await records.delete(await records.page(Part(thread=thread), 10))
        assert await store.load_checkpoint(thread) is None
        assert await store.get_thread(thread) is not None

    async def test_rows_that_name_a_blob_are_counted_also_those_of_others(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        ref, other = uuid4().hex * 2, uuid4().hex * 2
        rows = [row(new_thread(), blob={"ref": name, "chars": 5}) for name in (ref, ref, other)]
        await store.insert(rows)
        assert await graves.users_of(ref, [rows[0].id]) == 1
        assert await graves.users_of(ref, [rows[0].id, rows[1].id]) == 0
        assert await graves.users_of(ref, [rows[2].id]) == 2

    async def test_a_document_names_a_blob_too_and_its_chunks_do_not(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        ref, document, chunk = uuid4().hex * 2, str(uuid4()), str(uuid4())
        await store.insert([one := row(new_thread(), blob={"ref": ref, "chars": 5})])
        chunks = store.collection(points.CHUNKS)
        await chunks.insert({document: {"kind": "document", "digest": ref}, chunk: {"kind": "chunk", "digest": ref}})
        assert await graves.users_of(ref, [one.id]) == 1
        assert await graves.users_of(ref, [document]) == 1
        assert await graves.users_of(ref, [document, one.id]) == 0
        assert await graves.refs_of("knowledge", [document, chunk]) == [ref]
        assert await graves.refs_of("messages", [one.id]) == [ref]
        assert await graves.refs_of("records", [one.id]) == []

    async def test_rows_changed_before_a_time_and_since_are_told_apart(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        thread = new_thread()
        old, new = row(thread, updated_at=1.0), row(thread, updated_at=2.0)
        await store.insert([old, new])
        assert await graves.messages(Part(thread=thread, before=2.0), None, 10) == [old]
        assert await graves.messages(Part(thread=thread, since=2.0), None, 10) == [new]

    # --- threads

    async def test_a_tombstone_keeps_the_thread_and_whose_it_was_until_the_end(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        thread, erasure = new_thread(), uuid4().hex
        named = {"thread": thread, "owner": "ada", "tenant": "t"}
        newer = {"color": "red"}  # a field of a later release
        await store.insert_thread(
            ThreadRecord.model_validate(named | newer | {"preview": "My card", "metadata": {"name": "Ada"}})
        )
        assert await graves.bury(thread, erasure, 5.0)
        assert not await graves.bury(thread, erasure, 6.0)
        stone = {"thread": thread, "status": "deleted", "erasure": erasure, "created_at": 5.0, "updated_at": 5.0}
        assert await store.get_thread(thread) == ThreadRecord.model_validate(stone | named)
        await graves.unname(erasure)
        assert await store.get_thread(thread) == ThreadRecord.model_validate(stone)

    async def test_nothing_brings_a_deleted_thread_back(self, store: Collections, graves: QdrantGraves) -> None:
        thread, erasure = new_thread(), uuid4().hex
        await store.insert_thread(ThreadRecord(thread=thread, owner="ada"))
        await graves.bury(thread, erasure, 5.0)
        await store.insert_thread(ThreadRecord(thread=thread, owner="eve"))
        await store.end_turn(thread, 9, {"preview": "My card", "status": "active"})
        await graves.show(thread, "", "My card")
        record = await store.get_thread(thread)
        assert record is not None
        assert record.deleted
        assert (record.preview, record.owner) == ("", "ada")

    async def test_deleted_threads_are_found_by_their_erasure_and_living_ones_by_their_owner(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        owner, erasure = uuid4().hex, uuid4().hex
        threads = [new_thread() for _ in range(5)]
        for thread in threads:
            await store.insert_thread(ThreadRecord(thread=thread, owner=owner))
        person = Part(tenant="", owner=owner)
        assert {record.thread for _, record in await graves.living(person, None, 10)} == {*threads}
        for thread in threads[:3]:
            await graves.bury(thread, erasure, 1.0)
        assert {record.thread for _, record in await graves.living(person, None, 10)} == {*threads[3:]}
        [first, second] = await graves.buried(erasure, None, 2)
        [third] = await graves.buried(erasure, second[0], 2)
        assert {first[1], second[1], third[1]} == {*threads[:3]}

    async def test_a_thread_shows_another_prompt_only_if_it_shows_the_erased_one(
        self, store: Collections, graves: QdrantGraves
    ) -> None:
        thread = new_thread()
        await store.insert_thread(ThreadRecord(thread=thread, preview="My card"))
        await graves.show(thread, "Another", "Hi")
        assert (await store.get_thread(thread) or ThreadRecord(thread="")).preview == "My card"
        await graves.show(thread, "My card", "Hi")
        assert (await store.get_thread(thread) or ThreadRecord(thread="")).preview == "Hi"

    # --- receipts

    async def test_a_receipt_is_what_was_noted_last(self, store: Collections, graves: QdrantGraves) -> None:
        noted = Erasing(id=uuid4().hex, subject="thread t", requested_at=1.0)
        assert await graves.noted(noted.id) is None
        await graves.note(noted)
        ended = noted.model_copy(
            update={"status": "done", "ended_at": 2.0, "erased": {"messages": 2}, "page": [ids.opaque()]}
        )
        await graves.note(ended)
        assert await graves.noted(noted.id) == ended
        kept = await store.get_receipt(noted.id)
        assert kept is not None
        assert kept.erased == {"messages": 2}
        assert await store.get_receipt(uuid4().hex) is None
