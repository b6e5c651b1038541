"""What a message is found by: its text with who said it and when, and its place among the messages of its thread."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from domain.messages import Message

ROLES = ("user", "assistant")
_WORD = re.compile(r"[^\W\d_]+")
LONGEST_NAME = 100  # characters of a name that is indexed


def indexed_text(row: Message) -> str:
    """`Caroline: I went hiking yesterday (8 May 2023)`; empty if there is nothing to be found."""
    text = row.text.strip()
    if not text:
        return ""
    speaker = speaker_of(row)
    return f"{f'{speaker}: ' if speaker else ''}{text} ({spoken_date(row.created_at)})"


def speaker_of(row: Message) -> str:
    """Who said it by name: a person, or an agent; empty if that is not known."""
    name = row.author or (row.agent if row.role == "assistant" else None) or ""
    return name[:LONGEST_NAME]


def spoken_date(at: float) -> str:
    """`8 May 2023`, of seconds since 1970, as one would say it."""
    day = datetime.fromtimestamp(at, UTC)
    return f"{day.day} {day:%B %Y}"


@lru_cache(1_000)
def names_of(text: str) -> frozenset[str]:
    """Its words that may be names, in small letters: those with a capital, or all where there is none."""
    words = [word for word in _WORD.findall(text) if len(word) > 1]
    return frozenset(word.casefold() for word in [word for word in words if not word.islower()] or words)
