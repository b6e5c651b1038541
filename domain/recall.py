"""Recall: what is searched for in what was said, and what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.messages import Message
from domain.vectors import Dense, Sparse

LONGEST_QUERY = 10_000  # characters that are searched for; the rest of a longer text is left out
MOST_HITS = 100
MOST_AROUND = 20  # turns on each side of a hit


class Scope(BaseModel):
    """Whose messages are searched: of one tenant always, and of one owner or one thread."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = ""
    owner: str | None = None
    thread: str | None = None
    roles: Sequence[Literal["user", "assistant"]] = ()  # all, unless some are named
    agents: Sequence[str] = ()  # likewise
    after: float | None = None  # seconds since 1970: said then or later
    before: float | None = None  # said earlier
    before_seq: int | None = None  # of a thread: at an earlier place


class RecallQuery(BaseModel):
    """What to search for. `before` and `after` are the turns of the thread that come with a hit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    scope: Scope
    limit: int = Field(10, ge=1, le=MOST_HITS)
    least_score: float = Field(0.0, ge=0.0, le=1.0)
    before: int = Field(0, ge=0, le=MOST_AROUND)
    after: int = Field(0, ge=0, le=MOST_AROUND)


@dataclass(frozen=True)
class Recall:
    """What an agent is reminded of by a prompt: messages of the thread that it no longer sees, or of all the owner's.

    `limit` are the hits of a search, each with its whole turn and so many turns `before` and `after` it. Hits with a score
    below `least_score` (of 0 to 1, the best being 1) are left out.
    """

    scope: Literal["thread", "owner"] = "thread"
    limit: int = 10
    before: int = 0
    after: int = 0
    least_score: float = 0.0

    def __post_init__(self) -> None:
        if self.scope not in ("thread", "owner"):
            raise ValueError(f"recall: scope is thread or owner, not {self.scope!r}")
        if not 1 <= self.limit <= MOST_HITS:
            raise ValueError(f"recall: limit is 1 to {MOST_HITS}, not {self.limit}")
        if not (0 <= self.before <= MOST_AROUND and 0 <= self.after <= MOST_AROUND):
            raise ValueError(
                f"recall: before and after are 0 to {MOST_AROUND} turns, not {self.before} and {self.after}"
            )
        if not 0 <= self.least_score <= 1:
            raise ValueError(f"recall: least_score is 0 to 1, not {self.least_score}")


class Indexed(BaseModel):
    """What search has of a message: vectors by name. `attempt` is that of the row they were made of.

    `place` counts the thread's messages, so that the neighbours of a message can be told.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    id: str
    attempt: int
    vectors: dict[str, Dense | Sparse]
    place: int = 0
    tokens: int | None = None  # of its text


class IndexState(BaseModel):
    """Which vectors are searched, and how far those of another model are made.

    `active` are searched; None: words alone. While `filling` names a model, its vectors are made of every message, by id
    up to `after`, and then it is the active one.
    """

    active: str | None = None
    filling: str | None = None
    after: str | None = None
    filled: int = 0  # messages so far
    tokens: int = 0  # of all calls so far, as the models counted them


@dataclass(slots=True)
class Found:
    """A message as one list of a search has it, with the engine's score."""

    id: str
    thread: str
    place: int | None
    speaker: str
    created_at: float
    score: float = 0.0


class Hit(BaseModel):
    """A message that was found. `score` is of 0 to 1, comparable within one search."""

    model_config = ConfigDict(frozen=True)

    message: Message
    score: float
    dense: float | None = None  # cosine similarity to the query, if it was among the nearest
    lexical: float | None = None  # weight of the words in common, likewise


class Recalled(BaseModel):
    """Best first. `note` says what was wrong with the search, if something was."""

    hits: list[Hit] = Field(default_factory=list)
    note: str = ""
    model: str | None = None  # whose vectors were searched, beside words
