"""The embedded store: Qdrant Edge, the engine of Qdrant in this process, on disk.

It belongs to one process. It holds Python's lock while it works, so calls are short (under a millisecond) and made in
place rather than in a thread; `optimize()` takes seconds to minutes and is never called here. What a call has written
survives kill -9 of the process without a flush: it is in the write-ahead log.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import qdrant_edge as edge

from adapters import qdrant_points as points
from adapters.qdrant_late import LateCollection
from adapters.qdrant_points import Fields, Where
from adapters.qdrant_store import Collection, QdrantStore, Row, Scored, Vectors
from domain.errors import StoreBusyError, StoreError
from domain.vectors import Sparse, Vector

_INDEXES: dict[points.IndexKind, Any] = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "words": edge.TextIndexParams(tokenizer=edge.TokenizerType.Word, lowercase=True),
}
_FIELDS: dict[Fields, Any] = {
    "all": True,
    "none": False,
    "listed": edge.PayloadSelector.Exclude(list(points.NOT_LISTED)),
    "context": edge.PayloadSelector.Include(list(points.OF_CONTEXT)),
    "ranking": edge.PayloadSelector.Include(list(points.OF_RANKING)),
}
_NEAREST_PIECE = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
_LATE = (points.FACTS, points.CHUNKS)
_HOLDER = "holder.pid"


class EdgeStore(QdrantStore):
    """activities.ports.Store on one folder."""

    def __init__(self, folder: Path) -> None:
        """Raises: StoreBusyError if another process has the folder open, StoreError if it cannot be opened."""
        folder.mkdir(parents=True, exist_ok=True)
        self._shards: dict[str, _Shard | LateCollection] = {}
        try:
            for name in points.INDEXES:
                self._shards[name] = _late(folder, name) if name in _LATE else _Shard(folder, name)
        except StoreError:
            self._close_shards()
            raise
        super().__init__(self._shards[points.MESSAGES], self._shards[points.RECORDS])
        self._holder = folder / _HOLDER
        self._holder.write_text(str(os.getpid()))

    def close(self) -> None:
        """Flush and let go of the folder."""
        self._close_shards()
        self._holder.unlink(missing_ok=True)

    def collection(self, name: str) -> Collection:
        """One of qdrant_points.INDEXES."""
        return self._shards[name]

    def _close_shards(self) -> None:
        for shard in self._shards.values():
            shard.close()


class _Shard:
    """adapters.qdrant_store.Collection. Nothing in it waits: its methods end where they are called."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / name
        try:
            self._shard = edge.EdgeShard.load(str(path)) if path.exists() else _create(path, name)
            _index(self._shard, name)
        except Exception as error:
            raise _cannot_open(folder, error) from error

    def close(self) -> None:
        self._shard.close()

    async def insert(
        self, payloads: Mapping[str, dict[str, Any]], vectors: Mapping[str, Vectors] | None = None
    ) -> None:
        placed = {point_id: _vectors(named) for point_id, named in (vectors or {}).items()}
        new = [edge.Point(point_id, placed.get(point_id, {}), payload) for point_id, payload in payloads.items()]
        self._shard.update(edge.UpdateOperation.upsert_points(new, update_mode=edge.UpdateMode.InsertOnly))

    async def get(self, point_ids: Sequence[str], fields: Fields = "listed") -> list[dict[str, Any]]:
        records = self._shard.retrieve(list(point_ids), _FIELDS[fields], False)
        found = {str(record.id): record.payload for record in records}
        return [found[point_id] or {} for point_id in point_ids if point_id in found]

    async def change(self, where: Where, payload: dict[str, Any]) -> None:
        self._shard.update(edge.UpdateOperation.set_payload_by_filter(_filter(where), payload))

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
        direction = edge.Direction.Desc if newest_first else edge.Direction.Asc
        order = edge.OrderBy(key, direction, start_from=start)
        request = edge.ScrollRequest(limit=limit, filter=_filter(where), with_payload=_FIELDS[fields], order_by=order)
        records, _ = self._shard.scroll(request)
        return [(str(record.id), record.payload or {}) for record in records]

    async def walk(self, where: Where, after: str | None, limit: int, fields: Fields = "listed") -> list[Row]:
        wanted = limit + (after is not None)  # an offset is the first point of the page, if it is still there
        request = edge.ScrollRequest(offset=after, limit=wanted, filter=_filter(where), with_payload=_FIELDS[fields])
        records, _ = self._shard.scroll(request)
        return [(str(record.id), record.payload or {}) for record in records if str(record.id) != after][:limit]

    async def search(
        self, vector: str, query: Vector, where: Where, limit: int, fields: Fields = "listed"
    ) -> list[Scored]:
        request = _nearest(vector, query, where, limit, payload=_FIELDS[fields])
        try:
            found = self._shard.query(request)
        except Exception as error:
            if "Not existing vector name" in str(error):
                return []
            raise
        return [(str(point.id), float(point.score), point.payload or {}) for point in found]

    async def worth(self, vector: str, indices: Sequence[int], where: Where) -> dict[int, float]:
        asked = [_nearest(vector, Sparse([index], [1.0]), where, 1, vector=True) for index in indices]
        answers = self._shard.query_batch(edge.QueryBatchRequest(asked)) if asked else []
        found = ((index, answer[0]) for index, answer in zip(indices, answers, strict=True) if answer)
        return {index: float(point.score) / _weight(point.vector[vector], index) for index, point in found}

    async def place(self, vectors: Mapping[str, Vectors]) -> None:
        there = {str(record.id) for record in self._shard.retrieve(list(vectors), False, False)}
        new = [edge.PointVectors(point_id, _vectors(named)) for point_id, named in vectors.items() if point_id in there]
        if new:
            self._shard.update(edge.UpdateOperation.update_vectors(new))

    async def vectors(self, point_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Vector]]:
        records = self._shard.retrieve(list(point_ids), False, True)
        return {str(record.id): _named(record.vector, names) for record in records}

    async def count(self, where: Where) -> int:
        return int(self._shard.count(edge.CountRequest(filter=_filter(where))))

    async def delete(self, where: Where) -> None:
        self._shard.update(edge.UpdateOperation.delete_points_by_filter(_filter(where)))

    async def add_vector(self, name: str, dimensions: int) -> None:
        operation = edge.UpdateOperation.create_dense_vector(
            name, dimensions, edge.Distance.Cosine, multivector_config=_NEAREST_PIECE
        )
        try:
            self._shard.update(operation)
        except Exception as error:
            raise StoreError(f"the store has vectors {name} of another size than {dimensions}: {error}") from error

    async def drop_vector(self, name: str) -> None:
        self._shard.update(edge.UpdateOperation.delete_vector_name(name))


def _late(folder: Path, name: str) -> LateCollection:
    return LateCollection((folder / name).exists, lambda: _Shard(folder, name))


def _create(path: Path, name: str) -> Any:
    sparse = {points.SPARSE_VECTOR: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)}
    # A folder is only taken for a shard when it is whole: a process killed here leaves a folder of another name.
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)  # in a container, pids repeat
    shard = edge.EdgeShard.create(_made(fresh), edge.EdgeConfig(sparse_vectors=sparse))
    _index(shard, name)
    shard.close()
    fresh.rename(path)
    return edge.EdgeShard.load(str(path))


def _index(shard: Any, name: str) -> None:
    """Make the indexes that are missing: all in a new folder, some in one that an older release made."""
    there = shard.info().payload_schema
    for field, kind in points.INDEXES[name].items():
        if field not in there:
            shard.update(edge.UpdateOperation.create_field_index(field, _INDEXES[kind]))


def _nearest(
    name: str, query: Vector, where: Where, limit: int, *, payload: Any = False, vector: bool = False
) -> edge.QueryRequest:
    held = _filter(where)
    return edge.QueryRequest(
        limit,
        query=edge.Query.Nearest(_vector(query), using=name),
        filter=held,
        params=edge.SearchParams(idf=edge.IdfParams(corpus=held)) if isinstance(query, Sparse) else None,
        with_payload=payload,
        with_vector=vector,
    )


def _weight(vector: Any, index: int) -> float:
    return float(vector.values[vector.indices.index(index)])


def _vectors(named: Vectors) -> dict[str, Any]:
    return {name: _vector(vector) for name, vector in named.items()}


def _vector(vector: Vector) -> Any:
    if isinstance(vector, Sparse):
        return edge.SparseVector(list(vector.indices), list(vector.values))
    return [list(piece) for piece in vector]


def _named(vectors: Any, names: Sequence[str]) -> dict[str, Vector]:
    return {name: _plain(vector) for name, vector in (vectors or {}).items() if name in names}


def _plain(vector: Any) -> Vector:
    return Sparse(vector.indices, vector.values) if isinstance(vector, edge.SparseVector) else vector


def _made(path: Path) -> str:
    path.mkdir(parents=True)
    return str(path)


def _filter(where: Where) -> edge.Filter:
    must: list[Any] = [edge.HasIdCondition({where.point_id})] if where.point_id is not None else []
    must += [edge.HasIdCondition(set(where.point_ids))] if where.point_ids is not None else []
    must += [edge.FieldCondition(key, match=edge.MatchValue(value)) for key, value in where.equal.items()]
    must += [
        edge.FieldCondition(key, match=edge.MatchAny(cast(Any, list(values)))) for key, values in where.among.items()
    ]
    must += [edge.FieldCondition(key, match=edge.MatchAny(list(values))) for key, values in where.among_all]
    must += [edge.FieldCondition(key, match=edge.MatchText(text)) for key, text in where.words.items()]
    must += [edge.FieldCondition(key, range=edge.RangeFloat(lt=value)) for key, value in where.below.items()]
    must += [edge.FieldCondition(key, range=edge.RangeFloat(lte=value)) for key, value in where.at_most.items()]
    must += [edge.FieldCondition(key, range=edge.RangeFloat(gte=value)) for key, value in where.at_least.items()]
    must += [edge.IsEmptyCondition(key) for key in where.missing]
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
        f"the store in {folder} is in use by another process{pid}: stop it, or set EVERTHREAD_DATA_DIR to another "
        "folder, or EVERTHREAD_QDRANT_URL to a Qdrant server, which any number of workers can share"
    )
