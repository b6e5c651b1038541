"""activities.ports.KnowledgeStore on one Qdrant collection, whatever engine holds it.

Documents stand in the collection of their chunks rather than among the records: what is deleted under a key goes in one
operation, whole, and nothing else has to know these fields. Points are told apart by `kind`: a `document` without
vectors, its `chunk`s, and one `slot` for each key.

The slot says which version of a key is in force. It is one point, so one write switches from the old version to the new,
whatever the number of chunks and of shards; chunks of both may be marked as ready for a moment, and search leaves out
those that are not of the version in their slot. A slot is made when a document is added and never by its reader, so a
reader that was overtaken by a delete brings nothing back; it moves only to versions of a later `order`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from adapters import qdrant_points as points
from adapters.knowledge_points import (
    CHUNKS,
    DOCUMENT,
    DOCUMENTS,
    SLOT,
    chunk_of,
    chunk_payload,
    document_of,
    document_payload,
    documents_where,
    place_of,
    within,
    without_vectors,
)
from adapters.qdrant_points import Where
from adapters.qdrant_store import Collection, page_of
from domain.knowledge import Chunk, Document, DocumentFilter, KnowledgeScope, document_id, slot_id
from domain.messages import Page
from domain.vectors import Vector

TICK_S = 0.001  # between two versions of a key, by `order`
WRITTEN_AT_ONCE = 16  # points: the embedded store does not wait while it writes, and others do


class QdrantKnowledge:
    """See the port."""

    def __init__(self, chunks: Collection) -> None:
        self._points = chunks

    # --- documents

    async def add(self, document: Document) -> tuple[Document, bool]:
        slot = await self._slot(document, made_at=document.created_at)
        current = await self.document(slot["current"]) if slot["current"] else None
        waiting = await self._latest_pending(document)
        for known in (waiting, current):
            if known is None:
                continue
            if known.version == document.version:
                return known, False
            break
        after = waiting or current
        order = max([document.created_at, slot["order"] + TICK_S, *([after.order + TICK_S] if after else [])])
        named = document.model_copy(
            update={"id": document_id(document, after.id if after else ""), "order": round(order, 3)}
        )
        return await self._insert(named)

    async def document(self, document_id: str) -> Document | None:
        found = await self._points.get([document_id])
        return next((document_of(payload) for payload in found if payload.get("kind") == DOCUMENT), None)

    async def in_force(self, tenant: str, namespace: str, key: str) -> Document | None:
        slots = await self._points.get([slot_id(tenant, namespace, key)])
        current = slots[0]["current"] if slots else ""
        return await self.document(current) if current else None

    async def page(self, where: DocumentFilter, *, cursor: str | None, limit: int) -> Page[Document]:
        rows, after = await page_of(self._points, documents_where(where), "order", cursor, limit, newest_first=True)
        return Page(items=[document_of(payload) for _, payload in rows], next=after)

    async def count(self, where: DocumentFilter) -> int:
        return await self._points.count(documents_where(where))

    async def pending(self, limit: int) -> list[Document]:
        where = Where(equal=DOCUMENTS | {"status": "pending"})
        return [document_of(row) for _, row in await self._points.scroll(where, "order", limit, newest_first=False)]

    async def count_pending(self) -> int:
        return await self._points.count(Where(equal=DOCUMENTS | {"status": "pending"}))

    async def note(self, document_id: str, changes: dict[str, Any]) -> None:
        await self._points.change(Where(document_id, equal={"status": "pending"}), points.payload(changes))

    async def delete(self, where: DocumentFilter) -> int:
        assert where.namespace is not None, "never all of a tenant by mistake"
        held = {name: value for name, value in where.model_dump().items() if name in {"tenant", "namespace", "key"}}
        equal = {name: value for name, value in held.items() if value is not None}
        count = await self._points.count(Where(equal=equal | DOCUMENTS))
        await self._points.delete(Where(equal=equal))
        return count

    async def delete_document(self, document: Document) -> None:
        slot = slot_id(document.tenant, document.namespace, document.key)
        await self._points.change(Where(slot, equal={"current": document.id}), {"current": ""})
        await self._points.delete(Where(document.id))  # before its chunks: its reader finds that it is gone
        await self._points.delete(Where(equal=CHUNKS | {"document": document.id}))

    async def holds(self, digest: str) -> bool:
        return await self._points.count(Where(equal=DOCUMENTS | {"digest": digest})) > 0

    async def _insert(self, document: Document) -> tuple[Document, bool]:
        """Keep it, or try again what failed; the slot once more, in case of a delete just before."""
        known = await self.document(document.id)
        await self._points.insert({document.id: document_payload(document)})
        again = {"status": "pending", "error": None, "order": document.order, "updated_at": document.updated_at}
        again |= {"notice": None, "notice_tries": 0, "callback": document.callback}
        await self._points.change(Where(document.id, equal={"status": "failed"}), points.payload(again))
        await self._slot(document, made_at=document.order)
        found = await self.document(document.id)
        return found or document, known is None or known.status == "failed"

    async def _slot(self, document: Document, made_at: float) -> dict[str, Any]:
        point_id = slot_id(document.tenant, document.namespace, document.key)
        place = document.model_dump(include={"tenant", "namespace", "key"})
        # Made at the time of the first document: what was read for one that is deleted by now is of an earlier order.
        await self._points.insert(
            {point_id: place | {"kind": SLOT, "current": "", "order": round(made_at, 3) - TICK_S}}
        )
        found = await self._points.get([point_id])
        return found[0] if found else {"current": "", "order": 0.0}

    async def _latest_pending(self, document: Document) -> Document | None:
        equal = DOCUMENTS | place_of(document) | {"status": "pending"}
        rows = await self._points.scroll(Where(equal=equal), "order", 1, newest_first=True)
        return document_of(rows[0][1]) if rows else None

    # --- reading one

    async def put(self, chunks: Sequence[Chunk], vectors: Sequence[dict[str, Vector]]) -> None:
        pairs = list(zip(chunks, vectors, strict=True))
        for start in range(0, len(pairs), WRITTEN_AT_ONCE):
            some = pairs[start : start + WRITTEN_AT_ONCE]
            payloads = {chunk.id: chunk_payload(chunk) for chunk, _ in some}
            await self._points.insert(payloads, {chunk.id: named for chunk, named in some})
            await asyncio.sleep(0)

    async def chunk_ids(self, document_id: str) -> set[str]:
        where = Where(equal=CHUNKS | {"document": document_id})
        found: set[str] = set()
        after: str | None = None
        while rows := await self._points.walk(where, after, 1_000, "context"):
            found |= {row_id for row_id, _ in rows}
            after = rows[-1][0]
        return found

    async def drop(self, chunk_ids: Sequence[str]) -> None:
        await self._points.delete(Where(point_ids=chunk_ids, equal=CHUNKS))

    async def finish(self, document: Document, changes: dict[str, Any]) -> Document | None:
        own = Where(equal=CHUNKS | {"document": document.id})
        await self._points.change(own, {"status": "ready"})  # found from the next write on
        slot = slot_id(document.tenant, document.namespace, document.key)
        moved = {"current": document.id, "order": document.order}
        if await self.document(document.id) is not None:
            await self._points.change(Where(slot, at_most={"order": document.order}), moved)
        found = await self._points.get([slot])
        current = found[0]["current"] if found else ""
        if current == document.id:
            await self._retire_before(document)
            await self.note(document.id, changes | {"status": "ready"})
        else:
            await self._points.delete(own)
            await self.note(document.id, changes | {"status": "replaced"})
        row = await self.document(document.id)
        if row is None:  # deleted meanwhile, perhaps behind the look above
            await self._points.change(Where(slot, equal={"current": document.id}), {"current": ""})
            await self._points.delete(own)
        return row

    async def sweep(self, limit: int) -> int:
        rows = await self._points.scroll(
            Where(equal=CHUNKS | {"status": "pending"}), "created_at", limit, newest_first=False
        )
        owners = {payload["document"] for _, payload in rows}
        there = {payload["id"] for payload in await self._points.get(sorted(owners))} if owners else set()
        stray = [row_id for row_id, payload in rows if payload["document"] not in there]
        if stray:
            await self.drop(stray)
        return len(stray)

    async def _retire_before(self, document: Document) -> None:
        before = {"order": document.order}
        replaced = {"status": "replaced", "updated_at": document.updated_at}
        old = Where(equal=DOCUMENTS | place_of(document) | {"status": "ready"}, below=before)
        await self._points.delete(Where(equal=CHUNKS | place_of(document), below=before))
        await self._points.change(old, replaced)

    # --- search

    async def search(self, vector: str, query: Vector, scope: KnowledgeScope, limit: int) -> list[tuple[Chunk, float]]:
        found = await self._points.search(vector, query, within(scope), limit)
        chunks = [(chunk_of(payload), score) for _, score, payload in found]
        return await self._in_force(chunks)

    async def worth(self, numbers: Sequence[int], scope: KnowledgeScope) -> dict[int, float]:
        return await self._points.worth(points.SPARSE_VECTOR, numbers, within(scope))

    async def similar(self, vector: str, query: Vector, chunk_ids: Sequence[str]) -> dict[str, float]:
        if not chunk_ids:
            return {}
        found = await self._points.search(vector, query, Where(point_ids=chunk_ids), len(chunk_ids))
        return {point_id: score for point_id, score, _ in found}

    async def around(self, document_id: str, first: int, last: int) -> list[Chunk]:
        if last < first:
            return []
        where = Where(
            equal=CHUNKS | {"document": document_id}, at_least={"place": float(first)}, at_most={"place": float(last)}
        )
        rows = await self._points.scroll(where, "place", last - first + 1, newest_first=False)
        return [chunk_of(payload) for _, payload in rows]

    async def _in_force(self, found: list[tuple[Chunk, float]]) -> list[tuple[Chunk, float]]:
        slots = {slot_id(chunk.tenant, chunk.namespace, chunk.key) for chunk, _ in found}
        current = {slot["current"] for slot in await self._points.get(sorted(slots))} if slots else set()
        return [(chunk, score) for chunk, score in found if chunk.document in current]

    # --- vectors

    async def add_model(self, name: str, dimensions: int) -> None:
        await self._points.add_vector(name, dimensions)

    async def drop_model(self, name: str) -> None:
        await self._points.drop_vector(name)

    async def unembedded(self, model: str, limit: int) -> list[Chunk]:
        rows = await self._points.scroll(without_vectors(model), "created_at", limit, newest_first=False)
        return [chunk_of(payload) for _, payload in rows]

    async def count_unembedded(self, model: str) -> int:
        return await self._points.count(without_vectors(model))

    async def embed(self, model: str, vectors: Mapping[str, Vector]) -> None:
        await self._points.place({chunk_id: {model: vector} for chunk_id, vector in vectors.items()})
        await self._points.change(Where(point_ids=list(vectors)), {"embedded": model})

    # --- callbacks

    async def noticed(self, before: float, limit: int) -> list[Document]:
        where = Where(equal=DOCUMENTS | {"notice": "due"}, at_most={"notice_at": before})
        rows = await self._points.scroll(where, "notice_at", limit, newest_first=False)
        return [document_of(payload) for _, payload in rows]

    async def count_noticed(self) -> int:
        return await self._points.count(Where(equal=DOCUMENTS | {"notice": "due"}))

    async def note_notice(self, document_id: str, changes: dict[str, Any]) -> None:
        await self._points.change(Where(document_id, equal={"notice": "due"}), points.payload(changes))
