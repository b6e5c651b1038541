"""The embedded store: Qdrant Edge, the engine of Qdrant in this process, on disk.

It belongs to one process. It holds Python's lock while it works, so calls are short (under a millisecond) and made in
place rather than in a thread; `optimize()` takes seconds to minutes and is never called here. What a call has written
survives kill -9 of the process without a flush: it is in the write-ahead log.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from adapters import qdrant_points as points
from adapters.qdrant_points import Cursor, Where
from domain import ids
from domain.errors import StoreBusyError, StoreError
from domain.listing import ALL_THREADS, ThreadFilter
from domain.messages import Message, Page, ThreadRecord

_INDEX_TYPES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
}
_HOLDER = "holder.pid"
_WITHOUT_RAW = edge.PayloadSelector.Exclude(["raw"])  # the provider's object is large, and rarely wanted
_OF_CONTEXT = edge.PayloadSelector.Include(list(points.OF_CONTEXT))


class EdgeStore:
    """activities.ports.Store on one folder."""

    def __init__(self, folder: Path) -> None:
        """Raises: StoreBusyError if another process has the folder open, StoreError if it cannot be opened."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._messages = _Shard(folder, points.MESSAGES)
        try:
            self._records = _Shard(folder, points.RECORDS)
        except StoreError:
            self._messages.close()
            raise
        (folder / _HOLDER).write_text(str(os.getpid()))

    def close(self) -> None:
        """Flush and let go of the folder."""
        self._messages.close()
        self._records.close()
        (self._folder / _HOLDER).unlink(missing_ok=True)

    # --- messages

    async def insert(self, messages: Sequence[Message]) -> None:
        self._messages.insert({message.id: points.message_payload(message) for message in messages})

    async def get(self, message_ids: Sequence[str]) -> list[Message]:
        return [points.message_of(payload) for payload in self._messages.get(message_ids, whole=True)]

    async def amend(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        fence = points.may_write(message_id, attempt)
        self._messages.change(fence, points.payload(changes) | {"attempt": attempt})
        return next(map(points.message_of, self._messages.get([message_id])), None)

    async def reopen(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        fence = points.may_reopen(message_id, attempt)
        self._messages.change(fence, points.payload(changes) | {"attempt": attempt})
        return next(map(points.message_of, self._messages.get([message_id])), None)

    async def annotate(self, message_id: str, changes: dict[str, Any]) -> None:
        self._messages.change(Where(message_id), points.payload(changes))

    async def history(self, thread: str, before_seq: int, limit: int) -> list[Message]:
        where = Where(
            equal={"thread": thread}, unequal={"status": ["pending", "refused"]}, below={"seq": float(before_seq)}
        )
        rows = self._messages.scroll(where, "seq", limit, newest_first=True, fields=_OF_CONTEXT)
        return [points.message_of(payload) for _, payload in reversed(rows)]

    async def page(self, thread: str, *, cursor: str | None, limit: int, newest_first: bool) -> Page[Message]:
        where = Where(equal={"thread": thread})
        rows, after = self._messages.page(where, "seq", cursor, limit, newest_first=newest_first)
        return Page(items=[points.message_of(payload) for _, payload in rows], next=after)

    async def open_prompts(self, thread: str | None, limit: int) -> list[Message]:
        where = Where(equal={"role": "user", "status": "pending"} | ({"thread": thread} if thread is not None else {}))
        rows = self._messages.scroll(where, "seq", limit, newest_first=False)
        return [points.message_of(payload) for _, payload in rows]

    async def recent_prompts(self, thread: str, limit: int) -> list[Message]:
        where = Where(
            equal={"thread": thread, "role": "user"},
            unequal={"status": ["refused"]},
            below={"seq": float(ids.WAITING_SEQ)},
        )
        rows = self._messages.scroll(where, "seq", limit, newest_first=True)
        return [points.message_of(payload) for _, payload in reversed(rows)]

    # --- records

    async def insert_thread(self, record: ThreadRecord) -> ThreadRecord:
        self._records.insert({points.thread_point_id(record.thread): points.thread_payload(record)})
        return await self._thread(record.thread)

    async def get_thread(self, thread: str) -> ThreadRecord | None:
        found = self._records.get([points.thread_point_id(thread)])
        return points.thread_of(found[0]) if found else None

    async def open_epoch(self, thread: str, epoch: int, run_id: str) -> ThreadRecord:
        where = Where(points.thread_point_id(thread), equal={"epoch": epoch})
        self._records.change(where, {"epoch": epoch + 1, "run_id": run_id})
        return await self._thread(thread)

    async def end_turn(self, thread: str, turn: int, changes: dict[str, Any]) -> None:
        where = Where(points.thread_point_id(thread), at_most={"turns": turn})
        self._records.change(where, points.payload(changes) | {"turns": turn})

    async def page_threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None, limit: int
    ) -> Page[ThreadRecord]:
        rows, after = self._records.page(points.threads_where(where), "updated_at", cursor, limit, newest_first=True)
        return Page(items=[points.thread_of(payload) for _, payload in rows], next=after)

    async def save_checkpoint(self, thread: str, epoch: int, turn: int, state: dict[str, Any]) -> None:
        point_id, payload = points.checkpoint_point_id(thread), points.checkpoint_payload(thread, epoch, turn, state)
        self._records.insert({point_id: payload})
        self._records.change(Where(point_id, at_most={"rank": payload["rank"]}), payload)

    async def load_checkpoint(self, thread: str) -> dict[str, Any] | None:
        found = self._records.get([points.checkpoint_point_id(thread)])
        return points.checkpoint_state(found[0]) if found else None

    async def _thread(self, thread: str) -> ThreadRecord:
        record = await self.get_thread(thread)
        if record is None:
            raise StoreError(f"the record of thread {thread} vanished while it was read")
        return record


class _Shard:
    """One collection, in payloads."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / name
        try:
            self._shard = edge.EdgeShard.load(str(path)) if path.exists() else _create(path, name)
        except Exception as error:
            raise _cannot_open(folder, error) from error

    def close(self) -> None:
        self._shard.close()

    def insert(self, payloads: dict[str, dict[str, Any]]) -> None:
        if payloads:
            new = [edge.Point(point_id, {}, payload) for point_id, payload in payloads.items()]
            self._shard.update(edge.UpdateOperation.upsert_points(new, update_mode=edge.UpdateMode.InsertOnly))

    def get(self, point_ids: Sequence[str], *, whole: bool = False) -> list[dict[str, Any]]:
        records = self._shard.retrieve(list(point_ids), True if whole else _WITHOUT_RAW, False)
        found = {str(record.id): record.payload for record in records}
        return [found[point_id] or {} for point_id in point_ids if point_id in found]

    def change(self, where: Where, payload: dict[str, Any]) -> None:
        """Set some fields where the filter holds; unlike an upsert it leaves the point's vectors as they are."""
        self._shard.update(edge.UpdateOperation.set_payload_by_filter(_filter(where), payload))

    def scroll(
        self,
        where: Where,
        key: str,
        limit: int,
        *,
        newest_first: bool,
        start: float | None = None,
        fields: edge.PayloadSelector = _WITHOUT_RAW,
    ) -> list[tuple[str, dict[str, Any]]]:
        direction = edge.Direction.Desc if newest_first else edge.Direction.Asc
        order = edge.OrderBy(key, direction, start_from=start)
        request = edge.ScrollRequest(limit=limit, filter=_filter(where), with_payload=fields, order_by=order)
        records, _ = self._shard.scroll(request)
        return [(str(record.id), record.payload or {}) for record in records]

    def page(
        self, where: Where, key: str, cursor: str | None, limit: int, *, newest_first: bool
    ) -> tuple[list[tuple[str, dict[str, Any]]], str | None]:
        """Some rows in order, and the cursor of the next page or None."""
        before = Cursor.decode(cursor) if cursor else None
        seen = before.seen if before else ()
        start = before.value if before else None
        rows = self.scroll(where, key, limit + len(seen) + 1, newest_first=newest_first, start=start)
        fresh = [row for row in rows if row[0] not in seen]
        given = fresh[:limit]
        if len(fresh) <= limit or not given:
            return given, None
        return given, Cursor.after([(row_id, payload[key]) for row_id, payload in given], before).encode()


def _create(path: Path, name: str) -> Any:
    sparse = {points.SPARSE_VECTOR: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)}
    # A folder is only taken for a shard when it is whole: a process killed here leaves a folder of another name.
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)  # in a container, pids repeat
    shard = edge.EdgeShard.create(_made(fresh), edge.EdgeConfig(sparse_vectors=sparse))
    for field, kind in points.INDEXES[name].items():
        shard.update(edge.UpdateOperation.create_field_index(field, _INDEX_TYPES[kind]))
    shard.close()
    fresh.rename(path)
    return edge.EdgeShard.load(str(path))


def _made(path: Path) -> str:
    path.mkdir(parents=True)
    return str(path)


def _filter(where: Where) -> edge.Filter:
    must: list[Any] = [edge.HasIdCondition({where.point_id})] if where.point_id is not None else []
    must += [edge.FieldCondition(key, match=edge.MatchValue(value)) for key, value in where.equal.items()]
    must += [edge.FieldCondition(key, range=edge.RangeFloat(lt=value)) for key, value in where.below.items()]
    must += [edge.FieldCondition(key, range=edge.RangeFloat(lte=value)) for key, value in where.at_most.items()]
    excluded: list[Any] = [
        edge.FieldCondition(key, match=edge.MatchAny(values)) for key, values in where.unequal.items()
    ]
    return edge.Filter(must=must, must_not=excluded or None)


def _cannot_open(folder: Path, error: Exception) -> StoreError:
    if "WouldBlock" not in str(error):
        return StoreError(f"the store in {folder} cannot be opened: {error}")
    holder = folder / _HOLDER
    pid = f" (pid {holder.read_text()})" if holder.exists() else ""
    return StoreBusyError(
        f"the store in {folder} is in use by another process{pid}: stop it, or set EVERTHREAD_DATA_DIR to another folder"
    )
