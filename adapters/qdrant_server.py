"""The store on a Qdrant server, which any number of workers can share.

The fences hold because the server applies the writes to a shard one after the other, each by its filter as the row is
then. Each write is waited for and goes through the shard's leader (`ordering=strong`), so that the next read sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

from qdrant_client import models

from adapters import qdrant_points as points
from adapters import qdrant_rest as rest
from adapters.qdrant_connection import SETUP_S, Server
from adapters.qdrant_layout import STRONG, Layout, dense
from adapters.qdrant_points import Fields, Where
from adapters.qdrant_store import Collection, QdrantStore, Row, Scored, Vectors
from domain.errors import StoreError
from domain.vectors import Sparse, Vector

PREFIX = "everthread_"  # of the names of our collections: the server may hold others'
BATCH_POINTS = 256  # of one request
BATCH_NUMBERS = 500_000  # likewise, of its vectors: some 10 MB of JSON, and a server takes 32 MB
_DELETED_MEANWHILE = 10  # points of one batch, one after the other: more is no coincidence
_NO_VECTOR = "Not existing vector name"
_NO_POINT = "No point with id"
Given = TypeVar("Given")


class ServerStore(QdrantStore):
    """activities.ports.Store on collections of a Qdrant server. Every method may also raise UnavailableError."""

    def __init__(self, server: Server, prefix: str, layout: Layout) -> None:
        """For `open`."""
        self._server = server
        self._names = {name: prefix + name for name in points.INDEXES}
        self._collections = {name: _Collection(server, self._names[name], layout) for name in points.INDEXES}
        super().__init__(self._collections[points.MESSAGES], self._collections[points.RECORDS])

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        prefix: str = PREFIX,
        layout: Layout | None = None,
    ) -> Self:
        """Connect, and make the collections and indexes that are missing; others may do the same at this moment.

        `timeout_s` is for each call. Raises: SetupError, StoreError with the server's own sentence, UnavailableError.
        """
        layout = layout or Layout()
        store = cls(Server(url, api_key, timeout_s), prefix, layout)
        try:
            await store._server.check_version()
            for kind, name in store._names.items():
                await store._server.make_collection(name, points.INDEXES[kind], layout)
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._server.client.close()

    def collection(self, name: str) -> Collection:
        """One of qdrant_points.INDEXES."""
        return self._collections[name]


class _Collection:
    """adapters.qdrant_store.Collection."""

    def __init__(self, server: Server, name: str, layout: Layout) -> None:
        self._server = server
        self._client = server.client
        self._name = name
        self._layout = layout

    async def insert(
        self, payloads: Mapping[str, dict[str, Any]], vectors: Mapping[str, Vectors] | None = None
    ) -> None:
        named = vectors or {}
        for batch in _batches(payloads, named):
            new = [
                models.PointStruct(id=point_id, vector=rest.vectors_of(named.get(point_id, {})), payload=payload)
                for point_id, payload in batch
            ]
            async with self._server.answering():
                await self._client.upsert(
                    self._name, new, wait=True, ordering=STRONG, update_mode=models.UpdateMode.INSERT_ONLY
                )

    async def get(self, point_ids: Sequence[str], fields: Fields = "listed") -> list[dict[str, Any]]:
        async with self._server.answering():
            records = await self._client.retrieve(self._name, list(point_ids), with_payload=rest.FIELDS[fields])
        found = {str(record.id): record.payload for record in records}
        return [found[point_id] or {} for point_id in point_ids if point_id in found]

    async def change(self, where: Where, payload: dict[str, Any]) -> None:
        async with self._server.answering():
            await self._client.set_payload(self._name, payload, rest.filter_of(where), wait=True, ordering=STRONG)

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
        direction = models.Direction.DESC if newest_first else models.Direction.ASC
        order = models.OrderBy(key=key, direction=direction, start_from=start)
        async with self._server.answering():
            records, _ = await self._client.scroll(
                self._name, rest.filter_of(where), limit, order_by=order, with_payload=rest.FIELDS[fields]
            )
        return [(str(record.id), record.payload or {}) for record in records]

    async def walk(self, where: Where, after: str | None, limit: int, fields: Fields = "listed") -> list[Row]:
        wanted = limit + (after is not None)  # an offset is the first point of the page, if it is still there
        async with self._server.answering():
            records, _ = await self._client.scroll(
                self._name, rest.filter_of(where), wanted, offset=after, with_payload=rest.FIELDS[fields]
            )
        return [(str(record.id), record.payload or {}) for record in records if str(record.id) != after][:limit]

    async def search(
        self, vector: str, query: Vector, where: Where, limit: int, fields: Fields = "listed"
    ) -> list[Scored]:
        try:
            async with self._server.answering():
                held = rest.filter_of(where)
                found = await self._client.query_points(
                    self._name,
                    rest.vector_of(query),
                    using=vector,
                    query_filter=held,
                    search_params=rest.search_params(query, held),
                    limit=limit,
                    with_payload=rest.FIELDS[fields],
                )
        except StoreError as error:
            if _NO_VECTOR in str(error):
                return []
            raise
        return [(str(point.id), point.score, point.payload or {}) for point in found.points]

    async def worth(self, vector: str, indices: Sequence[int], where: Where) -> dict[int, float]:
        held = rest.filter_of(where)
        asked = [
            models.QueryRequest(
                query=rest.vector_of(Sparse([index], [1.0])),
                using=vector,
                filter=held,
                params=rest.search_params(Sparse([], []), held),
                limit=1,
                with_vector=[vector],
            )
            for index in indices
        ]
        if not asked:
            return {}
        async with self._server.answering():
            answers = await self._client.query_batch_points(self._name, asked)
        found = ((index, answer.points[0]) for index, answer in zip(indices, answers, strict=True) if answer.points)
        return {index: point.score / rest.weight(point.vector, vector, index) for index, point in found}

    async def place(self, vectors: Mapping[str, Vectors]) -> None:
        for batch in _batches(vectors, vectors):
            await self._place(dict(batch))

    async def _place(self, vectors: Mapping[str, Vectors]) -> None:
        """The server refuses all of them if one is of a point that was deleted since they were looked at."""
        for tries_left in reversed(range(_DELETED_MEANWHILE)):
            there = await self._there(vectors)
            new = [models.PointVectors(id=point_id, vector=rest.vectors_of(vectors[point_id])) for point_id in there]
            try:
                if new:
                    async with self._server.answering():
                        await self._client.update_vectors(self._name, new, wait=True, ordering=STRONG)
            except StoreError as error:
                if _NO_POINT not in str(error) or not tries_left:
                    raise
            else:
                return

    async def _there(self, point_ids: Mapping[str, Vectors]) -> list[str]:
        async with self._server.answering():
            records = await self._client.retrieve(self._name, list(point_ids), with_payload=False)
        return [str(record.id) for record in records]

    async def vectors(self, point_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Vector]]:
        known = set(await self._sizes()) | {points.SPARSE_VECTOR}  # the server refuses others
        async with self._server.answering():
            records = await self._client.retrieve(
                self._name, list(point_ids), with_payload=False, with_vectors=[name for name in names if name in known]
            )
        return {str(record.id): rest.plain_vectors(record.vector) for record in records}

    async def count(self, where: Where) -> int:
        async with self._server.answering():
            return (await self._client.count(self._name, rest.filter_of(where), exact=True)).count

    async def delete(self, where: Where) -> None:
        selected = models.FilterSelector(filter=rest.filter_of(where))
        async with self._server.answering():
            await self._client.delete(self._name, selected, wait=True, ordering=STRONG)

    async def add_vector(self, name: str, dimensions: int) -> None:
        if name not in (there := await self._sizes()):
            there = await self._create_vector(name, dimensions)
        if there[name] != dimensions:
            raise StoreError(f"the store has vectors {name} of another size than {dimensions}: {there[name]}")
        if self._layout.on_disk:
            placed = {name: models.VectorParamsDiff(on_disk=True)}
            async with self._server.answering(SETUP_S):
                await self._client.update_collection(self._name, vectors_config=placed)

    async def _create_vector(self, name: str, dimensions: int) -> dict[str, int]:
        """Returns the sizes that there are then."""
        refused: StoreError | None = None
        try:
            async with self._server.answering(SETUP_S):
                await self._client.create_vector_name(self._name, name, dense(dimensions), wait=True, ordering=STRONG)
        except StoreError as error:
            refused = error
        if name not in (there := await self._sizes()):  # else another worker was first
            raise refused or StoreError(f"the server has made no vectors {name}")
        return there

    async def _sizes(self) -> dict[str, int]:
        """The dense vectors of the collection."""
        async with self._server.answering():
            found = (await self._client.get_collection(self._name)).config.params.vectors
        return {name: params.size for name, params in found.items()} if isinstance(found, dict) else {}

    async def drop_vector(self, name: str) -> None:
        if name in await self._sizes():
            async with self._server.answering(SETUP_S):
                await self._client.delete_vector_name(self._name, name, wait=True, ordering=STRONG)


def _batches(rows: Mapping[str, Given], vectors: Mapping[str, Vectors]) -> Iterator[list[tuple[str, Given]]]:
    """What goes into a request each."""
    batch: list[tuple[str, Given]] = []
    numbers = 0
    for point_id, row in rows.items():
        more = sum(map(_length, vectors.get(point_id, {}).values()))
        if batch and (len(batch) == BATCH_POINTS or numbers + more > BATCH_NUMBERS):
            yield batch
            batch, numbers = [], 0
        batch.append((point_id, row))
        numbers += more
    if batch:
        yield batch


def _length(vector: Vector) -> int:
    return 2 * len(vector.indices) if isinstance(vector, Sparse) else sum(map(len, vector))
