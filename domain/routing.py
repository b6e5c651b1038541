"""What an agent's `route` sees before a turn's first model call: it names the agent that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RouteInfo:
    """A prompt that is about to be answered. `agents` are those of the catalog; `answered_by` those whose answers the
    thread has of late, oldest first.
    """

    agent: str  # whose route it is
    thread: str
    turn: int
    prompt: str
    agents: Sequence[str]
    answered_by: Sequence[str] = ()
    author: str | None = None
    owner: str = ""
    tenant: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)  # of the prompt


Route = Callable[[RouteInfo], str | Awaitable[str | None] | None]
