"""What a live reader of a thread hears. Lossy by contract: the store has the truth.

An event's id is `<epoch>.<n>`. A reader whose id is of another epoch, or too old, gets a `snapshot` first, which
replaces what it has; then what follows. Every delta names its message and its attempt, so that text of an attempt that
was cut off is never taken for text of the next.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

EventKind = Literal[
    "snapshot",  # data: messages [{message_id, attempt, turn, text, reasoning?}] that stream right now
    "turn.started",  # data: turn, prompt_id, agent, text (of the prompt), author
    "prompt.joined",  # data: turn, prompt_id, text, author: it came to the running turn
    "message.started",  # data: message_id, attempt, turn, step
    "message.delta",  # data: message_id, attempt, text
    "reasoning.delta",  # data: message_id, attempt, text: what the model thinks
    "tool.delta",  # data: message_id, attempt, index, call_id, tool, text: of the arguments that the model writes
    "object.delta",  # data: message_id, attempt, object: as much of it as has come, in the place of the one before
    "message.finished",  # data: message_id, attempt, turn, step, status, finish
    "model.retrying",  # data: message_id, attempt, error, retry_in_s
    "tool.waiting",  # data: message_id, call_id, tool, turn, waits (approval or result), arguments, digest, deadline
    "tool.resolved",  # data: message_id, call_id, tool, turn, decision, by, reason
    "tool.started",  # data: message_id, call_id, tool, turn
    "tool.progress",  # data: message_id, call_id, tool, turn, attempt, and some of message, fraction, data, result (so far)
    "tool.retrying",  # data: message_id, call_id, tool, turn, attempt, error, retry_in_s
    "agent.changed",  # data: turn, prompt_id, agent, before, reason?: who answers from now on
    "operator.changed",  # data: operator (None: it is the agent's again), before
    "agent.asked",  # data: message_id, call_id, tool, turn, agent, child (thread), prompt_id (there)
    "tool.finished",  # data: message_id, call_id, tool, turn, status
    "server.away",  # data: turn, server, error: a turn began without the tools of this MCP server
    "turn.finished",  # data: turn, prompt_id, status, message_id, error
    "prompt.refused",  # data: prompt_id, error
]


class Event(BaseModel):
    """One thing that happened on a thread."""

    id: str
    kind: EventKind
    data: dict[str, Any] = Field(default_factory=dict)
