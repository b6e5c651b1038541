"""The turns of a history that a model may be shown: whole, ended well, and of each the try that counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from domain.chat import ChatMessage, chat_of, says_something, with_text
from domain.messages import Message

ENDED_WELL = ("answered", "interrupted")


def whole_turns(history: Sequence[Message]) -> Iterator[list[Message]]:
    """Oldest first, of one thread. A turn that failed is left out, so that one bad turn cannot poison the thread.

    So is one that was replaced, one whose beginning is not there, and of one that was made anew all but the last try.
    """
    for _, rows in groupby(sorted(history, key=lambda m: m.seq), key=lambda m: m.turn):
        prompt, *others = rows
        if prompt.role == "assistant" and prompt.author is not None:  # what a person said unasked
            yield [prompt]
        elif prompt.role == "user" and prompt.status in ENDED_WELL and prompt.replaced_by is None:
            # What a user said belongs to every try at its turn.
            yield [prompt, *(row for row in others if row.role == "user" or row.branch == prompt.branch)]


def without_tools(turn: Sequence[Message]) -> list[Message]:
    """What was said, without calls and their results."""
    said = [row.model_copy(update={"tool_calls": []}) if row.tool_calls else row for row in turn if row.role != "tool"]
    return [row for row in said if row.role != "assistant" or row.text.strip()]


def abridged(turn: Sequence[Message]) -> list[tuple[Message, ChatMessage]]:
    """Of a turn that is too long to be shown: its prompt, which says so, and its last answer."""
    prompt, *others = turn
    answers = [row for row in others if row.role == "assistant" and row.text.strip()][-1:]
    left_out = sum(map(says_something, map(chat_of, others))) - len(answers)
    asked = chat_of(prompt)
    if left_out > 0:
        asked = with_text(asked, f"{asked.text}\n\n[… {left_out} messages of this turn are left out here …]".strip())
    return [(prompt, asked), *((row, replace(chat_of(row), tool_calls=())) for row in answers)]
