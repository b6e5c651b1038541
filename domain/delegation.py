"""An agent that another one asks: as a tool of it, on a thread of its own that knows where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from domain import ids
from domain.wire import Wire

OWN = "own"  # a new thread for each call
MAX_DEPTH = 5  # of agents that ask agents
PREFIX = "sub-"


@dataclass(frozen=True)
class Delegate:
    """Who answers the calls of a tool, and where: `thread` is `own`, or the name of a thread that the calls share.

    A shared thread belongs to the thread that asks, whichever of its agents' tools name it; its prompts are answered one
    after another, and its agents see what was said there before.
    """

    agent: str
    thread: str = OWN

    def child_of(self, thread: str, result_id: str) -> str:
        """The id of the thread that answers a call, the same on every attempt; `result_id` is that of its result's row."""
        shared = ids.record_id("sub", thread, self.thread)
        return PREFIX + (result_id if self.thread == OWN else shared)


class Parent(Wire):
    """Which call made a thread: `message_id` is that of its result. `depth` counts the agents above."""

    model_config = ConfigDict(extra="forbid")

    thread: Annotated[str, Field(min_length=1, max_length=200)]
    prompt_id: Annotated[str, Field(min_length=1, max_length=200)]
    message_id: Annotated[str, Field(min_length=1, max_length=200)]
    depth: Annotated[int, Field(ge=1, le=100, strict=True)]


class Child(BaseModel):
    """Who was asked by a call, where, and with what of the budget: decided once, and kept with the call's result."""

    model_config = ConfigDict(extra="allow")

    thread: str
    agent: str
    asked_at: float = 0.0  # seconds since 1970
    options: dict[str, Any] = Field(default_factory=dict)  # see domain.prompts.PromptOptions
