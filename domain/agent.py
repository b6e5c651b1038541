"""What an agent is: a named definition that a prompt is answered by."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from domain import ids

Effect = Literal["read", "idempotent", "write"]

NAME, AGENT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_TOOL_S = 86_400.0


@dataclass(frozen=True)
class Tool:
    """A function the model may call.

    `effect` says what a repetition does: `read` nothing, `idempotent` the same again, `write` harm; a `write` tool is
    never run twice for one call. `parameters` is the JSON schema of the arguments object, `parse` turns the model's
    JSON text into keyword arguments. Raises: ValueError from `parse` with a sentence that the model can act on.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    parse: Callable[[str], dict[str, Any]]
    function: Callable[..., Any]
    effect: Effect = "write"
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"tool {self.name!r}: a name is 1 to 64 letters, digits, _ and -")
        if not 0 < self.timeout_s <= LONGEST_TOOL_S:
            raise ValueError(
                f"tool {self.name!r}: timeout_s must be above 0 and at most {LONGEST_TOOL_S:g}, not {self.timeout_s}"
            )


@dataclass(frozen=True)
class Agent:
    """A named definition: instructions, model, tools, limits.

    `model` None means the model of the settings. `options` goes to the provider as it is (temperature, max_tokens …).
    """

    name: str
    instructions: str = "You are a helpful assistant."
    description: str = ""
    model: str | None = None
    tools: tuple[Tool, ...] = ()
    max_steps: int = 10  # model calls in one turn; the last one is made without tools
    recent_messages: int = 100
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not AGENT_NAME.fullmatch(self.name):
            raise ValueError(f"agent {self.name!r}: a name is 1 to 64 letters, digits, _, . and -")
        if not 1 <= self.max_steps <= ids.MAX_STEPS:
            raise ValueError(f"agent {self.name!r}: max_steps must be 1 to {ids.MAX_STEPS}, not {self.max_steps}")
        names = [tool.name for tool in self.tools]
        if len(names) != len(set(names)):
            raise ValueError(f"agent {self.name!r}: two tools have the same name")

    def tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)
