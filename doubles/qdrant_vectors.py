"""Vectors and searches of Qdrant's REST API, as Qdrant Edge takes and gives them, and its words when it refuses some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from doubles.qdrant_errors import QdrantError, bad_request, invalid, not_here
from doubles.qdrant_filters import edge_filter, selected

_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.EUCLID: edge.Distance.Euclid,
    models.Distance.MANHATTAN: edge.Distance.Manhattan,
}
_WRONG = ("Not existing vector name", "Vector dimension error", "Wrong usage of", "Wrong input")


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
        if len(vector.indices) != len(vector.values):
            raise invalid("values: must be the same length as indices")
        if len(set(vector.indices)) != len(vector.indices):
            raise invalid("indices: must be unique")
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


def nearest(wanted: models.QueryRequest) -> edge.QueryRequest:
    """Raises: QdrantError if it is another kind of query."""
    if wanted.limit is not None and wanted.limit < 1:
        raise invalid(f"limit: value {wanted.limit} invalid, must be 1 or larger")
    if wanted.query is None or wanted.using is None:
        raise not_here("this query: only the nearest by one named vector")
    for field in ("prefetch", "offset", "lookup_from", "shard_key"):
        if getattr(wanted, field):
            raise not_here(f"{field} of a query")
    return edge.QueryRequest(
        10 if wanted.limit is None else wanted.limit,
        query=edge.Query.Nearest(plain(wanted.query), using=wanted.using),
        filter=edge_filter(wanted.filter),
        with_payload=selected(False if wanted.with_payload is None else wanted.with_payload),
        score_threshold=wanted.score_threshold,
        with_vector=wanted.with_vector or False,
        params=_params(wanted.params),
    )


def filters_of(wanted: models.QueryRequest) -> list[models.Filter | None]:
    """Of the points that may be found, and of those that tell how rare a word is."""
    idf = wanted.params.idf if wanted.params else None
    return [wanted.filter, idf.corpus if isinstance(idf, models.IdfCorpusParams) else None]


def _params(wanted: models.SearchParams | None) -> edge.SearchParams | None:
    if wanted is None:
        return None
    said = {name for name, value in wanted.model_dump(exclude_none=True).items() if value is not False}
    if unknown := said - {"idf", "exact"}:  # each search here is exact
        raise not_here(f"the search parameters {sorted(unknown)}")
    corpus = edge_filter(wanted.idf.corpus) if isinstance(wanted.idf, models.IdfCorpusParams) else None
    return edge.SearchParams(idf=edge.IdfParams(corpus=corpus)) if wanted.idf is not None else None


@contextmanager
def in_words() -> Iterator[None]:
    """Raises: QdrantError for what the engine refuses."""
    try:
        yield
    except QdrantError:
        raise
    except Exception as error:
        text = str(error)
        if "No range index" in text:
            raise bad_request(text) from error
        if "No point with id" in text:
            raise QdrantError(404, f"Not found: {text} found") from error
        if any(known in text for known in _WRONG):
            raise QdrantError(400, f"Wrong input: {text.removeprefix('Wrong input: ')}") from error
        if "Validation failed" in text:
            raise bad_request(text) from error
        raise
