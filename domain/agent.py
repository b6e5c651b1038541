"""What an agent is: a named definition that a prompt is answered by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from domain import ids
from domain.errors import InputRefusedError
from domain.hooks import PrepareStep
from domain.mcp import McpServer
from domain.prompts import Mode, PromptOptions

Effect = Literal["read", "idempotent", "write"]

NAME, AGENT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_TOOL_S = LONGEST_TURN_S = 86_400.0
MOST_RECENT = 1_000  # messages


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
    """A named definition: instructions, model, tools, limits. What a prompt's `options` say counts before it.

    `instructions` is the text of a system message, or of several. `model` None means the model of the settings;
    `provider/model` names a provider of the settings. `options` goes to the provider as it is (temperature, max_tokens …).
    Of the limits of a turn None means none; the model is told which was reached, and that call, without tools, is the
    last. `busy_mode` is what a prompt does that comes while a turn runs and does not say. `prepare_step`, sync or async,
    may change each model call; it may be called more than once for one. If it raises, or takes longer than 30 s, the
    turn fails.
    """

    name: str
    instructions: str | Sequence[str] = "You are a helpful assistant."
    description: str = ""
    model: str | None = None
    tools: tuple[Tool, ...] = ()
    max_steps: int = 10  # model calls in one turn; the last one is made without tools
    max_tokens: int | None = None  # of all model calls in one turn, read and written
    max_seconds: float | None = None  # from the first model call of a turn; one that runs then is cut
    max_repeats: int | None = 5  # times that one turn may make the very same call
    max_failing_steps: int | None = 5  # in a row, in each of which every tool failed
    recent_messages: int = 100
    options: dict[str, Any] = field(default_factory=dict)
    busy_mode: Mode = "queue"
    prepare_step: PrepareStep | None = None
    mcp: tuple[McpServer, ...] = ()  # servers whose tools it has, beside its own

    def __post_init__(self) -> None:
        if not AGENT_NAME.fullmatch(self.name):
            raise ValueError(f"agent {self.name!r}: a name is 1 to 64 letters, digits, _, . and -")
        for problem in self._problems():
            raise ValueError(f"agent {self.name!r}: {problem}")

    def tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    def only(self, names: Sequence[str]) -> tuple[Tool, ...]:
        """The tools of these names, in the agent's order; what a server may have had is left out if it is not there.

        Raises: ValueError for a name that is none of them.
        """
        known = [tool.name for tool in self.tools]
        for name in names:
            if name not in known and not self.may_be_served(name):
                raise ValueError(
                    f"agent {self.name!r} has no tool {name!r}; its tools are: {', '.join(known) or 'none'}"
                )
        return tuple(tool for tool in self.tools if tool.name in names)

    def may_be_served(self, name: str) -> bool:
        """Whether a tool of this name may be one of its servers', which may be away, or have taken it off their list."""
        return name.startswith(tuple(f"{server.name}_" for server in self.mcp))

    def _problems(self) -> Iterator[str]:
        if not (isinstance(self.instructions, str) or all(isinstance(text, str) for text in self.instructions)):
            yield "instructions are a text or a list of texts"
        names = [tool.name for tool in self.tools]
        if len(names) != len(set(names)):
            yield "two tools have the same name"
        if not all(isinstance(server, McpServer) for server in self.mcp):
            yield "mcp is a list of McpServer"
            return
        servers = [server.name for server in self.mcp]
        if len(servers) != len(set(servers)):
            yield "two MCP servers have the same name"
        if self.busy_mode not in get_args(Mode):
            yield f"busy_mode must be one of {', '.join(get_args(Mode))}, not {self.busy_mode!r}"
        yield from _out_of("max_steps", self.max_steps, 1, ids.MAX_STEPS)
        yield from _out_of("recent_messages", self.recent_messages, 0, MOST_RECENT)
        yield from _out_of("max_tokens", self.max_tokens, 1, 10**12)
        yield from _out_of("max_seconds", self.max_seconds, 0.001, LONGEST_TURN_S)
        yield from _out_of("max_repeats", self.max_repeats, 2, 10**6)
        yield from _out_of("max_failing_steps", self.max_failing_steps, 1, ids.MAX_STEPS)


def with_options(agent: Agent, options: PromptOptions) -> Agent:
    """The agent as a prompt wants it: each option that is given replaces the agent's as a whole.

    Raises: InputRefusedError: If a tool is named that the agent does not have, or a limit is out of bounds.
    """
    given = {name: value for name in type(options).model_fields if (value := getattr(options, name)) is not None}
    if "settings" in given:
        given["options"] = given.pop("settings")
    try:
        if "tools" in given:
            given["tools"] = agent.only(given["tools"])
        return replace(agent, **given)
    except ValueError as error:
        raise InputRefusedError(f"options of the prompt: {error}") from None


def _out_of(name: str, value: float | None, least: float, most: float) -> Iterator[str]:
    if value is not None and not least <= value <= most:
        yield f"{name} must be {least:g} to {most:g}, not {value}"
