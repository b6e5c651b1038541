"""When a turn is to end though the model would go on: conditions on what it has done, looked at before each model call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.messages import Message, Usage


@dataclass(frozen=True)
class DoneCall:
    """A tool call that has ended; `text` is what the model reads of it."""

    tool: str
    arguments: str  # JSON text, as the model wrote it
    succeeded: bool
    text: str


@dataclass(frozen=True)
class StopInfo:
    """What a turn has done so far, or since it was gone on with after an earlier end."""

    agent: str
    thread: str
    turn: int
    steps: int  # model calls that were made
    calls: Sequence[DoneCall]
    text: str  # of the last answer
    usage: Usage
    author: str | None = None
    owner: str = ""
    tenant: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)  # of the prompt


Stop = Callable[[StopInfo], bool | Awaitable[bool]]


def step_count(most: int) -> Stop:
    """After so many model calls and their tools. `Agent.max_steps` makes the last call without tools instead."""
    if most < 1:
        raise ValueError(f"step_count is at least 1, not {most}")
    return lambda info: info.steps >= most


def tool_called(name: str) -> Stop:
    """Once this tool has done what it was called for; a call that failed does not count."""
    return lambda info: any(call.tool == name and call.succeeded for call in info.calls)


def done_calls(turn: Sequence[Message]) -> list[DoneCall]:
    """The calls of a turn that have their result, in order."""
    results = {row.call_id: row for row in turn if row.role == "tool" and row.final}
    return [
        DoneCall(call.name, call.arguments, results[call.call_id].status == "complete", results[call.call_id].text)
        for row in turn
        for call in row.tool_calls
        if call.call_id in results
    ]
