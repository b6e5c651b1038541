"""What is asked of a chat model and what it answers, in no provider's dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.chat import ChatMessage
from domain.messages import ToolCall, Usage


@dataclass(frozen=True)
class AnswerFormat:
    """The answer is a JSON object: one that fits the schema, or any, if `schema` is None."""

    name: str
    schema: dict[str, Any] | None = None
    strict: bool = False  # the schema is one that a provider can hold the model to, letter by letter


@dataclass(frozen=True)
class ModelRequest:
    """One call of a model. `tools` are in the provider's own form (JSON schema).

    `tool_choice` is auto, required, none or the name of a tool. `model` None is the default of the settings; `fallbacks`
    are asked in turn while a model before them is not available.
    Raises: FormatRefusedError from the call if the provider does not know `answer_format`.
    """

    model: str | None
    messages: Sequence[ChatMessage]
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool | None = None  # None: as the provider likes
    options: dict[str, Any] = field(default_factory=dict)
    answer_format: AnswerFormat | None = None
    fallbacks: Sequence[str] = ()


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class ReasoningDelta:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class ToolDelta:
    """A piece of the arguments of the answer's call number `index`. `call_id` is empty as long as it is not known."""

    index: int
    call_id: str
    tool: str
    text: str


Piece = TextDelta | ReasoningDelta | ToolDelta


@dataclass(frozen=True)
class Completion:
    """The end of a model call: the whole answer. `raw` is the provider's object."""

    text: str
    tool_calls: Sequence[ToolCall]
    finish: str
    model: str
    usage: Usage | None
    raw: dict[str, Any]
    reasoning: str = ""
    sources: Sequence[
        dict[str, Any]
    ] = ()  # what the answer is drawn from: {url, title, …}, as far as the provider says
