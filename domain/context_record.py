"""The record of what a model call was shown, and why: kept with the answer, and read by whoever wonders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.messages import ToolCall

MOST_IDS = 200  # of a record, for it is stored with every answer

# Why something is not shown: `budget` and `window` count turns (too many tokens, too many messages or cut off at the
# window's beginning), `shown` what was found but stands in the window, `later` what was said after the prompt, `twice` what was
# found more than once, `share` what the recalled share of the budget has no room for, `unusable` what is no whole turn
# that ended well, or says nothing.
REASONS = ("budget", "window", "shown", "later", "twice", "share", "unusable")
PARTS = ("instructions", "memory", "summary", "recalled", "recent", "prompt", "running", "tools")


class RecalledNote(BaseModel):
    """A recalled turn. `ids` are its messages that are shown, `score` that of the best hit among them."""

    model_config = ConfigDict(extra="allow")

    thread: str
    turn: int | None = None
    score: float = 0.0
    ids: list[str] = Field(default_factory=list)
    hits: list[str] = Field(default_factory=list)


class ContextRecord(BaseModel):
    """`tokens` by part, see PARTS, as they were counted; `budget` was for all of them."""

    model_config = ConfigDict(extra="allow")

    budget: int = 0
    counted_by: str = "estimate"
    tokens: dict[str, int] = Field(default_factory=dict)
    recent: list[str] = Field(default_factory=list)  # ids of messages, oldest first
    recalled: list[RecalledNote] = Field(default_factory=list)  # as they stand in the context
    memory: list[str] = Field(default_factory=list)  # names
    running: list[str] = Field(default_factory=list)  # ids, the prompt's first
    shortened: list[str] = Field(default_factory=list)  # ids of messages whose middle is left out
    abridged: list[str] = Field(default_factory=list)  # ids of prompts of whose turn only the ends are shown
    dropped: dict[str, int] = Field(default_factory=dict)  # how many, by reason
    summary_through: int | None = None  # the last turn that the summary stands for
    halved: int = 0  # how often the budget was, since the provider took no more
    search: str = ""  # what was wrong with the search, if something was
    model: str | None = None  # whose vectors were searched
    handled: bool = False  # the agent's context_handler made the messages
    more_ids: int = 0  # that are left out of this record

    @property
    def overflowed(self) -> bool:
        """Older turns did not fit."""
        return bool(self.dropped.get("budget") or self.abridged or self.halved)

    def stored(self) -> dict[str, Any]:
        """With no more than so many ids, the newest, and without what says nothing."""
        kept = self.model_dump(mode="json", exclude_defaults=True)
        room = MOST_IDS
        for name in ("running", "recent", "shortened", "abridged"):
            ids = kept.get(name, [])
            kept_ids, room = ids[max(len(ids) - room, 0) :], max(room - len(ids), 0)
            if len(kept_ids) < len(ids):
                kept[name] = kept_ids
                kept["more_ids"] = kept.get("more_ids", 0) + len(ids) - len(kept_ids)
        return kept


class ShownMessage(BaseModel):
    """A message as a model is shown it."""

    role: str
    text: str = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    call_id: str | None = None
    name: str | None = None
    images: list[str] = Field(default_factory=list)  # their addresses


class ContextView(BaseModel):
    """What a model was shown for an answer, the `message`; or, with `messages`, what it would be shown."""

    thread: str
    message: str | None = None
    agent: str = ""
    record: ContextRecord
    messages: list[ShownMessage] = Field(default_factory=list)


def count_by_reason(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return counts
