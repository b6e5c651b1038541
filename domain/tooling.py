"""What a tool is given besides the model's arguments, and what it may say while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

Deps = TypeVar("Deps")

MAX_SAID = 10  # messages, by one call
MAX_SAID_CHARS = 100_000


@dataclass(frozen=True)
class Asker:
    """Whose thread it is: what agents are built by and dependencies are chosen by. `metadata` is the thread's."""

    thread: str = ""
    tenant: str = ""
    owner: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a call has come: a word for people, a fraction of 1, or data for programs; all optional."""

    message: str | None = None
    fraction: float | None = None
    data: Any = None


class Line(Protocol):
    """Where a running call's words go. All but `say` may be used from any thread."""

    @property
    def stopped(self) -> bool: ...

    def progress(self, report: Progress) -> None: ...

    async def say(self, text: str) -> str: ...

    def say_sync(self, text: str) -> str: ...


@dataclass
class Notebook:
    """A line that only keeps what it is told, for tools that are called outside a turn, as in a test."""

    reports: list[Progress] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    stopped: bool = False

    def progress(self, report: Progress) -> None:
        self.reports.append(report)

    async def say(self, text: str) -> str:
        return self.say_sync(text)

    def say_sync(self, text: str) -> str:
        self.said.append(text)
        return ""


@dataclass(frozen=True)
class ToolContext(Generic[Deps]):
    """The call that a tool answers. A parameter of this type is filled in and not shown to the model.

    `key` is the same on every attempt of the call and in every run of the thread, and no other call has it: give it to
    whatever knows idempotency keys. `metadata` is the prompt's. `deps` is what the agent's `deps` says.
    """

    deps: Deps
    thread: str = ""
    tenant: str = ""
    owner: str = ""
    author: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    turn: int = 0
    step: int = 0
    agent: str = ""
    tool: str = ""
    key: str = ""
    call_id: str = ""  # the model's own name of the call, which it may use again
    attempt: int = 1
    line: Line = field(default_factory=Notebook, repr=False)

    @property
    def stopped(self) -> bool:
        """Whether the call was given up: interrupted, too late, or the worker ends.

        An async tool is cancelled then. A sync tool runs in a thread, which nothing can stop: one that takes long looks
        here.
        """
        return self.line.stopped

    def progress(self, message: str | None = None, fraction: float | None = None, data: Any = None) -> None:
        """Tell live readers how far it is. Returns at once; of a flood of reports only the newest are heard."""
        self.line.progress(Progress(message, fraction, data))

    async def say(self, text: str) -> str:
        """Save a message of the agent into the thread, once however often the call is tried. Returns its id.

        It stands behind the results of the step, so that no call is parted from its result, and the model sees it from
        its next call on. Raises: ValueError if it is empty or too long, or the tenth was said before.
        """
        return await self.line.say(text)

    def say_sync(self, text: str) -> str:
        """`say` for a sync tool. Raises: RuntimeError in an async one, which it would block for ever."""
        return self.line.say_sync(text)
