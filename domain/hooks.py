"""What an agent's `prepare_step` sees before a model call, and what it may change about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from domain.context import ChatMessage
from domain.messages import Usage
from domain.model import ModelRequest


@dataclass(frozen=True)
class StepInfo:
    """A model call that is about to be made. `messages` are what it will show, without the instructions."""

    agent: str
    thread: str
    turn: int
    step: int  # from 0
    last: bool  # no tools will be run after it
    messages: Sequence[ChatMessage]
    usage: Usage  # of the turn so far
    author: str | None = None
    owner: str = ""
    tenant: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)  # of the prompt


@checked(frozen=True, config=ConfigDict(revalidate_instances="always"))
class StepChanges:
    """What this one call has otherwise, each as a whole; None leaves it as it is. Fields of a wrong type are refused.

    `tools` names some of the agent's tools; a call of another one is not run. `tool_choice` is auto, required, none or
    the name of a tool. `settings` goes to the provider as it is. `messages` stand behind the instructions; calls in
    them that lack a result are closed, and results that lack a call are left out.
    """

    model: str | Sequence[str] | None = None
    instructions: str | Sequence[str] | None = None
    tools: Sequence[str] | None = None
    tool_choice: str | None = None
    settings: dict[str, Any] | None = None
    messages: Sequence[ChatMessage] | None = None


# Gives the answer in the place of an endpoint: yields or returns texts, pieces, or a Completion.
Respond = Callable[[ModelRequest, StepInfo], Any]
PrepareStep = Callable[[StepInfo], StepChanges | Awaitable[StepChanges | None] | None]
