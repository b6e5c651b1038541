"""What an agent is: a named definition that a prompt is answered by."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from domain import ids
from domain.approvals import ApprovalPolicy
from domain.delegation import Delegate
from domain.errors import InputRefusedError
from domain.hooks import ContextHandler, PrepareStep, Respond
from domain.knowledge import KnowledgeSource
from domain.mcp import McpServer
from domain.memory import Memory
from domain.output import Output, is_plain, output_of
from domain.prompts import Mode, PromptOptions
from domain.recall import Recall
from domain.routing import Route
from domain.stopping import Stop, tool_called
from domain.tooling import Asker

Effect = Literal["read", "idempotent", "write"]
NeedsApproval = Callable[[dict[str, Any]], bool | Awaitable[bool]]  # from the arguments of a call

NAME, AGENT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_TOOL_S = LONGEST_TURN_S = 86_400.0
MOST_RECENT = 1_000  # messages
MOST_RETRIES = 20
LEAST_RESULT_CHARS, MOST_RESULT_CHARS = 500, 1_000_000
CHOICES = ("auto", "required", "none")  # of tools, beside the name of one


@dataclass(frozen=True)
class Tool:
    """A function the model may call.

    `effect` says what a repetition does: `read` nothing, `idempotent` the same again, `write` harm; a `write` tool is
    never run twice for one call. `parameters` is the JSON schema of the arguments object, `parse` turns the model's
    JSON text into keyword arguments. Raises: ValueError from `parse` with a sentence that the model can act on.

    `function` is sync, async, or a generator of either kind, of which each value is told to live readers and the last is
    the result. It is called with a ToolContext as the argument that `context` names. `output_schema` is the JSON schema
    of its result, which `check` returns as it should be, or raises ValueError; `to_model` makes the text of it that the
    model reads. A call that raises or takes too long is tried `retries` times more. `queue` is the task queue whose
    workers run it. Of a result longer than `max_result_chars` the model reads the ends, and the rest on demand.

    `outside`: somebody else runs it, not `function`, and its call waits until they give the result. `needs_approval`: a
    call waits until somebody approves it; a function of the arguments says of which. If that raises, the call waits.

    With `delegate` the calls are answered by another agent, see catalog.agent_tool; with `handoff` the agent of that name
    takes the conversation over.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    parse: Callable[[str], dict[str, Any]]
    function: Callable[..., Any]
    effect: Effect = "write"
    timeout_s: float = 30.0
    context: str | None = None
    strict: bool = False  # the provider holds the model to the schema, which must then require every argument
    output_schema: dict[str, Any] | None = None
    check: Callable[[Any], Any] | None = None
    to_model: Callable[[Any], str] | None = None
    retries: int = 0
    queue: str | None = None
    max_result_chars: int = 20_000
    needs_approval: bool | NeedsApproval = False
    outside: bool = False
    delegate: Delegate | None = None
    handoff: str | None = None
    memory: bool = False  # it is one of domain.memory_tools

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"tool {self.name!r}: a name is 1 to 64 letters, digits, _ and -")
        for problem in self._problems():
            raise ValueError(f"tool {self.name!r}: {problem}")

    def _problems(self) -> Iterator[str]:
        if not 0 < self.timeout_s <= LONGEST_TOOL_S:
            yield f"timeout_s must be above 0 and at most {LONGEST_TOOL_S:g}, not {self.timeout_s}"
        if self.effect not in get_args(Effect):
            yield f"effect must be one of {', '.join(get_args(Effect))}, not {self.effect!r}"
        yield from _out_of("retries", self.retries, 0, MOST_RETRIES)
        if self.retries and self.effect == "write":
            yield 'a tool that writes is never run twice for one call: set retries=0, or effect="idempotent" if it may be'
        if self.queue is not None and not 1 <= len(self.queue.strip()) <= 200:
            yield f"queue is the name of a task queue, 1 to 200 characters, not {self.queue!r}"
        yield from _out_of("max_result_chars", self.max_result_chars, LEAST_RESULT_CHARS, MOST_RESULT_CHARS)
        if self.outside and self.needs_approval:
            yield "a tool that others run needs no approval; whoever runs it decides"


@dataclass(frozen=True)
class Agent:
    """A named definition: instructions, model, tools, limits. What a prompt's `options` say counts before it.

    - `instructions`: the text of a system message, or of several.
    - `model`: None is the model of the settings, `provider/model` one of a provider of the settings; of a list the first that
      is available answers. `options` goes to the provider as it is (temperature, max_tokens …). `respond`, an async
      generator or a function of the request and the step, answers in the place of an endpoint.
    - Limits of a turn: None means none. The model is told which was reached, and that call, without tools, is the last.
    - `tools`; `provider_tools` are offered as they are, to be run by the provider. `tool_choice` is auto, required, none or a
      tool's name; one that forces a tool does so in the first call of a turn. `parallel_tool_calls` None is the provider's
      default. `approvals` says which calls wait for somebody, and how long. `deps` reaches every tool as ToolContext.deps:
      as it is, or what it returns if it is a function, sync or async, of the Asker.
    - `output`: what the turn's last answer must be, if not just text: a pydantic model (or any type it can check), a JSON
      schema or a list of texts to choose from. `stop`: conditions (domain.stopping) of which one that is met ends the turn
      before its next model call.
    - `busy_mode`: what a prompt does that comes while a turn runs and does not say.
    - `prepare_step`, sync or async, may change each model call; it may be called more than once for one. `route`, likewise,
      names before the first call of a turn the agent that answers it in this one's place; None means this one. If one
      raises, or takes longer than 30 s, the turn fails. `handoffs` names agents to which the model may hand the
      conversation over.
    - `recall`: what a search for the prompt adds to the context; None: nothing.
    - `context_handler`, likewise, makes the messages of each model call of what was found, the recent turns, the prompt and
      the running turn; what it returns is made valid for the provider.
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
    exclude_tool_messages: bool = False  # of earlier turns: the model sees what was said, not what was called
    max_message_tokens: int | None = None  # of one message in the context; of a longer one it sees the ends
    recall: Recall | None = field(default_factory=Recall)
    recalled_share: float = 0.25  # of the context, for what a search finds of earlier times
    context_handler: ContextHandler | None = None
    compaction: bool = True  # older turns that do not fit any longer are summarised in the background
    compaction_model: str | None = None  # that does so; None: the agent's
    options: dict[str, Any] = field(default_factory=dict)
    provider_tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool | None = None
    stop: Sequence[Stop] = ()
    output: Any = None  # kept as domain.output.Output
    busy_mode: Mode = "queue"
    prepare_step: PrepareStep | None = None
    approvals: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    deps: Any = None
    route: Route | None = None
    handoffs: tuple[str, ...] = ()
    respond: Respond | None = None
    mcp: tuple[McpServer, ...] = ()  # servers whose tools it has, beside its own
    knowledge: tuple[KnowledgeSource, ...] = ()  # documents that it looks things up in
    memory: Memory | None = None  # what it keeps beyond its threads

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
        given: Sequence[object] = self.tools
        if strangers := [tool for tool in given if not isinstance(tool, Tool)]:
            yield f"tools are made by @tool(), or found by catalog.installed.tool(name); {strangers[0]!r} is neither"
            return
        if not self.models or not all(model is None or isinstance(model, str) for model in self.models):
            yield "model is a name or a list of names, at least one"
        if self.name in self.handoffs or len(self.handoffs) != len(set(self.handoffs)):
            yield f"handoffs names other agents, each once, not {', '.join(self.handoffs)}"
        if self.busy_mode not in get_args(Mode):
            yield f"busy_mode must be one of {', '.join(get_args(Mode))}, not {self.busy_mode!r}"
        if not _are_functions(self.stop):
            yield "stop is a list of conditions, such as [tool_called('pay')]"
        if not all(isinstance(source, KnowledgeSource) for source in self.knowledge):
            yield "knowledge is a list of KnowledgeSource"
        yield from self._tool_problems()
        yield from self._limit_problems()

    def _tool_problems(self) -> Iterator[str]:
        names = [tool.name for tool in self.tools]
        if len(names) != len(set(names)):
            yield "two tools have the same name"
        for tool in self.provider_tools:
            if tool.get("type") in (None, "function") or not is_plain(tool):
                yield f"provider_tools are JSON objects with a type that the provider knows, not {tool!r}"
        if not NAME.fullmatch(self.tool_choice):
            yield f"tool_choice is one of {', '.join(CHOICES)} or a tool's name, not {self.tool_choice!r}"
        if not all(isinstance(server, McpServer) for server in self.mcp):
            yield "mcp is a list of McpServer"
            return
        servers = [server.name for server in self.mcp]
        if len(servers) != len(set(servers)):
            yield "two MCP servers have the same name"

    def _limit_problems(self) -> Iterator[str]:
        yield from _out_of("max_steps", self.max_steps, 1, ids.MAX_STEPS)
        yield from _out_of("recent_messages", self.recent_messages, 0, MOST_RECENT)
        yield from _out_of("max_message_tokens", self.max_message_tokens, 50, 10**7)
        yield from _out_of("recalled_share", self.recalled_share, 0, 0.9)
        yield from _out_of("max_tokens", self.max_tokens, 1, 10**12)
        yield from _out_of("max_seconds", self.max_seconds, 0.001, LONGEST_TURN_S)
        yield from _out_of("max_repeats", self.max_repeats, 2, 10**6)
        yield from _out_of("max_failing_steps", self.max_failing_steps, 1, ids.MAX_STEPS)


@dataclass(frozen=True)
class AgentFactory:
    """An agent made for whoever asks: `build`, sync or async, is called for each model call and each tool call.

    The agent it returns is named `name`, whatever it says itself. If it raises, returns something else or takes longer
    than 30 s, the turn fails.
    """

    name: str
    build: Callable[[Asker], Agent | Awaitable[Agent]]
    description: str = ""

    def __post_init__(self) -> None:
        if not AGENT_NAME.fullmatch(self.name):
            raise ValueError(f"agent {self.name!r}: a name is 1 to 64 letters, digits, _, . and -")


def with_options(agent: Agent, options: PromptOptions) -> Agent:
    """The agent as a prompt wants it: each option that is given replaces the agent's as a whole.

    Raises: InputRefusedError: If a tool is named that the agent does not have, or a limit is out of bounds.
    """
    given = {name: value for name in type(options).model_fields if (value := getattr(options, name)) is not None}
    given.pop("searchable")  # of the messages, not of the agent
    given.pop("context_prompt", None)
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
