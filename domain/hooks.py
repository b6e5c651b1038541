"""What an agent's `prepare_step` sees before a model call, and what it may change about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from domain.chat import ChatMessage
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


@dataclass(frozen=True)
class ContextParts:
    """What a model call would show behind the system's messages, in its order.

    `search` is a message of the system that quotes what was found, if something was; `recent` are whole turns; `running` is
    the running turn behind its `prompt`.
    """

    agent: str
    thread: str
    turn: int
    step: int  # from 0
    search: Sequence[ChatMessage]
    recent: Sequence[ChatMessage]
    prompt: Sequence[ChatMessage]
    running: Sequence[ChatMessage]
    budget_tokens: int  # of the whole call
    author: str | None = None
    owner: str = ""
    tenant: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)  # of the prompt

    @property
    def messages(self) -> list[ChatMessage]:
        return [*self.search, *self.recent, *self.prompt, *self.running]


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
# Gives the messages in the place of ContextParts.messages.
ContextHandler = Callable[[ContextParts], Sequence[ChatMessage] | Awaitable[Sequence[ChatMessage]]]
