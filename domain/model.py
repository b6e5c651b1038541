"""What is asked of a chat model and what it answers, in no provider's dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.context import ChatMessage
from domain.messages import ToolCall, Usage


@dataclass(frozen=True)
class ModelRequest:
    """One call of a model. `tools` are in the provider's own form (JSON schema).

    `tool_choice` is auto, required, none or the name of a tool. `model` None is the default of the settings.
    """

    model: str | None
    messages: Sequence[ChatMessage]
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class Completion:
    """The end of a model call: the whole answer. `raw` is the provider's object."""

    text: str
    tool_calls: Sequence[ToolCall]
    finish: str
    model: str
    usage: Usage | None
    raw: dict[str, Any]
