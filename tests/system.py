"""A whole system for one test: a worker on a real Temporal server, the embedded store, the scripted model over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import openai
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from activities.library import Knowledge
from activities.memory import Memory
from activities.ports import ChatModel, Store, ToolServers, Webhooks
from adapters.blobs import FolderBlobs
from adapters.openai_chat import OpenAIChat
from adapters.qdrant_edge import EdgeStore
from adapters.streams_memory import MemoryEvents
from catalog.registry import Registry
from client.threads import Threads
from domain import ids
from domain.agent import Agent, AgentFactory
from domain.events import EventKind
from domain.messages import Message, ThreadRecord
from domain.prompts import Prompt, ThreadStart
from domain.wishes import Receipt
from doubles.scripted_model import ScriptedModel
from runtime.wiring import Ports, make_worker, notebook_of, summaries_of
from tests.agents import Workbench

T = TypeVar("T")

DEADLINE_S = 20.0
LOOK_AGAIN_S = 0.02  # for what Temporal knows and tells nobody


class Pulse:
    """Wakes who waits for any change."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def beat(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._next.wait(), seconds)


class WatchedStore(EdgeStore):
    """The embedded store, telling when something was written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.pulse = Pulse()

    async def insert(self, messages: Sequence[Message]) -> None:
        await super().insert(messages)
        self.pulse.beat()

    async def amend(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        row = await super().amend(message_id, attempt, changes)
        self.pulse.beat()
        return row

    async def save_checkpoint(self, thread: str, epoch: int, turn: int, state: dict[str, Any]) -> None:
        await super().save_checkpoint(thread, epoch, turn, state)
        self.pulse.beat()


class RecordedEvents(MemoryEvents):
    """The event log, remembering all that was ever published."""

    def __init__(self, pulse: Pulse) -> None:
        super().__init__()
        self.published: list[tuple[str, EventKind, dict[str, Any]]] = []
        self._pulse = pulse

    async def publish(self, thread: str, kind: EventKind, data: dict[str, Any]) -> None:
        await super().publish(thread, kind, data)
        self.published.append((thread, kind, data))
        self._pulse.beat()

    def of(self, thread: str, kind: EventKind) -> list[dict[str, Any]]:
        return [data for its_thread, its_kind, data in self.published if (its_thread, its_kind) == (thread, kind)]


@dataclass
class System:
    """What a test drives, and what it looks at."""

    client: Client
    task_queue: str
    store: WatchedStore
    events: RecordedEvents
    model: ScriptedModel
    chat: OpenAIChat
    bench: Workbench
    catalog: Registry
    threads: Threads
    _workers: AsyncExitStack = field(default_factory=AsyncExitStack)
    budget: int = 8_000  # tokens of a context, of workers that start from now on

    @property
    def blobs(self) -> FolderBlobs:
        return FolderBlobs(self.store.folder / "blobs")

    # --- workers

    async def start_worker(
        self,
        *,
        model: ChatModel | None = None,
        store: Store | None = None,
        webhooks: Webhooks | None = None,
        servers: ToolServers | None = None,
        knowledge: Knowledge | None = None,
        memory: Memory | None = None,
        task_queue: str | None = None,
        **options: Any,
    ) -> None:
        ports = Ports(store or self.store, self.events, model or self.chat, self.catalog, self.budget, blobs=self.blobs)
        ports = replace(ports, summaries=summaries_of(self.store), memory=memory)
        if memory is not None:
            ports = replace(ports, notebook=notebook_of(self.store, memory))
        if servers is not None:
            ports = replace(ports, servers=servers)
        if knowledge is not None:
            ports = replace(ports, knowledge=knowledge)
        if webhooks is not None:
            ports = replace(ports, webhooks=webhooks)
        await self._workers.enter_async_context(
            make_worker(self.client, task_queue or self.task_queue, ports, **options)
        )

    def add_agent(self, agent: Agent | AgentFactory) -> None:
        """Beside the workbench's."""
        self.catalog._agents[agent.name] = agent

    async def stop_workers(self) -> None:
        await self._workers.aclose()

    # --- waiting

    async def until(self, condition: Callable[[], Awaitable[T]], *, timeout_s: float = DEADLINE_S) -> T:
        """What the condition gives once it is true. Raises: TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                if value := await condition():
                    return value
                await self.store.pulse.wait(LOOK_AGAIN_S)

    async def ended(self, thread: str, *prompt_ids: str, timeout_s: float = DEADLINE_S) -> list[Message]:
        """The rows of the prompts, once all of them are final."""
        wanted = [ids.message_id(thread, prompt_id, "prompt") for prompt_id in prompt_ids]
        ended: list[Message] = []

        async def all_ended() -> bool:
            while len(ended) < len(wanted):
                found = await self.store.get([wanted[len(ended)]])
                if not found or not found[0].final:
                    return False
                ended.extend(found)
            return True

        await self.until(all_ended, timeout_s=timeout_s)
        return ended

    async def refused(self, thread: str, count: int = 1) -> list[Message]:
        """What the thread refused, once it is that many."""

        async def rows() -> list[Message] | None:
            found = [row for row in await self.rows(thread) if row.status == "refused"]
            return found if len(found) >= count else None

        return cast("list[Message]", await self.until(rows))

    async def idle(self, thread: str) -> dict[str, Any]:
        """The thread's status, once it is open and nothing runs or waits."""

        async def status() -> dict[str, Any] | None:
            now = await self.threads.status(thread)
            return None if now["running"] or now["waiting"] or not now["epoch"] else now

        return cast("dict[str, Any]", await self.until(status))

    async def waiting(self, thread: str, calls: int = 1) -> list[dict[str, Any]]:
        """The calls of the running turn that wait for somebody, once they are so many."""

        async def wait() -> list[dict[str, Any]] | None:
            found: list[dict[str, Any]] = (await self.threads.status(thread))["calls"]
            return found if len(found) == calls else None

        return cast("list[dict[str, Any]]", await self.until(wait))

    async def streaming(self, thread: str, text: str) -> None:
        """The model's answer has come as far as this text."""

        async def heard() -> bool:
            return text in "".join(data["text"] for data in self.events.of(thread, "message.delta"))

        await self.until(heard)

    # --- talking

    async def submit(self, thread: str, content: str, **fields: Any) -> Receipt:
        start = fields.pop("start", None)
        return await self.threads.submit(thread, Prompt(content=content, **fields), start)

    async def ask(self, thread: str, content: str, **fields: Any) -> str:
        """Submit, wait for the end, and return the text of the last answer."""
        receipt = await self.submit(thread, content, **fields)
        await self.ended(thread, receipt.prompt_id)
        return (await self.answers(thread, receipt.prompt_id))[-1].text

    def workflow(self, thread: str, run_id: str | None = None) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(ids.workflow_id(thread), run_id=run_id)

    async def start(self, thread: str, *inputs: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        """As a client of another language would."""
        return await self.client.start_workflow(
            "AgentThread", args=inputs, id=ids.workflow_id(thread), task_queue=self.task_queue, **options
        )

    # --- looking

    async def rows(self, thread: str) -> list[Message]:
        page = await self.store.page(thread, cursor=None, limit=10_000, newest_first=False)
        return page.items

    async def prompt(self, thread: str, prompt_id: str) -> Message:
        [row] = await self.store.get([ids.message_id(thread, prompt_id, "prompt")])
        return row

    async def answers(self, thread: str, prompt_id: str) -> list[Message]:
        """What the model said to a prompt, a row a step."""
        return [r for r in await self.rows(thread) if r.prompt_id == prompt_id and r.role == "assistant"]

    async def record(self, thread: str) -> ThreadRecord:
        record = await self.store.get_thread(thread)
        assert record is not None
        return record

    def finished(self, thread: str) -> list[str]:
        """The messages that became final, once for each time they did."""
        return [data["message_id"] for data in self.events.of(thread, "message.finished")]

    def asked(self, number: int = -1) -> list[dict[str, Any]]:
        """The messages of one request that the model got."""
        return cast("list[dict[str, Any]]", self.model.requests[number].body["messages"])

    async def history(self, thread: str, run_id: str | None = None) -> list[HistoryEvent]:
        return list((await self.workflow(thread, run_id).fetch_history()).events)

    async def runs(self, thread: str) -> list[list[HistoryEvent]]:
        """The histories of the thread's runs, each continuing the one before."""
        found: list[list[HistoryEvent]] = []
        run_id: str | None = None
        while not found or run_id:
            found.insert(0, await self.history(thread, run_id))
            run_id = found[0][0].workflow_execution_started_event_attributes.continued_execution_run_id
        return found


def count(history: Sequence[HistoryEvent], kind: EventType.ValueType) -> int:
    return sum(event.event_type == kind for event in history)


def said(thread_rows: Sequence[Message]) -> list[tuple[str, str, str]]:
    return [(row.role, row.status, row.text) for row in thread_rows]


def new_thread() -> str:
    return f"t-{uuid4().hex}"


@asynccontextmanager
async def run_system(client: Client, store: WatchedStore, *, task_queue: str | None = None) -> AsyncIterator[System]:
    """`task_queue` has a name of its own unless one is given."""
    async with AsyncExitStack() as stack:
        bench = Workbench()
        catalog = Registry(bench.agents(), "assistant")
        task_queue = task_queue or uuid4().hex
        model = ScriptedModel()
        http = openai.DefaultAsyncHttpxClient(verify=False)  # loopback only: reading the certificates takes a while
        events = RecordedEvents(store.pulse)
        # The model ends before the worker, so that no call holds the worker up.
        workers = await stack.enter_async_context(AsyncExitStack())
        await stack.enter_async_context(model.serve())
        chat = OpenAIChat(base_url=model.base_url, api_key="any", default_model="scripted", http_client=http)
        stack.push_async_callback(chat.close)
        stack.callback(bench.release)
        threads = Threads(client, task_queue, catalog.default)
        system = System(client, task_queue, store, events, model, chat, bench, catalog, threads, workers)
        await system.start_worker()
        yield system


def started_with(**fields: Any) -> ThreadStart:
    return ThreadStart(**fields)
