"""Filters and payload selectors of Qdrant's REST API, as Qdrant Edge takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from doubles.qdrant_errors import QdrantError, not_here

_ANY_KIND = ("keyword", "integer", "float", "text", "bool", "uuid")


def edge_filter(where: models.Filter | None) -> edge.Filter | None:
    """Raises: QdrantError if the double cannot do it."""
    if where is None:
        return None
    if where.min_should is not None:
        raise not_here("min_should")
    must, should, must_not = ([*map(_condition, _listed(part))] for part in (where.must, where.should, where.must_not))
    return edge.Filter(must=must or None, should=should or None, must_not=must_not or None)


def selected(fields: Any) -> Any:
    """What of a payload is wanted; all of it unless something is said."""
    match fields:
        case None:
            return True
        case bool():
            return fields
        case models.PayloadSelectorInclude():
            return edge.PayloadSelector.Include(fields.include)
        case models.PayloadSelectorExclude():
            return edge.PayloadSelector.Exclude(fields.exclude)
        case _:
            return edge.PayloadSelector.Include(list(fields))


def wanted_indexes(where: models.Filter | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each field that a filter names, with the kinds of index that would serve it."""
    for part in (where.must, where.should, where.must_not) if where else ():
        for condition in _listed(part):
            if isinstance(condition, models.Filter):
                yield from wanted_indexes(condition)
            elif isinstance(condition, models.IsEmptyCondition):
                yield condition.is_empty.key, _ANY_KIND
            elif isinstance(condition, models.FieldCondition):
                yield condition.key, _kinds(condition)


def point_id(given: Any) -> Any:
    """Raises: QdrantError if it is none."""
    try:
        edge.HasIdCondition({given})
    except (ValueError, TypeError):
        said = f"value {given} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        raise QdrantError(400, f"Format error in JSON body: {said}") from None
    return given


def _listed(part: Any) -> list[Any]:
    return part if isinstance(part, list) else [] if part is None else [part]


def _condition(condition: Any) -> Any:
    match condition:
        case models.Filter():
            return edge_filter(condition)
        case models.HasIdCondition():
            return edge.HasIdCondition({point_id(given) for given in condition.has_id})
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(condition.is_empty.key)
        case models.FieldCondition(match=match) if match is not None:
            return _field(condition.key, match=_match(match))
        case models.FieldCondition(range=models.Range() as bounds):
            return _field(
                condition.key, range=edge.RangeFloat(lt=bounds.lt, gt=bounds.gt, lte=bounds.lte, gte=bounds.gte)
            )
    raise not_here(f"the condition {condition!r:.200}")


def _field(key: str, **holds: Any) -> edge.FieldCondition:
    try:
        return edge.FieldCondition(key, **holds)
    except ValueError as error:
        raise QdrantError(400, f"Format error in JSON body: {error}") from error


def _match(match: Any) -> Any:
    match match:
        case models.MatchValue():
            return edge.MatchValue(match.value)
        case models.MatchText():
            return edge.MatchText(match.text)
        case models.MatchAny():
            return edge.MatchAny(match.any)
        case models.MatchExcept():
            return edge.MatchExcept(match.except_)
    raise not_here(f"the match {match!r:.200}")


def _kinds(condition: models.FieldCondition) -> tuple[str, ...]:
    match condition.match:
        case None:
            return ("integer", "float")
        case models.MatchText():
            return ("text",)
        case models.MatchValue(value=value):
            return _kinds_of(value)
        case models.MatchAny(any=values) | models.MatchExcept(except_=values):
            return _kinds_of(values[0] if values else "")
    return ()


def _kinds_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("bool",)
    return ("integer",) if isinstance(value, int) else ("keyword", "uuid")
