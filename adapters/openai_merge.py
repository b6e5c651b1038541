"""How two pieces of a streamed field become one. Pure, and blind to which fields there are."""

from __future__ import annotations

from typing import Any

# Fields that name something: a server that repeats them means the same one again, not more of it.
_LABELS = frozenset({"role", "type", "id", "index", "name", "format", "object"})


def merge(old: Any, new: Any) -> Any:
    """Texts are joined, lists extended (by `index` where items have one), objects merged; of all else the later stays."""
    if new is None or old is None:
        return old if new is None else new
    if isinstance(old, str) and isinstance(new, str):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _field(key, old.get(key), value) for key, value in new.items()}
    if isinstance(old, list) or isinstance(new, list):
        return _lists(_listed(old), _listed(new))
    return new


def _field(key: str, old: Any, new: Any) -> Any:
    if key in _LABELS:
        return old if new in (None, "") else new
    return merge(old, new)


def _listed(value: Any) -> list[Any]:
    """Some providers send a content as a text first and as parts later."""
    if isinstance(value, list):
        return value
    return [value] if value else []


def _lists(old: list[Any], new: list[Any]) -> list[Any]:
    merged = list(old)
    for item in new:
        place = _place(merged, item)
        if place is None:
            merged.append(item)
        else:
            merged[place] = merge(merged[place], item)
    return merged


def _place(items: list[Any], item: Any) -> int | None:
    """Where the item's earlier pieces are: same `index`, and no other `type`."""
    if not isinstance(item, dict) or not isinstance(item.get("index"), int):
        return None
    for place, known in enumerate(items):
        same_kind = isinstance(known, dict) and item.get("type") in (None, known.get("type"))
        if same_kind and known.get("index") == item["index"]:
            return place
    return None
