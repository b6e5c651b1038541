"""What an answer was drawn from, as each provider tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST = 200
LONGEST_URL = 2_000  # characters
_KEPT = ("title", "date", "start_index", "end_index")


def sources_of(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Each address once: {url, title?, date?, start_index?, end_index?}; the indexes are places in the answer's text."""
    found: dict[str, dict[str, Any]] = {}
    for item in _items(raw):
        source = {"url": item} if isinstance(item, str) else item
        url = source.get("url") if isinstance(source, dict) else None
        if isinstance(url, str) and 0 < len(url) <= LONGEST_URL:
            kept = {key: source[key] for key in _KEPT if isinstance(source.get(key), str | int)}
            found[url] = {"url": url} | kept | {key: value for key, value in found.get(url, {}).items() if value}
    return list(found.values())[:MOST]


def _items(raw: dict[str, Any]) -> Iterator[Any]:
    message = raw.get("message")
    fields = message if isinstance(message, dict) else {}
    for note in _list(fields.get("annotations")):  # OpenAI, OpenRouter
        if isinstance(note, dict):
            yield note.get("url_citation") or note
    for tool in _list(fields.get("executed_tools")):  # Groq
        results = tool.get("search_results") if isinstance(tool, dict) else None
        yield from _list(results.get("results") if isinstance(results, dict) else results)
    yield from _list(raw.get("search_results"))  # Perplexity
    yield from _list(raw.get("citations"))  # Perplexity, xAI
    yield from _list(fields.get("citations"))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
