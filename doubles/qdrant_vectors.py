"""Vectors of Qdrant's REST API, as Qdrant Edge takes and gives them, and its words when it refuses some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from doubles.qdrant_errors import QdrantError, bad_request, not_here

_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.EUCLID: edge.Distance.Euclid,
    models.Distance.MANHATTAN: edge.Distance.Manhattan,
}
_WRONG = ("Not existing vector name", "Vector dimension error", "Wrong usage of sparse", "Wrong input")


def named(vectors: Any) -> dict[str, Any]:
    """Those of a point."""
    if not isinstance(vectors, dict):
        if vectors:
            raise not_here("vectors without a name")
        return {}
    return {name: plain(vector) for name, vector in vectors.items()}


def plain(vector: Any) -> Any:
    if isinstance(vector, models.NearestQuery) and vector.mmr is None:
        return plain(vector.nearest)
    if isinstance(vector, models.SparseVector):
        return edge.SparseVector(vector.indices, vector.values)
    if isinstance(vector, list):
        return vector
    raise not_here(f"the vector {vector!r:.200}")


def shown(vectors: Any) -> Any:
    return {
        name: {"indices": vector.indices, "values": vector.values} if isinstance(vector, edge.SparseVector) else vector
        for name, vector in (vectors or {}).items()
    }


def create_operation(name: str, wanted: Any) -> Any:
    if isinstance(wanted, models.SparseVectorNameConfig):
        idf = wanted.sparse.modifier == models.Modifier.IDF
        return edge.UpdateOperation.create_sparse_vector(name, edge.Modifier.Idf if idf else None)
    dense = wanted.dense
    pieces = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if dense.multivector_config else None
    return edge.UpdateOperation.create_dense_vector(
        name, dense.size, _DISTANCES[dense.distance], multivector_config=pieces
    )


@contextmanager
def in_words() -> Iterator[None]:
    """Raises: QdrantError for what the engine refuses."""
    try:
        yield
    except QdrantError:
        raise
    except Exception as error:
        text = str(error)
        if "No point with id" in text:
            raise QdrantError(404, f"Not found: {text} found") from error
        if any(known in text for known in _WRONG):
            raise QdrantError(400, f"Wrong input: {text.removeprefix('Wrong input: ')}") from error
        if "Validation failed" in text:
            raise bad_request(text) from error
        raise
