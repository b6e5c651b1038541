"""What every store of knowledge must do. A test module with a fixture `knowledge` derives a class of its own:

class TestMyKnowledge(KnowledgeContract):
...
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from activities.ports import KnowledgeStore
from domain.documents import read_document
from domain.errors import InputRefusedError, StoreError
from domain.knowledge import Chunk, Document, DocumentFilter, KnowledgeScope, chunk_id
from domain.vectors import Sparse

MODEL = "model-3"
APPLE, PEAR = Sparse([1], [1.0]), Sparse([2], [1.0])
EAST, NORTH = [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]


def new_tenant() -> str:
    return f"tenant-{uuid4().hex}"


def document(tenant: str, text: str = "text", key: str = "k", now: float = 100.0, **fields: Any) -> Document:
    namespace = fields.pop("namespace", "n")
    made, _ = read_document({"tenant": tenant, "text": text, "key": key} | fields, namespace, now)
    return made


def chunk(of: Document, place: int = 0, text: str = "apple") -> Chunk:
    fields = of.model_dump(include={"tenant", "namespace", "key", "source", "importance", "filters", "order"})
    return Chunk(
        id=chunk_id(of.id, place, text, ()), document=of.id, place=place, text=text, created_at=of.order, **fields
    )


async def ready(store: KnowledgeStore, made: Document, *texts: str) -> Document:
    """Added, with a chunk for each text, and in force."""
    added, _ = await store.add(made)
    chunks = [chunk(added, place, text) for place, text in enumerate(texts or ["apple"])]
    await store.put(chunks, [{"bm25": APPLE} for _ in chunks])
    finished = await store.finish(added, {"chunks": len(chunks)})
    assert finished is not None
    return finished


async def found(store: KnowledgeStore, tenant: str, namespace: str = "n", **filters: Any) -> list[str]:
    scope = KnowledgeScope(tenant=tenant, namespace=namespace, filters=filters)
    return sorted(chunk.text for chunk, _ in await store.search("bm25", APPLE, scope, 50))


class KnowledgeContract:
    """The store may be shared by the tests: each takes tenants of its own."""

    # --- documents

    async def test_a_document_comes_back_as_it_was_given(self, knowledge: KnowledgeStore) -> None:
        given = document(new_tenant(), filters={"lang": "de", "n": "1"}, metadata={"a": [1, None]}, title="T")
        added, new = await knowledge.add(given)
        assert new
        assert added == given.model_copy(update={"id": added.id, "order": added.order})
        assert await knowledge.document(added.id) == added
        assert await knowledge.document(str(uuid4())) is None

    async def test_the_same_document_is_nothing_new_while_it_waits_and_when_it_is_ready(
        self, knowledge: KnowledgeStore
    ) -> None:
        given = document(tenant := new_tenant())
        first, _ = await knowledge.add(given)
        assert await knowledge.add(given.model_copy(update={"created_at": 200.0})) == (first, False)
        made = await ready(knowledge, given)
        assert await knowledge.add(given) == (made, False)
        assert await knowledge.count(DocumentFilter(tenant=tenant)) == 1

    @pytest.mark.parametrize(
        "change", [{"text": "other"}, {"importance": 0.5}, {"filters": {"a": "b"}}, {"title": "x"}]
    )
    async def test_another_content_or_other_words_about_it_are_another_version(
        self, knowledge: KnowledgeStore, change: dict[str, Any]
    ) -> None:
        first = await ready(knowledge, document(tenant := new_tenant()))
        second, new = await knowledge.add(document(tenant, **change))
        assert new
        assert second.id != first.id
        assert second.order > first.order

    async def test_a_version_may_come_again_after_another(self, knowledge: KnowledgeStore) -> None:
        tenant = new_tenant()
        for text in ("a", "b", "a"):
            await ready(knowledge, document(tenant, text), f"apple {text}")
        assert await found(knowledge, tenant) == ["apple a"]
        statuses = [
            made.status for made in (await knowledge.page(DocumentFilter(tenant=tenant), cursor=None, limit=9)).items
        ]
        assert statuses == ["ready", "replaced", "replaced"]

    async def test_one_that_failed_is_tried_again(self, knowledge: KnowledgeStore) -> None:
        given = document(new_tenant())
        added, _ = await knowledge.add(given)
        await knowledge.note(added.id, {"status": "failed", "error": "no text"})
        again, new = await knowledge.add(given)
        assert (again.id, again.status, again.error, new) == (added.id, "pending", None, True)

    async def test_documents_are_listed_by_state_page_after_page(self, knowledge: KnowledgeStore) -> None:
        tenant = new_tenant()
        added = [(await knowledge.add(document(tenant, key=f"k{n}")))[0] for n in range(5)]
        await knowledge.note(added[2].id, {"status": "failed"})
        where, cursor, listed = DocumentFilter(tenant=tenant, namespace="n", status="pending"), None, list[str]()
        while True:
            page = await knowledge.page(where, cursor=cursor, limit=2)
            listed += [made.key for made in page.items]
            if (cursor := page.next) is None:
                break
        assert sorted(listed) == ["k0", "k1", "k3", "k4"]
        assert await knowledge.count(where) == 4
        with pytest.raises(InputRefusedError, match="cursor"):
            await knowledge.page(where, cursor="x", limit=2)

    async def test_an_ended_document_is_not_changed_by_a_late_note(self, knowledge: KnowledgeStore) -> None:
        made = await ready(knowledge, document(new_tenant()))
        await knowledge.note(made.id, {"status": "failed"})
        assert await knowledge.document(made.id) == made

    # --- in force

    async def test_chunks_are_found_only_once_the_document_is_finished(self, knowledge: KnowledgeStore) -> None:
        added, _ = await knowledge.add(document(tenant := new_tenant()))
        await knowledge.put([chunk(added)], [{"bm25": APPLE}])
        assert await found(knowledge, tenant) == []
        await knowledge.finish(added, {})
        assert await found(knowledge, tenant) == ["apple"]
        assert (await knowledge.in_force(tenant, "n", "k")) == await knowledge.document(added.id)

    async def test_the_old_version_is_found_until_the_new_one_is_and_then_is_gone(
        self, knowledge: KnowledgeStore
    ) -> None:
        old = await ready(knowledge, document(tenant := new_tenant(), "old"), "old apple")
        new, _ = await knowledge.add(document(tenant, "new"))
        await knowledge.put([chunk(new, 0, "new apple")], [{"bm25": APPLE}])
        assert await found(knowledge, tenant) == ["old apple"]
        await knowledge.finish(new, {})
        assert await found(knowledge, tenant) == ["new apple"]
        replaced = await knowledge.document(old.id)
        assert replaced is not None
        assert replaced.status == "replaced"
        assert await knowledge.chunk_ids(old.id) == set()

    async def test_of_two_versions_on_their_way_the_later_one_wins_in_whatever_order_they_end(
        self, knowledge: KnowledgeStore
    ) -> None:
        first, _ = await knowledge.add(document(tenant := new_tenant(), "first"))
        later, _ = await knowledge.add(document(tenant, "later"))
        for made in (later, first):
            await knowledge.put([chunk(made, 0, f"apple {made.id}")], [{"bm25": APPLE}])
            await knowledge.finish(made, {})
        assert await found(knowledge, tenant) == [f"apple {later.id}"]
        ended = await knowledge.document(first.id)
        assert ended is not None
        assert ended.status == "replaced"
        assert await knowledge.chunk_ids(first.id) == set()

    async def test_finishing_again_changes_nothing(self, knowledge: KnowledgeStore) -> None:
        made = await ready(knowledge, document(tenant := new_tenant()))
        assert await knowledge.finish(made, {"chunks": 9}) == made
        assert await found(knowledge, tenant) == ["apple"]

    # --- deleting

    async def test_what_is_deleted_is_not_found_nor_counted_nor_brought_back_by_its_reader(
        self, knowledge: KnowledgeStore
    ) -> None:
        made = await ready(knowledge, document(tenant := new_tenant(), "one"))
        reading, _ = await knowledge.add(document(tenant, "two"))
        other = await ready(knowledge, document(tenant, key="other"), "apple of another")
        assert await knowledge.delete(DocumentFilter(tenant=tenant, namespace="n", key="k")) == 2
        await knowledge.put([chunk(reading)], [{"bm25": APPLE}])
        assert await knowledge.finish(reading, {}) is None
        assert await found(knowledge, tenant) == ["apple of another"]
        assert await knowledge.chunk_ids(reading.id) | await knowledge.chunk_ids(made.id) == set()
        assert await knowledge.count(DocumentFilter(tenant=tenant)) == 1
        assert await knowledge.document(other.id) == other

    async def test_a_reader_of_a_deleted_document_does_no_harm_to_the_one_added_since(
        self, knowledge: KnowledgeStore
    ) -> None:
        reading, _ = await knowledge.add(document(tenant := new_tenant(), "one"))
        await knowledge.delete(DocumentFilter(tenant=tenant, namespace="n"))
        new = await ready(knowledge, document(tenant, "two", now=101.0), "new apple")
        await knowledge.put([chunk(reading)], [{"bm25": APPLE}])
        assert await knowledge.finish(reading, {}) is None
        assert await knowledge.in_force(tenant, "n", "k") == new
        assert await found(knowledge, tenant) == ["new apple"]

    async def test_one_document_is_deleted_by_its_id(self, knowledge: KnowledgeStore) -> None:
        made = await ready(knowledge, document(tenant := new_tenant()))
        await knowledge.delete_document(made)
        assert await found(knowledge, tenant) == []
        assert await knowledge.document(made.id) is None
        assert await knowledge.in_force(tenant, "n", "k") is None
        again = await ready(knowledge, document(tenant))
        assert again.status == "ready"

    async def test_content_is_held_as_long_as_some_document_has_it(self, knowledge: KnowledgeStore) -> None:
        text = uuid4().hex
        one, _ = await knowledge.add(document(new_tenant(), text))
        other, _ = await knowledge.add(document(new_tenant(), text))
        await knowledge.delete_document(one)
        assert await knowledge.holds(one.digest)
        await knowledge.delete_document(other)
        assert not await knowledge.holds(one.digest)

    async def test_chunks_that_a_killed_reader_left_of_a_deleted_document_are_swept(
        self, knowledge: KnowledgeStore
    ) -> None:
        gone, _ = await knowledge.add(document(tenant := new_tenant()))
        kept, _ = await knowledge.add(document(tenant, key="kept"))
        await knowledge.delete(DocumentFilter(tenant=tenant, namespace="n", key="k"))
        await knowledge.put([chunk(gone), chunk(kept)], [{"bm25": APPLE}] * 2)
        await knowledge.sweep(1_000)
        assert await knowledge.chunk_ids(gone.id) == set()
        assert len(await knowledge.chunk_ids(kept.id)) == 1

    # --- search

    async def test_two_tenants_with_the_same_words_find_only_their_own(self, knowledge: KnowledgeStore) -> None:
        await knowledge.add_model(MODEL, 3)
        tenants = [new_tenant(), new_tenant()]
        for tenant in tenants:
            added, _ = await knowledge.add(document(tenant, "the same words"))
            await knowledge.put([chunk(added)], [{"bm25": APPLE, MODEL: EAST}])
            await knowledge.finish(added, {})
        for tenant in tenants:
            for vector, query in ((MODEL, EAST), ("bm25", APPLE)):
                hits = await knowledge.search(vector, query, KnowledgeScope(tenant=tenant, namespace="n"), 50)
                assert [hit.tenant for hit, _ in hits] == [tenant]
        assert await found(knowledge, "") == []

    async def test_a_namespace_finds_only_its_own(self, knowledge: KnowledgeStore) -> None:
        tenant = new_tenant()
        for namespace in ("n", "other"):
            await ready(knowledge, document(tenant, namespace=namespace), f"apple in {namespace}")
        assert await found(knowledge, tenant, "other") == ["apple in other"]

    async def test_of_each_filter_one_of_the_values_must_hold(self, knowledge: KnowledgeStore) -> None:
        tenant = new_tenant()
        for key, filters in {"a": {"lang": "de", "year": "1"}, "b": {"lang": "en", "year": "1"}, "c": {}}.items():
            await ready(knowledge, document(tenant, key=key, filters=filters), f"apple {key}")
        assert await found(knowledge, tenant, lang="de") == ["apple a"]
        assert await found(knowledge, tenant, lang=["de", "en"]) == ["apple a", "apple b"]
        assert await found(knowledge, tenant, lang=["de", "en"], year="1") == ["apple a", "apple b"]
        assert await found(knowledge, tenant, lang="en", year="2") == []

    async def test_a_word_is_as_rare_as_it_is_in_the_scope(self, knowledge: KnowledgeStore) -> None:
        made, _ = await knowledge.add(document(tenant := new_tenant()))
        await ready(knowledge, document(new_tenant()), "apple of another tenant")
        chunks = [chunk(made, place, f"word {place}") for place in range(4)]
        await knowledge.put(chunks, [{"bm25": PEAR if place else APPLE} for place in range(4)])
        await knowledge.finish(made, {})
        worth = await knowledge.worth([1, 2, 3], KnowledgeScope(tenant=tenant, namespace="n"))
        assert worth.keys() == {1, 2}
        assert worth[1] > worth[2]

    async def test_the_chunks_around_a_place_come_in_order(self, knowledge: KnowledgeStore) -> None:
        made = await ready(knowledge, document(new_tenant()), "a", "b", "c", "d")
        assert [near.text for near in await knowledge.around(made.id, 1, 2)] == ["b", "c"]
        assert [near.text for near in await knowledge.around(made.id, 3, 9)] == ["d"]
        assert await knowledge.around(made.id, 0, -1) == []

    # --- vectors

    async def test_chunks_without_vectors_of_a_model_are_due_until_they_have_them(
        self, knowledge: KnowledgeStore
    ) -> None:
        model = f"model-{uuid4().hex[:8]}"
        made = await ready(knowledge, document(tenant := new_tenant()), "apple", "pear")
        await knowledge.add_model(model, 3)
        assert await knowledge.count_unembedded(model) >= 2
        mine = sorted(await knowledge.chunk_ids(made.id))
        await knowledge.embed(model, {mine[0]: EAST, mine[1]: NORTH, str(uuid4()): EAST})
        assert not {due.id for due in await knowledge.unembedded(model, 1_000)} & set(mine)
        hits = await knowledge.search(model, EAST, KnowledgeScope(tenant=tenant, namespace="n"), 9)
        assert [hit.id for hit, _ in hits] == mine
        assert await knowledge.similar(model, EAST, mine) == pytest.approx({mine[0]: 1.0, mine[1]: 0.0}, abs=1e-5)

    async def test_a_model_of_another_size_is_refused(self, knowledge: KnowledgeStore) -> None:
        model = f"model-{uuid4().hex[:8]}"
        await knowledge.add_model(model, 3)
        await knowledge.add_model(model, 3)
        with pytest.raises(StoreError):
            await knowledge.add_model(model, 4)

    # --- callbacks

    async def test_a_callback_is_due_from_its_time_on_until_it_is_noted(self, knowledge: KnowledgeStore) -> None:
        added, _ = await knowledge.add(document(new_tenant(), callback="https://example.org/hook"))
        assert added.id not in {made.id for made in await knowledge.noticed(1e12, 1_000)}
        await knowledge.finish(added, {"notice": "due", "notice_at": 50.0})
        assert added.id not in {made.id for made in await knowledge.noticed(49.0, 1_000)}
        assert added.id in {made.id for made in await knowledge.noticed(50.0, 1_000)}
        await knowledge.note_notice(added.id, {"notice": "delivered"})
        await knowledge.note_notice(added.id, {"notice": "due"})
        assert added.id not in {made.id for made in await knowledge.noticed(1e12, 1_000)}
