"""activities.ports.Store on two Qdrant collections, whatever engine holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from adapters import qdrant_points as points
from adapters.qdrant_points import Cursor, Fields, Where
from domain import ids
from domain.erasure import ErasureReceipt
from domain.errors import InputRefusedError, StoreError
from domain.listing import ALL_THREADS, CallFilter, OwnerCount, ThreadFilter
from domain.messages import Message, Page, ThreadRecord
from domain.vectors import Vector

Row = tuple[str, dict[str, Any]]  # a point's id and payload
Scored = tuple[str, float, dict[str, Any]]  # with its score between
Vectors = Mapping[str, Vector]  # by name


class Collection(Protocol):
    """One collection, in payloads. What a call has written, the next call of anybody sees."""

    async def insert(
        self, payloads: Mapping[str, dict[str, Any]], vectors: Mapping[str, Vectors] | None = None
    ) -> None:
        """Create the points that do not exist yet, by id, with the vectors given; leave those that do as they are."""

    async def get(self, point_ids: Sequence[str], fields: Fields = "listed") -> list[dict[str, Any]]:
        """The points that exist, in the order asked for."""

    async def change(self, where: Where, payload: dict[str, Any]) -> None:
        """Set some fields where the filter holds, in one step that no other write can come between.

        Unlike an upsert it leaves the point's vectors as they are.
        """

    async def scroll(
        self,
        where: Where,
        key: str,
        limit: int,
        *,
        newest_first: bool,
        start: float | None = None,
        fields: Fields = "listed",
    ) -> list[Row]:
        """Points ordered by an indexed number, from the value `start` on."""

    async def walk(self, where: Where, after: str | None, limit: int, fields: Fields = "listed") -> list[Row]:
        """Points in the order of their ids, those behind `after`: for going over all of them, whatever is added."""

    async def search(
        self, vector: str, query: Vector, where: Where, limit: int, fields: Fields = "listed"
    ) -> list[Scored]:
        """The nearest points by one vector, best first: cosine similarity, or the weight of the words in common.

        How rare a word is, is taken from the points for which the filter holds. Empty if no point has a vector of that name.
        """

    async def worth(self, vector: str, indices: Sequence[int], where: Where) -> dict[int, float]:
        """What the engine multiplies each number of a sparse vector with; without those that no point has."""

    async def place(self, vectors: Mapping[str, Vectors]) -> None:
        """Set vectors of points by id, beside the others they have; points that do not exist are left out."""

    async def vectors(self, point_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Vector]]:
        """Those of the vectors that the points have, by id and name."""

    async def count(self, where: Where) -> int: ...

    async def delete(self, where: Where) -> None: ...

    async def add_vector(self, name: str, dimensions: int) -> None:
        """Make room for a dense vector of that name; nothing if there is. Raises: StoreError if it is of another size."""

    async def drop_vector(self, name: str) -> None:
        """Forget the vectors of that name of all points."""


class QdrantStore(ABC):
    """The store's methods. How it is opened and closed is its adapter's."""

    def __init__(self, messages: Collection, records: Collection) -> None:
        self._messages = messages
        self._records = records

    @abstractmethod
    def collection(self, name: str) -> Collection:
        """One of qdrant_points.INDEXES."""

    # --- messages

    async def insert(self, messages: Sequence[Message]) -> None:
        if messages:
            await self._messages.insert({message.id: points.message_payload(message) for message in messages})

    async def get(self, message_ids: Sequence[str]) -> list[Message]:
        found = await self._messages.get(message_ids, "all") if message_ids else []
        return [points.message_of(payload) for payload in found]

    async def amend(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        return await self._hold(points.may_write(message_id, attempt), message_id, attempt, changes)

    async def reopen(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        return await self._hold(points.may_reopen(message_id, attempt), message_id, attempt, changes)

    async def annotate(self, message_id: str, changes: dict[str, Any]) -> None:
        await self._messages.change(Where(message_id), points.payload(changes))

    async def history(self, thread: str, before_seq: int, limit: int) -> list[Message]:
        where = Where(
            equal={"thread": thread}, unequal={"status": ["pending", "refused"]}, below={"seq": float(before_seq)}
        )
        rows = await self._messages.scroll(where, "seq", limit, newest_first=True, fields="context")
        return [points.message_of(payload) for _, payload in reversed(rows)]

    async def page(self, thread: str, *, cursor: str | None, limit: int, newest_first: bool) -> Page[Message]:
        where = Where(equal={"thread": thread})
        rows, after = await page_of(self._messages, where, "seq", cursor, limit, newest_first=newest_first)
        return Page(items=[points.message_of(payload) for _, payload in rows], next=after)

    async def open_prompts(self, thread: str | None, limit: int) -> list[Message]:
        where = Where(equal={"role": "user", "status": "pending"} | ({"thread": thread} if thread is not None else {}))
        rows = await self._messages.scroll(where, "seq", limit, newest_first=False)
        return [points.message_of(payload) for _, payload in rows]

    async def recent_prompts(self, thread: str, limit: int) -> list[Message]:
        where = Where(
            equal={"thread": thread, "role": "user"},
            unequal={"status": ["refused"]},
            below={"seq": float(ids.WAITING_SEQ)},
        )
        rows = await self._messages.scroll(where, "seq", limit, newest_first=True)
        return [points.message_of(payload) for _, payload in reversed(rows)]

    async def waiting_calls(self, where: CallFilter, *, cursor: str | None, limit: int) -> Page[Message]:
        held = Where(equal={"status": "pending"} | where.model_dump(exclude_none=True))
        rows, after = await page_of(self._messages, held, "created_at", cursor, limit, newest_first=False)
        return Page(items=[points.message_of(payload) for _, payload in rows], next=after)

    async def _hold(self, fence: Where, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        await self._messages.change(fence, points.payload(changes) | {"attempt": attempt})
        return next(map(points.message_of, await self._messages.get([message_id])), None)

    # --- records

    async def insert_thread(self, record: ThreadRecord) -> ThreadRecord:
        new = {points.thread_point_id(record.thread): points.thread_payload(record)}
        if record.owner:  # for the list of them
            new[points.owner_point_id(record.tenant, record.owner)] = points.owner_payload(record)
        await self._records.insert(new)
        return await self._thread(record.thread)

    async def get_thread(self, thread: str) -> ThreadRecord | None:
        found = await self._records.get([points.thread_point_id(thread)])
        return points.thread_of(found[0]) if found else None

    async def open_epoch(self, thread: str, epoch: int, run_id: str) -> ThreadRecord:
        where = Where(points.thread_point_id(thread), equal={"epoch": epoch})
        await self._records.change(where, {"epoch": epoch + 1, "run_id": run_id})
        return await self._thread(thread)

    async def end_turn(self, thread: str, turn: int, changes: dict[str, Any]) -> None:
        where = Where(points.thread_point_id(thread), at_most={"turns": turn}, unequal=points.NOT_DELETED)
        await self._records.change(where, points.payload(changes) | {"turns": turn})

    async def page_threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None, limit: int
    ) -> Page[ThreadRecord]:
        held = points.threads_where(where)
        rows, after = await page_of(self._records, held, "updated_at", cursor, limit, newest_first=True)
        return Page(items=[points.thread_of(payload) for _, payload in rows], next=after)

    async def page_owners(self, tenant: str | None, *, cursor: str | None, limit: int) -> Page[OwnerCount]:
        where = Where(equal={"kind": "owner"} | ({"tenant": tenant} if tenant is not None else {}))
        rows = await self._records.walk(where, _point_id(cursor) if cursor else None, limit + 1)
        found = [await self._counted(payload["tenant"], payload["owner"]) for _, payload in rows[:limit]]
        return Page(items=found, next=rows[limit - 1][0] if len(rows) > limit else None)

    async def _counted(self, tenant: str, owner: str) -> OwnerCount:
        where = points.threads_where(ThreadFilter(tenant=tenant, owner=owner))
        return OwnerCount(tenant=tenant, owner=owner, threads=await self._records.count(where))

    async def get_receipt(self, erasure: str) -> ErasureReceipt | None:
        found = await self._records.get([points.receipt_point_id(erasure)])
        return ErasureReceipt.model_validate_json(found[0]["receipt"]) if found else None

    async def save_checkpoint(self, thread: str, epoch: int, turn: int, state: dict[str, Any]) -> None:
        point_id, payload = points.checkpoint_point_id(thread), points.checkpoint_payload(thread, epoch, turn, state)
        await self._records.insert({point_id: payload})
        await self._records.change(Where(point_id, at_most={"rank": payload["rank"]}), payload)

    async def load_checkpoint(self, thread: str) -> dict[str, Any] | None:
        found = await self._records.get([points.checkpoint_point_id(thread)])
        return points.checkpoint_state(found[0]) if found else None

    async def _thread(self, thread: str) -> ThreadRecord:
        record = await self.get_thread(thread)
        if record is None:
            raise StoreError(f"the record of thread {thread} vanished while it was read")
        return record


def _point_id(cursor: str) -> str:
    """Raises: InputRefusedError if it is none of ours."""
    try:
        return str(UUID(cursor))
    except ValueError:
        raise InputRefusedError("cursor: not one that a page before this gave; leave it out to start over") from None


async def page_of(
    collection: Collection, where: Where, key: str, cursor: str | None, limit: int, *, newest_first: bool
) -> tuple[list[Row], str | None]:
    """Some rows in order, and the cursor of the next page or None."""
    before = Cursor.decode(cursor) if cursor else None
    seen = before.seen if before else ()
    start = before.value if before else None
    rows = await collection.scroll(where, key, limit + len(seen) + 1, newest_first=newest_first, start=start)
    fresh = [row for row in rows if row[0] not in seen]
    given = fresh[:limit]
    if len(fresh) <= limit or not given:
        return given, None
    return given, Cursor.after([(row_id, payload[key]) for row_id, payload in given], before).encode()
