"""Messages and records as Qdrant points: payloads, indexes, filters. Shared by the embedded store and a server's.

What is searched or ordered by is a payload field; what is only kept (the provider's object, metadata, a checkpoint) is
JSON text, since a payload bounds nesting and numbers, and rounds floats, and an object from outside knows no bounds.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from domain import ids
from domain.erasure import DELETED
from domain.errors import InputRefusedError
from domain.listing import ThreadFilter
from domain.messages import Message, ThreadRecord
from domain.recall import IndexState
from domain.vectors import WORDS

MESSAGES, RECORDS, FACTS, CHUNKS = "messages", "records", "facts", "chunks"
SPARSE_VECTOR = WORDS
# What a model call's context is made of: a hundred rows a call, so no more is read than that.
OF_CONTEXT = (
    *("id", "thread", "prompt_id", "slot", "role", "turn", "branch", "step", "seq", "status", "text", "tool_calls"),
    *("call_id", "name", "author", "agent", "parts", "replaced_by", "blob", "tokens", "created_at"),
)
NOT_LISTED = ("raw", "mcp", "context")  # large, and rarely wanted
OF_RANKING = ("id", "thread", "place", "author", "agent", "role", "created_at")
# Of a payload: `listed` is without NOT_LISTED, `context` and `ranking` are only what is named above.
Fields = Literal["all", "none", "listed", "context", "ranking"]
KEPT_AS_TEXT = (
    *("raw", "mcp", "context", "result", "metadata", "parts", "options", "reply_to", "delivery"),
    *("decision", "blob", "object", "repair", "sources", "child", "parent", "lesson"),
)
NOT_DELETED = {"status": [DELETED]}  # a deleted thread leaves a tombstone
TIMES = ("created_at", "updated_at")
TIME_DIGITS = 6  # Qdrant rounds longer ones when it stores them, and then a page could begin behind its first row

# Every field that a filter names has an index: a server in strict mode, as Qdrant Cloud is, refuses other filters.
IndexKind = Literal["keyword", "integer", "float", "words"]
INDEXES: dict[str, dict[str, IndexKind]] = {
    MESSAGES: {
        "tenant": "keyword",
        "owner": "keyword",
        "thread": "keyword",
        "role": "keyword",
        "status": "keyword",
        "waits": "keyword",
        "turn": "integer",
        "seq": "integer",
        "attempt": "integer",
        "created_at": "float",
        "updated_at": "float",
        "agent": "keyword",
        "index": "keyword",
        "blob": "words",
        "place": "integer",
        "learn": "keyword",
        "learn_at": "float",
    },
    FACTS: {
        "tenant": "keyword",
        "owner": "keyword",
        "agent": "keyword",
        "scope": "keyword",
        "status": "keyword",
        "digest": "keyword",
        "message": "keyword",
        "thread": "keyword",
        "space": "keyword",
        "supersedes": "keyword",
        "embedded": "keyword",
        "created_at": "float",
        "updated_at": "float",
    },
    CHUNKS: {
        "kind": "keyword",
        "tenant": "keyword",
        "namespace": "keyword",
        "document": "keyword",
        "key": "keyword",
        "digest": "keyword",
        "status": "keyword",
        "place": "integer",
        "filters": "keyword",
        "created_at": "float",
        "updated_at": "float",
        "embedded": "keyword",
        "notice": "keyword",
        "notice_at": "float",
        "order": "float",
        "current": "keyword",
    },
    RECORDS: {
        "kind": "keyword",
        "thread": "keyword",
        "erasure": "keyword",
        "tenant": "keyword",
        "owner": "keyword",
        "agent": "keyword",
        "status": "keyword",
        "preview": "words",
        "epoch": "integer",
        "turns": "integer",
        "rank": "integer",
        "compaction": "keyword",
        "compact_through": "integer",
        "updated_at": "float",
    },
}


@dataclass(frozen=True)
class Where:
    """A filter in no engine's dialect: all of these must hold."""

    point_id: str | None = None
    point_ids: Sequence[str] | None = None
    equal: Mapping[str, str | int] = field(default_factory=dict)
    among: Mapping[str, Sequence[str] | Sequence[int]] = field(default_factory=dict)  # it is one of these
    among_all: Sequence[tuple[str, Sequence[str]]] = ()  # likewise, and a field may be named more than once
    words: Mapping[str, str] = field(default_factory=dict)  # the text has all of these, in whatever case and order
    unequal: Mapping[str, list[str]] = field(default_factory=dict)
    below: Mapping[str, float] = field(default_factory=dict)  # strictly
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)
    missing: Sequence[str] = ()  # fields that are not there, or are empty


def may_write(message_id: str, attempt: int) -> Where:
    """The fence: the row is open, and no later attempt holds it."""
    return Where(message_id, equal={"status": "pending"}, at_most={"attempt": attempt})


def may_reopen(message_id: str, attempt: int) -> Where:
    """The fence of an end that is taken back."""
    return Where(message_id, unequal={"status": ["pending"]}, at_most={"attempt": attempt})


def threads_where(where: ThreadFilter) -> Where:
    equal = {"kind": "thread"} | where.model_dump(exclude_none=True, exclude={"text"})
    text = where.text or ""
    return Where(equal=equal, words={"preview": text} if text.strip() else {}, unequal=NOT_DELETED)


def message_payload(message: Message) -> dict[str, Any]:
    return payload(message.model_dump(mode="json", exclude_none=True))


def payload(changes: dict[str, Any]) -> dict[str, Any]:
    """Fields of a message, or changes of some, as they are stored."""
    return {name: _stored(name, value) for name, value in changes.items()}


def message_of(stored: dict[str, Any]) -> Message:
    return Message.model_validate(fields(stored))


def thread_point_id(thread: str) -> str:
    return ids.record_id("thread", thread)


def thread_payload(record: ThreadRecord) -> dict[str, Any]:
    return {"kind": "thread"} | payload(record.model_dump(mode="json"))


def owner_point_id(tenant: str, owner: str) -> str:
    return ids.record_id("owner", tenant, owner)


def owner_payload(record: ThreadRecord) -> dict[str, Any]:
    return {"kind": "owner", "tenant": record.tenant, "owner": record.owner, "updated_at": record.created_at}


def receipt_point_id(erasure: str) -> str:
    return ids.record_id("receipt", erasure)


def thread_of(stored: dict[str, Any]) -> ThreadRecord:
    return ThreadRecord.model_validate({name: value for name, value in fields(stored).items() if name != "kind"})


def checkpoint_point_id(thread: str) -> str:
    return ids.record_id("checkpoint", thread)


def summary_point_id(thread: str) -> str:
    return ids.record_id("summary", thread)


def checkpoint_payload(thread: str, epoch: int, turn: int, state: dict[str, Any]) -> dict[str, Any]:
    """`rank` orders checkpoints of one thread."""
    return {"kind": "checkpoint", "thread": thread, "rank": epoch * 10**9 + turn, "state": _text(state)}


def checkpoint_state(stored: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(stored["state"])
    return state


def index_point_id() -> str:
    return ids.record_id("index", MESSAGES)


def index_payload(state: IndexState) -> dict[str, Any]:
    return {"kind": "index", "state": _text(state.model_dump(mode="json"))}


def index_state(stored: dict[str, Any]) -> IndexState:
    return IndexState.model_validate_json(stored["state"])


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: the value it was ordered by, and the rows already given that have this very value."""

    value: float
    seen: tuple[str, ...]

    def encode(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.value, *self.seen]).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises: InputRefusedError if the text is not a cursor of ours."""
        try:
            value, *seen = json.loads(base64.urlsafe_b64decode(text.encode()))
            cursor = cls(float(value), tuple(map(str, seen)))
        except (ValueError, TypeError, OverflowError, RecursionError):
            cursor = None
        if cursor is None or not math.isfinite(cursor.value):
            raise InputRefusedError("cursor: not one that a page before this gave; leave it out to start over")
        return cursor

    @classmethod
    def after(cls, rows: list[tuple[str, float]], before: Cursor | None) -> Cursor:
        """The cursor behind `rows`, pairs of id and value; `before` is the cursor that led to them."""
        value = rows[-1][1]
        seen = tuple(row_id for row_id, row_value in rows if row_value == value)
        return cls(value, seen + (before.seen if before and before.value == value else ()))


def _stored(name: str, value: Any) -> Any:
    if name in TIMES and value is not None:
        return round(value, TIME_DIGITS)
    return _text(value) if name in KEPT_AS_TEXT else value


def fields(stored: dict[str, Any]) -> dict[str, Any]:
    """What `payload` made, as it was."""
    return {name: json.loads(v) if name in KEPT_AS_TEXT and v is not None else v for name, v in stored.items()}


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))
