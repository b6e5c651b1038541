"""Activities without a server: attempts as Temporal makes them, and a model whose pace the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from domain.messages import Message, ToolCall, Usage
from domain.model import Completion, ModelRequest, TextDelta
from tests.system import WatchedStore


def attempt(number: int = 1, *, heartbeat_timeout_s: float | None = 5.0) -> ActivityEnvironment:
    """The environment of one attempt of an activity."""
    environment = ActivityEnvironment()
    timeout = None if heartbeat_timeout_s is None else timedelta(seconds=heartbeat_timeout_s)
    environment.info = replace(environment.info, attempt=number, heartbeat_timeout=timeout)
    return environment


async def run(number: int, function: Callable[..., Any], *arguments: Any) -> Any:
    return await attempt(number).run(function, *arguments)


async def failure(number: int, function: Callable[..., Any], *arguments: Any) -> ApplicationError:
    """What Temporal is told when the attempt fails."""
    try:
        result = await run(number, function, *arguments)
    except ApplicationError as error:
        return error
    raise AssertionError(f"it did not fail, but returned {result}")


def completion(text: str = "Hello!", calls: Sequence[ToolCall] = (), finish: str = "stop") -> Completion:
    finish = "tool_calls" if calls else finish
    return Completion(text, calls, finish, "m", Usage(prompt_tokens=1, completion_tokens=2), {"text": text})


class FakeModel:
    """activities.ports.ChatModel. Each call gives the next script: texts, a pause until `go`, an error, a completion."""

    def __init__(self, *scripts: Sequence[Any]) -> None:
        self.requests: list[ModelRequest] = []
        self.paused = asyncio.Event()
        self.go = asyncio.Event()
        self._scripts = list(scripts)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[TextDelta | Completion, None]:
        self.requests.append(request)
        for item in self._scripts.pop(0):
            if item is PAUSE:
                self.paused.set()
                await self.go.wait()
            elif isinstance(item, Exception):
                raise item
            elif isinstance(item, str):
                yield TextDelta(item)
            else:
                yield item


PAUSE = object()


class LaggingStore(WatchedStore):
    """A store that does not show some rows at first, as one with replicas may."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.hidden: set[str] = set()

    async def get(self, message_ids: Sequence[str]) -> list[Message]:
        found = await super().get(message_ids)
        shown = [row for row in found if row.id not in self.hidden]
        self.hidden -= {row.id for row in found}
        return shown
