"""A collection that is made with its first write.

Most embedded stores never have facts or documents, and to make a collection takes as long as all the rest of a start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from adapters.qdrant_points import Fields, Where
from adapters.qdrant_store import Collection, Row, Scored, Vectors
from domain.errors import StoreError
from domain.vectors import Vector


class Closable(Collection, Protocol):
    def close(self) -> None: ...


class LateCollection:
    """adapters.qdrant_store.Collection: empty until something is inserted. `exists` tells whether it was made before."""

    def __init__(self, exists: Callable[[], bool], make: Callable[[], Closable]) -> None:
        self._exists = exists
        self._make = make
        self._made: Closable | None = None
        self._wanted: dict[str, int] = {}  # vectors by their dimensions, until it is made

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _there(self) -> Collection | None:
        if self._made is None and self._exists():
            self._made = self._make()
        return self._made

    async def insert(
        self, payloads: Mapping[str, dict[str, Any]], vectors: Mapping[str, Vectors] | None = None
    ) -> None:
        there = self._there()
        if there is None and payloads:
            there = self._made = self._make()
            for name, dimensions in self._wanted.items():
                await there.add_vector(name, dimensions)
        if there is not None:
            await there.insert(payloads, vectors)

    async def get(self, point_ids: Sequence[str], fields: Fields = "listed") -> list[dict[str, Any]]:
        there = self._there()
        return await there.get(point_ids, fields) if there else []

    async def change(self, where: Where, payload: dict[str, Any]) -> None:
        if there := self._there():
            await there.change(where, payload)

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
        there = self._there()
        if there is None:
            return []
        return await there.scroll(where, key, limit, newest_first=newest_first, start=start, fields=fields)

    async def walk(self, where: Where, after: str | None, limit: int, fields: Fields = "listed") -> list[Row]:
        there = self._there()
        return await there.walk(where, after, limit, fields) if there else []

    async def search(
        self, vector: str, query: Vector, where: Where, limit: int, fields: Fields = "listed"
    ) -> list[Scored]:
        there = self._there()
        return await there.search(vector, query, where, limit, fields) if there else []

    async def worth(self, vector: str, indices: Sequence[int], where: Where) -> dict[int, float]:
        there = self._there()
        return await there.worth(vector, indices, where) if there else {}

    async def place(self, vectors: Mapping[str, Vectors]) -> None:
        if there := self._there():
            await there.place(vectors)

    async def vectors(self, point_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Vector]]:
        there = self._there()
        return await there.vectors(point_ids, names) if there else {}

    async def count(self, where: Where) -> int:
        there = self._there()
        return await there.count(where) if there else 0

    async def delete(self, where: Where) -> None:
        if there := self._there():
            await there.delete(where)

    async def add_vector(self, name: str, dimensions: int) -> None:
        if there := self._there():
            await there.add_vector(name, dimensions)
        elif self._wanted.setdefault(name, dimensions) != dimensions:
            raise StoreError(f"the store has vectors {name} of another size than {dimensions}: {self._wanted[name]}")

    async def drop_vector(self, name: str) -> None:
        self._wanted.pop(name, None)
        if there := self._there():
            await there.drop_vector(name)
