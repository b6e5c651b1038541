"""activities.facts_ports over collections: facts, working memories, and the turns that are to be learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapters import qdrant_points as points
from adapters.qdrant_points import Where
from adapters.qdrant_store import Collection, page_of
from domain import ids
from domain.facts import Fact, FactFilter
from domain.memory import KEPT_WRITERS, Holder, Notes
from domain.messages import Message, Page
from domain.vectors import Dense, Vector

MOST_SUCCESSORS = 1_000
_TIMES = ("valid_from", "valid_to", *points.TIMES)


class QdrantFacts:
    """activities.facts_ports.FactStore. Tenant, owner and agent are in the filter of each query."""

    def __init__(self, facts: Collection) -> None:
        self._facts = facts

    async def add_model(self, name: str, dimensions: int) -> None:
        await self._facts.add_vector(name, dimensions)

    async def insert(self, facts: Sequence[Fact], vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        if facts:
            await self._facts.insert({fact.id: _payload(fact.model_dump(mode="json")) for fact in facts}, vectors)

    async def get(self, fact_ids: Sequence[str]) -> list[Fact]:
        found = await self._facts.get(fact_ids, "all") if fact_ids else []
        return await self._seen([Fact.model_validate(payload) for payload in found])

    async def close(self, fact_id: str, changes: dict[str, Any]) -> Fact | None:
        await self._facts.change(Where(fact_id, equal={"status": "current"}), _payload(changes))
        return next(iter(await self.get([fact_id])), None)

    async def page(self, where: FactFilter, *, cursor: str | None, limit: int) -> Page[Fact]:
        rows, after = await page_of(self._facts, _where(where), "created_at", cursor, limit, newest_first=True)
        facts = await self._seen([Fact.model_validate(payload) for _, payload in rows])
        return Page(items=[fact for fact in facts if where.status in (None, fact.status)], next=after)

    async def search(self, vector: str, query: Vector, where: FactFilter, limit: int) -> list[tuple[Fact, float]]:
        found = await self._facts.search(vector, query, _where(where), limit)
        facts = await self._seen([Fact.model_validate(payload) for _, _, payload in found])
        scores = {fact_id: score for fact_id, score, _ in found}
        return [(fact, scores[fact.id]) for fact in facts if where.status in (None, fact.status)]

    async def successors(self, fact_ids: Sequence[str]) -> list[Fact]:
        if not fact_ids:
            return []
        where = Where(among={"supersedes": list(fact_ids)})
        rows = await self._facts.scroll(where, "created_at", MOST_SUCCESSORS, newest_first=False)
        return [Fact.model_validate(payload) for _, payload in rows]

    async def unembedded(self, model: str, limit: int) -> list[Fact]:
        rows = await self._facts.walk(Where(unequal={"embedded": [model]}), None, limit)
        return [Fact.model_validate(payload) for _, payload in rows]

    async def place(self, fact_id: str, model: str, vector: Dense) -> None:
        await self._facts.place({fact_id: {model: vector}})
        await self._facts.change(Where(fact_id), {"embedded": model})

    async def _seen(self, facts: list[Fact]) -> list[Fact]:
        """As they count: of a writer that was lost between its two writes, the older fact does not say yet that it ended."""
        current = [fact.id for fact in facts if fact.status == "current"]
        newer = {old: fact for fact in await self.successors(current) for old in fact.supersedes}
        return [
            _superseded(fact, newer[fact.id]) if fact.id in newer and fact.status == "current" else fact
            for fact in facts
        ]


class QdrantNotes:
    """activities.facts_ports.NoteStore. A record's `rank` is its version."""

    def __init__(self, records: Collection) -> None:
        self._records = records

    async def notes(self, holder: Holder) -> Notes:
        found = await self._records.get([_notes_id(holder)])
        return Notes.model_validate(found[0] | {"version": found[0]["rank"]}) if found else Notes()

    async def write(self, holder: Holder, notes: Notes, text: str, writer: str, now: float) -> Notes:
        point_id = _notes_id(holder)
        empty = {"kind": "notes", "text": "", "rank": 0, "writers": [], "updated_at": 0.0}
        await self._records.insert({point_id: empty | holder.model_dump()})
        changed = {"text": text, "rank": notes.version + 1, "writers": [*notes.writers, writer][-KEPT_WRITERS:]}
        changed["updated_at"] = round(now, points.TIME_DIGITS)
        await self._records.change(Where(point_id, equal={"kind": "notes", "rank": notes.version}), changed)
        return await self.notes(holder)


class QdrantLessons:
    """activities.facts_ports.Lessons."""

    def __init__(self, messages: Collection) -> None:
        self._messages = messages

    async def due(self, now: float, limit: int) -> list[Message]:
        where = Where(among={"learn": ["due", "ready"]}, at_most={"learn_at": now})
        rows = await self._messages.scroll(where, "learn_at", limit, newest_first=False)
        return [points.message_of(payload) for _, payload in rows]

    async def count_due(self) -> int:
        return await self._messages.count(Where(among={"learn": ["due", "ready"]}))

    async def keep(self, message_id: str, lesson: dict[str, Any]) -> Message | None:
        changes = points.payload({"learn": "ready", "lesson": lesson})
        await self._messages.change(Where(message_id, equal={"learn": "due"}), changes)
        return next(map(points.message_of, await self._messages.get([message_id], "all")), None)

    async def settle(self, message_id: str, changes: dict[str, Any]) -> None:
        await self._messages.change(Where(message_id, among={"learn": ["due", "ready"]}), points.payload(changes))


def _where(where: FactFilter) -> Where:
    equal = where.model_dump(exclude_none=True, exclude={"spaces"})
    return Where(equal=equal, among={} if where.spaces is None else {"space": list(where.spaces)})


def _payload(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, points.TIME_DIGITS) if name in _TIMES and value is not None else value
        for name, value in fields.items()
    }


def _superseded(fact: Fact, newer: Fact) -> Fact:
    ended = {"status": "superseded", "superseded_by": newer.id, "valid_to": newer.valid_from}
    return fact.model_copy(update=ended)


def _notes_id(holder: Holder) -> str:
    return ids.record_id("notes", holder.tenant, holder.owner, holder.agent)
