"""Erasure on Qdrant collections: what is deleted by which filter, tombstones, receipts.

Vectors are parts of their rows, and go with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adapters import qdrant_points as points
from adapters.qdrant_points import Where
from adapters.qdrant_store import Collection
from domain.erasure import DELETED, Erasing, Part
from domain.listing import ThreadFilter
from domain.messages import Message, ThreadRecord
from domain.vectors import Vector

OF_ROWS = ("tenant", "owner", "thread", "turn")
DOCUMENT = "document"  # the kind of a document's own row among its chunks; its digest names a blob
KEPT_RECORDS = ["thread", "receipt"]  # kinds: a thread's record becomes a tombstone
NOT_SUMMARISED: dict[str, Any] = {"summary_through": 0, "compaction": "", "compact_through": 0}  # a thread's record
UNNAMED = {"tenant": "", "owner": ""}


@dataclass(frozen=True)
class CollectionEraser:
    """activities.ports.Eraser. `fields` are those of a part that the rows are known by, with their names in the payload;
    "id" is the row's own. `probes` are vectors by name, of which each finds any row that has one of that name.
    """

    name: str
    collection: Collection
    fields: Mapping[str, str]
    unequal: Mapping[str, list[str]] = field(default_factory=dict)
    probes: Mapping[str, Vector] = field(default_factory=dict)

    async def count(self, part: Part) -> int:
        where = self._where(part)
        return await self.collection.count(where) if where is not None else 0

    async def found(self, part: Part) -> int:
        where = self._where(part)
        if where is None:
            return 0
        return sum([len(await self.collection.search(*probe, where, 1)) for probe in self.probes.items()])

    async def page(self, part: Part, limit: int) -> list[str]:
        where = self._where(part)
        return [row_id for row_id, _ in await self.collection.walk(where, None, limit)] if where is not None else []

    async def there(self, row_ids: Sequence[str]) -> int:
        return await self.collection.count(Where(point_ids=list(row_ids))) if row_ids else 0

    async def delete(self, row_ids: Sequence[str]) -> None:
        if row_ids:
            await self.collection.delete(Where(point_ids=list(row_ids)))

    def _where(self, part: Part) -> Where | None:
        given = part.model_dump(exclude_none=True, exclude={"before", "since"})
        if not given or not given.keys() <= self.fields.keys():
            return None
        where = _where(part, self.fields)
        return Where(where.point_id, where.point_ids, where.equal, where.among, unequal=self.unequal)


class QdrantGraves:
    """activities.ports.Graves on the collections that `collection` names.

    `further` are erasers of collections that others added; `probes` are for searching the messages, see CollectionEraser.
    """

    def __init__(
        self,
        collection: Callable[[str], Collection],
        *,
        probes: Mapping[str, Vector] | None = None,
        further: Sequence[CollectionEraser] = (),
    ) -> None:
        self._messages = collection(points.MESSAGES)
        self._records = collection(points.RECORDS)
        self._chunks = collection(points.CHUNKS)
        of_rows = {name: name for name in OF_ROWS}
        of_records = {name: name for name in ("tenant", "owner", "thread")}
        facts = of_records | {"messages": "message"}
        self.erasers = [
            CollectionEraser("messages", self._messages, of_rows | {"messages": "id"}, probes=probes or {}),
            CollectionEraser("facts", collection(points.FACTS), facts, probes=probes or {}),
            CollectionEraser("records", self._records, of_records, {"kind": KEPT_RECORDS}),
            CollectionEraser("knowledge", self._chunks, {"tenant": "tenant"}, probes=probes or {}),
            *further,
        ]

    # --- threads

    async def bury(self, thread: str, erasure: str, now: float) -> bool:
        point_id = points.thread_point_id(thread)
        stone = ThreadRecord(thread=thread, status=DELETED, erasure=erasure, created_at=now, updated_at=now)
        payload = points.thread_payload(stone)
        before = await self._records.get([point_id])
        if before and before[0].get("erasure") == erasure:
            return False
        await self._records.insert({point_id: payload})
        [there] = await self._records.get([point_id])
        kept = {name: there.get(name, "") for name in UNNAMED}  # until the end: they tell whose it is
        await self._records.change(Where(point_id), dict.fromkeys(there) | payload | kept)
        return True

    async def living(self, person: Part, after: str | None, limit: int) -> list[tuple[str, ThreadRecord]]:
        fields = person.model_dump(include={"tenant", "owner"})
        where = points.threads_where(ThreadFilter(**fields))
        return [(point_id, points.thread_of(row)) for point_id, row in await self._records.walk(where, after, limit)]

    async def buried(self, erasure: str, after: str | None, limit: int) -> list[tuple[str, str]]:
        rows = await self._records.walk(_stones(erasure), after, limit)
        return [(point_id, row["thread"]) for point_id, row in rows]

    async def unname(self, erasure: str) -> None:
        await self._records.change(_stones(erasure), UNNAMED)

    async def show(self, thread: str, before: str, preview: str) -> None:
        point_id = points.thread_point_id(thread)
        [there] = await self._records.get([point_id]) or [{}]
        if there.get("preview") == before and "turns" in there:
            unchanged = Where(point_id, equal={"turns": there["turns"]}, unequal=points.NOT_DELETED)
            await self._records.change(unchanged, {"preview": preview})

    async def drop_checkpoint(self, thread: str) -> None:
        await self._records.delete(Where(points.checkpoint_point_id(thread)))

    async def drop_summary(self, thread: str) -> None:
        await self._records.delete(Where(equal={"kind": "summary", "thread": thread}))
        point_id = points.thread_point_id(thread)
        [there] = await self._records.get([point_id]) or [{}]
        if begun := {name: none for name, none in NOT_SUMMARISED.items() if there.get(name, none) != none}:
            await self._records.change(Where(point_id), begun)

    # --- messages

    async def messages(self, part: Part, after: str | None, limit: int) -> list[Message]:
        rows = await self._messages.walk(
            _where(part, {name: name for name in OF_ROWS} | {"messages": "id"}), after, limit
        )
        return [points.message_of(payload) for _, payload in rows]

    async def refs_of(self, collection: str, row_ids: Sequence[str]) -> list[str]:
        if collection == "messages":
            rows = await self.messages(Part(messages=list(row_ids)), None, len(row_ids))
            found = [str(row.blob["ref"]) for row in rows if row.blob]
        elif collection == "knowledge":
            documents = [row for row in await self._chunks.get(list(row_ids)) if row.get("kind") == DOCUMENT]
            found = [str(row["digest"]) for row in documents if row.get("digest")]
        else:
            return []
        return list(dict.fromkeys(found))

    async def users_of(self, ref: str, besides: Sequence[str]) -> int:
        number = 0
        for collection, where in (
            (self._messages, Where(words={"blob": ref})),
            (self._chunks, Where(equal={"kind": DOCUMENT, "digest": ref})),
        ):
            mine = replace(where, point_ids=list(besides))
            number += await collection.count(where) - (await collection.count(mine) if besides else 0)
        return number

    # --- receipts

    async def note(self, erasing: Erasing) -> None:
        point_id, payload = points.receipt_point_id(erasing.id), _receipt(erasing)
        await self._records.insert({point_id: payload})
        await self._records.change(Where(point_id), payload)

    async def noted(self, erasure: str) -> Erasing | None:
        found = await self._records.get([points.receipt_point_id(erasure)])
        return Erasing.model_validate_json(found[0]["receipt"]) if found else None


def _where(part: Part, fields: Mapping[str, str]) -> Where:
    given = part.model_dump(exclude_none=True, include=set(OF_ROWS))
    equal = {fields[name]: value for name, value in given.items() if name in fields}
    by_id = fields.get("messages") == "id"
    wanted = list(part.messages) if part.messages is not None else None
    return Where(
        point_ids=wanted if by_id else None,
        equal=equal,
        among={fields["messages"]: wanted} if wanted is not None and not by_id else {},
        below={"updated_at": part.before} if part.before is not None else {},
        at_least={"updated_at": part.since} if part.since is not None else {},
    )


def _stones(erasure: str) -> Where:
    return Where(equal={"kind": "thread", "status": DELETED, "erasure": erasure})


def _receipt(erasing: Erasing) -> dict[str, Any]:
    when = erasing.ended_at or erasing.requested_at
    return {"kind": "receipt", "status": erasing.status, "updated_at": when, "receipt": erasing.model_dump_json()}
