"""What an agent is: a named definition that a prompt is answered by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from domain import ids
from domain.errors import InputRefusedError
from domain.hooks import PrepareStep, Respond
from domain.output import Output, is_plain, output_of
from domain.prompts import Mode, PromptOptions
from domain.stopping import Stop, tool_called

Effect = Literal["read", "idempotent", "write"]

NAME, AGENT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_TOOL_S = LONGEST_TURN_S = 86_400.0
MOST_RECENT = 1_000  # messages
CHOICES = ("auto", "required", "none")  # of tools, beside the name of one


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
    `provider/model` names a provider of the settings; of a list the first that is available answers. `options` goes to the provider as it is (temperature, max_tokens …).
    Of the limits of a turn None means none; the model is told which was reached, and that call, without tools, is the
    last. `output` is what the turn's last answer must be, if not just text: a pydantic model (or any type it can check),
    a JSON schema or a list of texts to choose from. `stop` are conditions (domain.stopping) of which one that is met ends
    the turn before its next model call. `tool_choice` is auto, required, none or a tool's name; one that forces a tool
    does so in the first call of a turn. `parallel_tool_calls` None is the provider's default. `busy_mode` is what a prompt does that comes while a turn runs and does not say. `prepare_step`, sync or async,
    may change each model call; it may be called more than once for one. If it raises, or takes longer than 30 s, the
    turn fails. `provider_tools` are offered as they are, to be run by the provider. `respond` answers in the place of an
    endpoint: an async generator or a function of the request and the step.
    """

    name: str
    instructions: str | Sequence[str] = "You are a helpful assistant."
    description: str = ""
    model: str | Sequence[str] | None = None
    tools: tuple[Tool, ...] = ()
    max_steps: int = 10  # model calls in one turn; the last one is made without tools
    max_tokens: int | None = None  # of all model calls in one turn, read and written
    max_seconds: float | None = None  # from the first model call of a turn; one that runs then is cut
    max_repeats: int | None = 5  # times that one turn may make the very same call
    max_failing_steps: int | None = 5  # in a row, in each of which every tool failed
    recent_messages: int = 100
    options: dict[str, Any] = field(default_factory=dict)
    provider_tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool | None = None
    stop: Sequence[Stop] = ()
    output: Any = None  # kept as domain.output.Output
    busy_mode: Mode = "queue"
    prepare_step: PrepareStep | None = None
    respond: Respond | None = None

    def __post_init__(self) -> None:
        if not AGENT_NAME.fullmatch(self.name):
            raise ValueError(f"agent {self.name!r}: a name is 1 to 64 letters, digits, _, . and -")
        for problem in self._problems():
            raise ValueError(f"agent {self.name!r}: {problem}")
        if self.output is not None:
            object.__setattr__(self, "output", self._output())

    def _output(self) -> Output:
        try:
            return output_of(self.output)
        except ValueError as error:
            raise ValueError(f"agent {self.name!r}: {error}") from None

    @property
    def models(self) -> tuple[str | None, ...]:
        """Those to be asked, in their order; None is the model of the settings."""
        return (self.model,) if self.model is None or isinstance(self.model, str) else tuple(self.model)

    def tool(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    def only(self, names: Sequence[str]) -> tuple[Tool, ...]:
        """The tools of these names, in the agent's order. Raises: ValueError for a name that is none of them."""
        known = [tool.name for tool in self.tools]
        for name in names:
            if name not in known:
                raise ValueError(
                    f"agent {self.name!r} has no tool {name!r}; its tools are: {', '.join(known) or 'none'}"
                )
        return tuple(tool for tool in self.tools if tool.name in names)

    def _problems(self) -> Iterator[str]:
        if not (isinstance(self.instructions, str) or all(isinstance(text, str) for text in self.instructions)):
            yield "instructions are a text or a list of texts"
        if not self.models or not all(model is None or isinstance(model, str) for model in self.models):
            yield "model is a name or a list of names, at least one"
        names = [tool.name for tool in self.tools]
        if len(names) != len(set(names)):
            yield "two tools have the same name"
        if self.busy_mode not in get_args(Mode):
            yield f"busy_mode must be one of {', '.join(get_args(Mode))}, not {self.busy_mode!r}"
        for tool in self.provider_tools:
            if tool.get("type") in (None, "function") or not is_plain(tool):
                yield f"provider_tools are JSON objects with a type that the provider knows, not {tool!r}"
        if not _are_functions(self.stop):
            yield "stop is a list of conditions, such as [tool_called('pay')]"
        if not NAME.fullmatch(self.tool_choice):
            yield f"tool_choice is one of {', '.join(CHOICES)} or a tool's name, not {self.tool_choice!r}"
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
    if "stop_after_tools" in given:
        given["stop"] = [tool_called(name) for name in given.pop("stop_after_tools")]
    try:
        if "tools" in given:
            names = given["tools"]
            given["tools"] = agent.only(names)
            if (
                agent.tool_choice not in CHOICES and agent.tool_choice not in names
            ):  # it was of a tool that is not there now
                given = {"tool_choice": "auto"} | given
        return replace(agent, **given)
    except ValueError as error:
        raise InputRefusedError(f"options of the prompt: {error}") from None


def _are_functions(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(callable, value))


def _out_of(name: str, value: float | None, least: float, most: float) -> Iterator[str]:
    if value is not None and not least <= value <= most:
        yield f"{name} must be {least:g} to {most:g}, not {value}"
