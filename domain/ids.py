"""Identity: what a thing is called for ever, derived from where it stands and never from a counter.

A message's id hangs on the prompt that caused it, not on the turn's number: numbers start again when a thread is
terminated and started anew, and would serve last month's answer to a new question.
"""

from __future__ import annotations

import hashlib
import json
import uuid

NAMESPACE = uuid.UUID("7c1a2f64-3f0e-5d0b-9a52-6d1f0e3b8a11")  # permanent: every stored id depends on it
WORKFLOW_PREFIX = "thread/"

_TURN = 1_000_000
_STEP = 1_000
PROMPT_ORDINAL, ANSWER_ORDINAL, TOOL_ORDINAL, SAID_ORDINAL, JOINED_ORDINAL = 0, 1, 100, 300, 500
REFUSAL_STEP = 990
MAX_STEPS = 900
MAX_CALLS = 128  # tool calls in one step
WAITING_SEQ = 8 * 10**15  # after every turn, below 2**53: the place of prompts that have no turn yet


def _derive(*parts: str | int) -> str:
    """JSON keeps the parts apart, so ("a", "bc") and ("ab", "c") differ."""
    return str(uuid.uuid5(NAMESPACE, json.dumps(parts, separators=(",", ":"))))


def message_id(thread: str, prompt_id: str, slot: str, *, branch: int = 0, step: int = 0) -> str:
    """The id of the message in `slot` (`prompt`, `answer`, `tool:<i>`) of one step; the same on every attempt."""
    return _derive(thread, prompt_id, branch, step, slot)


def record_id(kind: str, *key: str) -> str:
    """The id of a record that is not a message, such as ("thread", thread)."""
    return _derive("record", kind, *key)


def given_prompt_id(run_id: str, ordinal: int) -> str:
    """The id of a prompt that came without one by the `ordinal`-th signal of a run, from 1, counting signals of any name.

    It can be told from the history, so that a repaired thread does not take the prompt for another.
    """
    return record_id("given", run_id, str(ordinal))


def updated_prompt_id(thread: str, update_id: str) -> str:
    """The id of a prompt that came without one by an update: the update's own id makes it idempotent, across runs too."""
    return record_id("given", thread, update_id)


def seq(turn: int, step: int, ordinal: int) -> int:
    """The place of a message in its thread; sorting by it gives the order of the conversation."""
    return turn * _TURN + step * _STEP + ordinal


def first_seq(turn: int) -> int:
    return seq(turn, 0, 0)


def workflow_id(thread: str) -> str:
    return WORKFLOW_PREFIX + thread


def thread_of(workflow_id: str) -> str | None:
    """The thread a workflow id names. Returns None if it is not of the form thread/<thread_id>."""
    thread = workflow_id.removeprefix(WORKFLOW_PREFIX)
    return thread if thread and thread != workflow_id else None


def opaque(*parts: str) -> str:
    """A short stable stand-in (16 hex digits) for an identifier that must not appear where it cannot be erased."""
    return _digest(parts, 16)


def content_digest(*parts: object) -> str:
    """20 hex digits that tell whether two prompts say the same."""
    return _digest(parts, 20)


def _digest(parts: object, digits: int) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
