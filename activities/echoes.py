"""Echoes: what a model says again of what it was reminded of, which is no news."""

from __future__ import annotations

import re
from collections.abc import Sequence

from activities.ports import Store
from domain.context_record import ContextRecord
from domain.facts import digest_of, supported
from domain.memory_tools import RECALL
from domain.messages import Message

MOST_RECALLED = 20  # messages, those that were found best
MOST_ANSWERS = 20  # of a turn, whose records are read

_END = re.compile(r"(?<=[.!?])\s+|\n+")


async def recalled_in(rows: Sequence[Message], store: Store) -> list[str]:
    """What was recalled in a turn, by the tool or for the context, in sentences."""
    texts = (row.text for row in rows if row.role == "tool" and row.name == RECALL)
    lines = [line for text in texts for line in text.splitlines() if line.startswith("- ")]
    shown = await store.get(await _shown(rows, store))
    return lines + [sentence for message in shown for sentence in _END.split(message.text) if sentence.strip()]


def is_echo(fact: str, said: str, recalled: Sequence[str]) -> bool:
    """Whether a fact stems from what was recalled, and not from what the user said."""
    if supported(fact, said):
        return False
    return any(supported(fact, text) or digest_of(fact) == digest_of(text) for text in recalled)


async def _shown(rows: Sequence[Message], store: Store) -> list[str]:
    """The ids of the messages that were recalled for the contexts of the turn's answers."""
    answers = [row.id for row in rows if row.role == "assistant"][-MOST_ANSWERS:]
    records = [ContextRecord.model_validate(row.context or {}) for row in await store.get(answers)]
    notes = sorted((note for record in records for note in record.recalled), key=lambda note: -note.score)
    return list(dict.fromkeys(shown for note in notes for shown in note.ids))[:MOST_RECALLED]
