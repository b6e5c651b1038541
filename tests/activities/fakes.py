"""Activities without a server: attempts as Temporal makes them, and a model whose pace the test sets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.model import ModelActivities
from domain import ids
from domain.agent import Agent
from domain.errors import UnknownPromptError
from domain.messages import Message, ToolCall, Usage
from domain.model import Completion, ModelRequest, TextDelta
from domain.prompts import Prompt, ThreadStart
from domain.steps import StepRequest, StepResult
from domain.tooling import Asker
from domain.vectors import Embedded
from domain.wishes import ChangeReceipt, InterruptReceipt, TurnReport
from tests.agents import Workbench
from tests.system import Pulse, RecordedEvents, WatchedStore


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
PROMPT = Prompt(id="p", content="Hi", author="Ada")


class Catalog:
    """activities.ports.Catalog over the test's agents."""

    default = "assistant"

    def __init__(self, *agents: Agent) -> None:
        self._agents = {agent.name: agent for agent in [*Workbench().agents(), *agents]}

    async def agent(self, name: str, asker: Asker | None = None) -> Agent:
        return self._agents[name]

    def names(self) -> list[str]:
        return list(self._agents)


class Steps:
    """The activities over one store, each attempt with a model of its own."""

    def __init__(self, store: WatchedStore, thread: str) -> None:
        self.store, self.thread = store, thread
        self.events = RecordedEvents(Pulse())
        self.agents: list[Agent] = []  # beside the workbench's
        self.now = 1_000.0
        self.asked: list[ModelRequest] = []  # of the last step

    def call(self, model: FakeModel, budget: int = 8_000) -> Any:
        catalog = Catalog(*self.agents)
        activities = ModelActivities(
            self.store, self.events, model, catalog, budget_tokens=budget, clock=lambda: self.now
        )
        return activities.call_model

    def request(self, **fields: Any) -> StepRequest:
        known = {"thread": self.thread, "epoch": 1, "prompt_id": "p", "turn": 1, "agent": "assistant", "prompt": PROMPT}
        return StepRequest.model_validate(known | fields)

    @property
    def answer_id(self) -> str:
        return ids.message_id(self.thread, "p", "answer")

    async def answer(self) -> Message:
        [row] = await self.store.get([self.answer_id])
        return row

    async def prompt(self) -> Message:
        [row] = await self.store.get([ids.message_id(self.thread, "p", "prompt")])
        return row

    def finished(self) -> int:
        return len(self.events.of(self.thread, "message.finished"))

    # --- one step after another

    async def ask(self, agent: Agent, *script: Any, number: int = 1, **request: Any) -> StepResult:
        """One step of the agent, whose last request is then in `asked`."""
        self.agents = [agent]
        model = FakeModel(list(script) or [completion()])
        result: StepResult = await run(number, self.call(model), self.request(agent=agent.name, **request))
        self.asked = model.requests
        return result

    async def later(self, agent: Agent, step: int, *script: Any, **request: Any) -> StepResult:
        """A step behind another one."""
        return await self.ask(agent, *script, step=step, prompt=None, **request)

    async def ran(self, step: int, status: str = "complete", index: int = 0) -> None:
        """The result of a call that the step planned, as run_tool saves it."""
        [planned] = await self.store.get([ids.message_id(self.thread, "p", "answer", step=step)])
        result = Message(
            id=ids.message_id(self.thread, "p", f"tool:{index}", step=step),
            thread=self.thread,
            prompt_id="p",
            slot=f"tool:{index}",
            role="tool",
            turn=1,
            step=step,
            seq=ids.seq(1, step, ids.TOOL_ORDINAL + index),
            status=status,
            call_id=planned.tool_calls[index].call_id,
            text="I see.",
        )
        await self.store.insert([result])


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


class NoAgents:
    """activities.ports.Agents, of whom nobody answers."""

    async def ask(
        self, thread: str, prompt: Prompt, start: ThreadStart | None = None, *, timeout_s: float = 600.0
    ) -> TurnReport:
        raise TimeoutError

    async def interrupt(
        self, thread: str, *, turn: int | None = None, prompt_id: str | None = None, reason: str | None = None
    ) -> InterruptReceipt:
        return InterruptReceipt(disposition="not_running")

    async def withdraw(self, thread: str, prompt_id: str) -> ChangeReceipt:
        raise UnknownPromptError(prompt_id)


def look(call_id: str = "c", arguments: str = "{}", name: str = "look") -> ToolCall:
    return ToolCall(call_id=call_id, name=name, arguments=arguments)


class FakeEmbedder:
    """activities.ports.Embedder: a text's vector is of the letters that it has. Fails while `error` is set."""

    longest = 100

    def __init__(self, name: str = "letters_26", dimensions: int = 26) -> None:
        self.name = name
        self.dimensions = dimensions
        self.error: Exception | None = None
        self.texts: list[str] = []

    async def embed(
        self, texts: Sequence[str], *, query: bool = False, weights: Mapping[str, float] | None = None
    ) -> Embedded:
        if self.error is not None:
            raise self.error
        self.texts += texts
        return Embedded([self._vector(text) for text in texts], tokens=0 if query else len(texts))

    def _vector(self, text: str) -> list[float]:
        counts = [1e-3 + text.lower().count(chr(97 + place)) for place in range(self.dimensions)]
        length = math.hypot(*counts)
        return [count / length for count in counts]
