"""Servers of tools that speak the Model Context Protocol: who they are, and what is taken of what they offer.

What a server offers is written by others: it is cut to what a model and a store can take, and what has no use is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr

from domain.messages import mend_text

Effect = Literal["read", "idempotent", "write"]  # as domain.agent.Effect, which cannot be imported here
Secret = str | SecretStr

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
LONGEST_NAME = 64  # of a tool, as the model is told it
MAX_TOOLS = 128  # of one server: more than that no provider takes in a call
MAX_DESCRIPTION_CHARS, MAX_SCHEMA_BYTES = 4_000, 50_000
LONGEST_CONNECT_S, LONGEST_CALL_S = 300.0, 86_400.0


@dataclass(frozen=True)
class McpServer:
    """A server whose tools an agent may call: a `command` that speaks on standard input and output, or a `url`.

    Values of `headers` and `env` may be secrets: a SecretStr, or `env:NAME` for what the variable NAME holds when the
    server is connected to. A command gets PATH and HOME of ours and what `env` says, and nothing else.

    All other settings go by patterns (`*`, `?`, `[…]`) of the server's own names of its tools. `tools` says which are
    offered; `effects` what a repetition does, the first pattern that fits, and `write` where none does, unless
    `trust_hints`: then what the server says of the tool; `approve` which wait for somebody's approval.
    `connect_timeout_s` is for the start and for the list each, `timeout_s` for a call.
    """

    name: str
    command: Sequence[str] = ()
    url: str | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    env: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    tools: Sequence[str] = ("*",)
    effects: Mapping[str, Effect] = field(default_factory=dict)
    trust_hints: bool = False
    approve: Sequence[str] = ()
    connect_timeout_s: float = 20.0
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"MCP server {self.name!r}: a name is 1 to 32 letters, digits, _ and -")
        for problem in self._problems():
            raise ValueError(f"MCP server {self.name!r}: {problem}")

    @property
    def connection(self) -> str:
        """The same for servers that are the same process or address, whichever agents they are given to. Not reversible."""
        secrets = [[(key, _reveal(value)) for key, value in sorted(some.items())] for some in (self.headers, self.env)]
        text = json.dumps([list(self.command), self.url, self.cwd, *secrets])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()}"

    def offers(self, tool: str) -> bool:
        return _fits(self.tools, tool)

    def approves(self, tool: str) -> bool:
        """Whether a call of the tool waits for somebody's approval."""
        return _fits(self.approve, tool)

    def effect(self, tool: ServerTool) -> Effect:
        said = next((effect for pattern, effect in self.effects.items() if fnmatchcase(tool.name, pattern)), None)
        return said or (tool.hint if self.trust_hints else "write")

    def _problems(self) -> Iterator[str]:
        yield from self._problems_of_address()
        for what, patterns in {"tools": self.tools, "approve": self.approve}.items():
            if isinstance(patterns, str):
                yield f"{what} is a list of patterns, such as ['{patterns}']"
        for pattern, effect in self.effects.items():
            if effect not in get_args(Effect):
                yield f"effects[{pattern!r}] must be one of {', '.join(get_args(Effect))}, not {effect!r}"
        limits = {"connect_timeout_s": LONGEST_CONNECT_S, "timeout_s": LONGEST_CALL_S}
        for name, most in limits.items():
            if not 0 < getattr(self, name) <= most:
                yield f"{name} must be above 0 and at most {most:g}, not {getattr(self, name)}"

    def _problems_of_address(self) -> Iterator[str]:
        if isinstance(self.command, str):
            yield "command is a list: the program, then its arguments, each a text of its own"
        if bool(self.command) == bool(self.url):
            yield "give either a command, as a list, or a url"
        if self.url and (urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname):
            yield f"url must begin with http:// or https://, not {self.url[:60]!r}"
        if self.headers and not self.url:
            yield "headers go with a url; what a command needs goes into env"
        if (self.env or self.cwd) and not self.command:
            yield "env and cwd go with a command; what a url needs goes into headers"


@dataclass(frozen=True)
class ServerTool:
    """A tool as its server describes it; `hint` is what the server says of its effect."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    hint: Effect = "write"


@dataclass(frozen=True)
class ServerResult:
    """What a call gave, as the model reads it; `failed` is the tool's own word for it."""

    text: str
    failed: bool = False


class ListedTool(BaseModel):
    """A tool of a server as a turn was offered it: `name` to the model, `tool` to the server."""

    name: str
    server: str
    tool: str
    description: str
    parameters: dict[str, Any]
    effect: Effect = "write"
    approve: bool = False
    timeout_s: float = 60.0


class Listing(BaseModel):
    """What an agent's servers offered when its turn began, and why some did not. A turn keeps it until its end.

    `whole`: else only what one answer called of it.
    """

    whole: bool = True
    tools: list[ListedTool] = Field(default_factory=list)
    away: dict[str, str] = Field(default_factory=dict)

    def called(self, names: Collection[str]) -> Listing:
        """What run_tool needs to know of it."""
        return Listing(whole=False, tools=[tool for tool in self.tools if tool.name in names])

    def tool(self, name: str) -> ListedTool | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    @property
    def note(self) -> str:
        """What the model is told of servers that are away; empty if none is."""
        if not self.away:
            return ""
        names = ", ".join(self.away)
        return f"Some of your tools are missing now, since their servers cannot be reached: {names}. Do without them."


def listed(server: McpServer, offered: Sequence[ServerTool], taken: Collection[str]) -> list[ListedTool]:
    """What is taken of a server's list, in its order, under names that are not `taken`."""
    names, found = set(taken), dict[str, ListedTool]()
    for tool in offered:
        if tool.name in found or not server.offers(tool.name) or len(found) == MAX_TOOLS:
            continue
        if (parameters := _parameters(tool)) is None:
            continue
        name = tool_name(server.name, tool.name, names)
        names.add(name)
        found[tool.name] = ListedTool(
            name=name,
            server=server.name,
            tool=tool.name,
            description=mend_text(tool.description)[:MAX_DESCRIPTION_CHARS] or tool.name,
            parameters=parameters,
            effect=server.effect(tool),
            approve=server.approves(tool.name),
            timeout_s=server.timeout_s,
        )
    return list(found.values())


def tool_name(server: str, tool: str, taken: Collection[str]) -> str:
    """`<server>_<tool>` in letters that every provider takes; of what is too long, taken or changed, a digest tells it."""
    wanted = f"{server}_{tool}"
    name = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)
    if name == wanted and len(name) <= LONGEST_NAME and name not in taken:
        return name
    digest = hashlib.sha256(wanted.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[: LONGEST_NAME - 9]}_{digest[:8]}"


def _parameters(tool: ServerTool) -> dict[str, Any] | None:
    """The schema of an object; None if it is none, or more than a model call should carry."""
    schema = {"type": "object", "properties": {}} | dict(tool.parameters)
    try:
        text = mend_text(json.dumps(schema, ensure_ascii=False, allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        return None
    if schema["type"] != "object" or not isinstance(schema["properties"], dict) or len(text) > MAX_SCHEMA_BYTES:
        return None
    mended: dict[str, Any] = json.loads(text)
    return mended


def _fits(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _reveal(value: Secret) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
