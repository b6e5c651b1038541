"""activities.ports.Summaries on the collections of messages and of records, whatever engine holds them."""

from __future__ import annotations

import json
from typing import Any

from adapters import qdrant_points as points
from adapters.qdrant_points import Where
from adapters.qdrant_store import Collection
from domain import ids
from domain.messages import Message, ThreadRecord
from domain.summaries import ThreadSummary


class QdrantSummaries:
    def __init__(self, messages: Collection, records: Collection) -> None:
        self._messages = messages
        self._records = records

    async def due(self, limit: int) -> list[ThreadRecord]:
        rows = await self._records.scroll(_due(), "updated_at", limit, newest_first=False)
        return [points.thread_of(payload) for _, payload in rows]

    async def count_due(self) -> int:
        return await self._records.count(_due())

    async def get(self, thread: str) -> ThreadSummary | None:
        found = await self._records.get([points.summary_point_id(thread)])
        return ThreadSummary.model_validate(json.loads(found[0]["body"])) if found else None

    async def put(self, summary: ThreadSummary, after: int) -> ThreadSummary:
        point_id, payload = points.summary_point_id(summary.thread), _payload(summary)
        if after == 0:
            await self._records.insert({point_id: payload})
        await self._records.change(Where(point_id, equal={"rank": after}), payload)
        return await self.get(summary.thread) or ThreadSummary(thread=summary.thread)

    async def settle(self, record: ThreadRecord, through_turn: int) -> None:
        thread = points.thread_point_id(record.thread)
        await self._records.change(Where(thread), {"summary_through": through_turn})
        done = Where(thread, equal={"compaction": "due", "compact_through": record.compact_through})
        await self._records.change(done, {"compaction": ""})

    async def turns(self, thread: str, first: int, last: int, limit: int) -> list[Message]:
        where = Where(
            equal={"thread": thread},
            unequal={"status": ["pending", "refused"]},
            below={"seq": float(ids.first_seq(last + 1))},
        )
        start = float(ids.first_seq(first))
        rows = await self._messages.scroll(where, "seq", limit, newest_first=False, start=start, fields="context")
        return [points.message_of(payload) for _, payload in rows]

    async def forget(self, thread: str) -> None:
        await self._records.delete(Where(points.summary_point_id(thread)))
        await self._records.change(
            Where(points.thread_point_id(thread)), {"summary_through": 0, "compaction": "", "compact_through": 0}
        )


def _due() -> Where:
    return Where(equal={"kind": "thread", "compaction": "due"})


def _payload(summary: ThreadSummary) -> dict[str, Any]:
    """`rank` orders the versions of one thread."""
    body = json.dumps(summary.model_dump(mode="json"), separators=(",", ":"))
    place = {"thread": summary.thread, "tenant": summary.tenant, "owner": summary.owner}
    return place | {"kind": "summary", "rank": summary.through_turn, "body": body}
