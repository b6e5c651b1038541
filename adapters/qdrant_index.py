"""activities.ports.MessageIndex: search over the collection of messages, whatever engine holds it.

What is due is told by the messages themselves (their field `index`), so no list of it can be lost. The filters of tenant,
owner and thread are part of each query: the engine never looks at what is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from adapters import qdrant_points as points
from adapters.qdrant_points import Where
from adapters.qdrant_store import Collection
from domain.messages import Message
from domain.recall import Found, Indexed, IndexState, Scope
from domain.vectors import Vector

MOST_KNOWN = 100_000  # rows; some 30 MB
MOST_BESIDE = 1_000  # rows that are looked through for neighbours
UNENDED = ["pending", "refused"]
UNFOUND = ["pending", "refused", "failed", "withdrawn"]  # what was not said, or led nowhere


class QdrantIndex:
    """Over two collections; what it writes is seen by the next call of anybody."""

    def __init__(self, messages: Collection, records: Collection) -> None:
        self._messages = messages
        self._records = records
        self._known: dict[str, Found] = {}

    async def state(self) -> IndexState | None:
        found = await self._records.get([points.index_point_id()])
        return points.index_state(found[0]) if found else None

    async def save_state(self, state: IndexState) -> None:
        point_id, payload = points.index_point_id(), points.index_payload(state)
        await self._records.insert({point_id: payload})
        await self._records.change(Where(point_id), payload)

    async def add_model(self, name: str, dimensions: int) -> None:
        await self._messages.add_vector(name, dimensions)

    async def drop_model(self, name: str) -> None:
        await self._messages.drop_vector(name)

    async def due(self, limit: int) -> list[Message]:
        where = Where(equal={"index": "due"}, unequal={"status": UNENDED})
        rows = await self._messages.scroll(where, "created_at", limit, newest_first=False)
        return [points.message_of(payload) for _, payload in rows]

    async def count_due(self) -> int:
        return await self._messages.count(Where(equal={"index": "due"}, unequal={"status": UNENDED}))

    async def put(self, entries: Sequence[Indexed]) -> None:
        await self.place(entries)
        for entry in entries:
            unchanged = Where(entry.id, equal={"index": "due", "attempt": entry.attempt})
            await self._messages.change(unchanged, {"index": "done", "place": entry.place, "tokens": entry.tokens})

    async def load(self, rows: Sequence[Message], entries: Sequence[Indexed]) -> None:
        by_id = {entry.id: entry for entry in entries}
        payloads = {
            row.id: points.message_payload(row) | {"index": "done", "place": by_id[row.id].place} for row in rows
        }
        await self._messages.insert(payloads, {entry.id: entry.vectors for entry in entries})

    async def place(self, entries: Sequence[Indexed]) -> None:
        await self._messages.place({entry.id: entry.vectors for entry in entries if entry.vectors})

    async def walk(self, after: str | None, limit: int) -> list[Message]:
        rows = await self._messages.walk(Where(equal={"index": "done"}), after, limit)
        return [points.message_of(payload) for _, payload in rows]

    async def count_done(self) -> int:
        return await self._messages.count(Where(equal={"index": "done"}))

    async def mark_old(self) -> None:
        """Rows that a release wrote which knew no search are due."""
        old = Where(among={"role": ["user", "assistant"]}, missing=("index",))
        await self._messages.change(old, {"index": "due"})

    async def last_place(self, thread: str, before_seq: int) -> int | None:
        where = Where(equal={"thread": thread, "index": "done"}, below={"seq": float(before_seq)})
        rows = await self._messages.scroll(where, "seq", 1, newest_first=True, fields="ranking")
        return rows[0][1].get("place") if rows else None

    async def search(self, vector: str, query: Vector, scope: Scope, limit: int) -> list[Found]:
        rows = await self._messages.search(vector, query, _where(scope), limit, fields="none")
        await self._learn([row_id for row_id, _, _ in rows if row_id not in self._known])
        known = ((self._known.get(row_id), score) for row_id, score, _ in rows)
        return [Found(one.id, one.thread, one.place, one.speaker, one.created_at, score) for one, score in known if one]

    async def _learn(self, row_ids: Sequence[str]) -> None:
        """What is known of a row by its id: the same for ever once it is in the index, and read with each search else."""
        if not row_ids:
            return
        if len(self._known) + len(row_ids) > MOST_KNOWN:
            self._known.clear()
        rows = await self._messages.get(row_ids, "ranking")
        self._known |= {payload["id"]: _found(payload["id"], payload) for payload in rows}

    async def count(self, scope: Scope) -> int:
        return await self._messages.count(_where(scope))

    async def worth(self, numbers: Sequence[int], scope: Scope) -> dict[int, float]:
        return await self._messages.worth(points.SPARSE_VECTOR, numbers, _where(scope))

    async def beside(self, places: Some[tuple[str, int]], scope: Scope) -> list[Found]:
        if not places:
            return []
        threads, numbers = {thread for thread, _ in places}, {place for _, place in places}
        where = _where(scope)
        near = replace(where, among={**where.among, "thread": sorted(threads), "place": sorted(numbers)})
        rows = await self._messages.walk(near, None, MOST_BESIDE, fields="ranking")
        found = (_found(row_id, payload) for row_id, payload in rows)
        return [row for row in found if (row.thread, row.place) in places]

    async def rows(self, message_ids: Sequence[str]) -> list[Message]:
        found = await self._messages.get(message_ids) if message_ids else []
        return [points.message_of(payload) for payload in found]

    async def turns(self, turns: Some[tuple[str, int]], limit: int) -> list[Message]:
        if not turns:
            return []
        threads, numbers = {thread for thread, _ in turns}, {turn for _, turn in turns}
        where = Where(among={"thread": sorted(threads), "turn": sorted(numbers)}, unequal={"status": UNENDED})
        rows = await self._messages.walk(where, None, limit, fields="context")
        found = (points.message_of(payload) for _, payload in rows)
        wanted = [row for row in found if (row.thread, row.turn) in turns]
        return sorted(wanted, key=lambda row: (row.thread, row.seq))


def _found(row_id: str, payload: dict[str, Any], score: float = 0.0) -> Found:
    by_agent = payload.get("agent") if payload.get("role") == "assistant" else None
    speaker = payload.get("author") or by_agent or ""
    return Found(row_id, payload["thread"], payload.get("place"), speaker, payload.get("created_at", 0.0), score)


def _where(scope: Scope) -> Where:
    equal = {"tenant": scope.tenant, "index": "done"}
    equal |= {"owner": scope.owner} if scope.owner is not None else {}
    equal |= {"thread": scope.thread} if scope.thread is not None else {}
    among = {"role": scope.roles, "agent": scope.agents}
    below = {"created_at": scope.before, "seq": None if scope.before_seq is None else float(scope.before_seq)}
    return Where(
        equal=equal,
        among={key: list(values) for key, values in among.items() if values},
        unequal={"status": UNFOUND},
        below={key: value for key, value in below.items() if value is not None},
        at_least={"created_at": scope.after} if scope.after is not None else {},
    )
