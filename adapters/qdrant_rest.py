"""Filters, vectors and selections of fields as Qdrant's REST API has them."""

from __future__ import annotations

from typing import Any, cast

from qdrant_client import models

from adapters import qdrant_points as points
from adapters.qdrant_points import Fields, Where
from adapters.qdrant_store import Vectors
from domain.vectors import Sparse, Vector

FIELDS: dict[Fields, Any] = {
    "all": True,
    "listed": models.PayloadSelectorExclude(exclude=list(points.NOT_LISTED)),
    "none": False,
    "context": models.PayloadSelectorInclude(include=list(points.OF_CONTEXT)),
    "ranking": models.PayloadSelectorInclude(include=list(points.OF_RANKING)),
}


def vectors_of(named: Vectors) -> dict[str, Any]:
    return {name: vector_of(vector) for name, vector in named.items()}


def vector_of(vector: Vector) -> Any:
    if isinstance(vector, Sparse):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return [list(piece) for piece in vector]


def search_params(query: Vector, held: models.Filter) -> models.SearchParams | None:
    """How rare a word is, is taken from the points for which the filter holds."""
    return models.SearchParams(idf=models.IdfCorpusParams(corpus=held)) if isinstance(query, Sparse) else None


def weight(vectors: Any, name: str, index: int) -> float:
    sparse = vectors[name]
    return float(sparse.values[sparse.indices.index(index)])


def plain_vectors(vectors: Any) -> dict[str, Vector]:
    return {name: _plain(vector) for name, vector in (vectors or {}).items()}


def _plain(vector: Any) -> Vector:
    return Sparse(vector.indices, vector.values) if isinstance(vector, models.SparseVector) else vector


def filter_of(where: Where) -> models.Filter:
    must: list[Any] = [models.HasIdCondition(has_id=[where.point_id])] if where.point_id is not None else []
    must += [models.HasIdCondition(has_id=list(where.point_ids))] if where.point_ids is not None else []
    must += [_condition(key, match=models.MatchValue(value=value)) for key, value in where.equal.items()]
    must += [_condition(key, match=models.MatchAny(any=cast(Any, list(values)))) for key, values in where.among.items()]
    must += [_condition(key, match=models.MatchAny(any=list(values))) for key, values in where.among_all]
    must += [_condition(key, match=models.MatchText(text=text)) for key, text in where.words.items()]
    must += [_condition(key, range=models.Range(lt=value)) for key, value in where.below.items()]
    must += [_condition(key, range=models.Range(lte=value)) for key, value in where.at_most.items()]
    must += [_condition(key, range=models.Range(gte=value)) for key, value in where.at_least.items()]
    must += [models.IsEmptyCondition(is_empty=models.PayloadField(key=key)) for key in where.missing]
    excluded: list[Any] = [_condition(key, match=models.MatchAny(any=values)) for key, values in where.unequal.items()]
    return models.Filter(must=must, must_not=excluded or None)


def _condition(key: str, **holds: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **holds)
