"""What benchmarks stand on: a Temporal dev server with its state on disk, the scripted model in a process of its own,
our worker in this one, and how figures are printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from adapters.openai_chat import OpenAIChat
from adapters.qdrant_edge import EdgeStore
from adapters.streams_memory import MemoryEvents
from catalog.registry import Registry
from catalog.tools.clock import current_time
from domain.agent import Agent
from domain.ids import workflow_id
from runtime import logs, temporal
from runtime.local import DYNAMIC_CONFIG
from runtime.settings import Settings
from runtime.wiring import Ports, keep_memory, make_worker, notebook_of, open_memory, summaries_of
from workflows import attributes
from workflows.thread import AgentThread

PRAGMAS = ("journal_mode=wal", "synchronous=normal")
LAYOUT = f"one task queue, SQLite on disk with {', '.join(PRAGMAS)}; {', '.join(DYNAMIC_CONFIG)}"
QUEUE, FLOOR_QUEUE = "everthread", "floor"
AGENTS = [Agent(name="plain"), Agent(name="clerk", tools=(current_time,))]


@dataclass(frozen=True)
class Ground:
    """Everything a benchmark needs."""

    client: Client
    ports: Ports
    model: OpenAIChat
    model_url: str

    async def script(self, *replies: dict[str, Any]) -> None:
        await play(self.model_url, *replies)

    async def start_thread(self, task_queue: str = QUEUE) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            AgentThread.run, id=workflow_id(uuid.uuid4().hex), task_queue=task_queue
        )

    async def last_events(self, handle: WorkflowHandle[Any, Any], count: int) -> list[HistoryEvent]:
        """The end of its history, the oldest first."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self.client.namespace,
            execution=WorkflowExecution(workflow_id=handle.id),
            maximum_page_size=count,
        )
        reply = await self.client.workflow_service.get_workflow_execution_history_reverse(request)
        return list(reply.history.events)[:count][::-1]

    async def turn(self, handle: WorkflowHandle[Any, Any], prompt_id: str, text: str, agent: str = "plain") -> float:
        """One turn by update, from sending to its end as a reader hears it. Returns the end, in seconds since 1970."""
        thread = handle.id.removeprefix("thread/")
        async with aclosing(self.ports.events.follow(thread)) as feed:
            await anext(feed)  # the snapshot: we are listening
            sending = asyncio.create_task(
                handle.execute_update("submit", {"id": prompt_id, "content": text, "agent": agent})
            )
            async for event in feed:
                if event.kind == "turn.finished" and event.data["prompt_id"] == prompt_id:
                    break
            ended = datetime.now(UTC).timestamp()
            await sending
        return ended


@asynccontextmanager
async def ground(agents: Sequence[Agent] = (), *, remembering: bool = False) -> AsyncIterator[Ground]:
    """Up while entered; all of it is gone afterwards. `agents` are beside AGENTS; with memory, kept as `make run` does."""
    logs.setup("ERROR")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(dev_server(folder))
        url = await stack.enter_async_context(scripted_model())
        model = OpenAIChat(base_url=f"{url}/v1", api_key="none", default_model="scripted")
        stack.push_async_callback(model.close)
        store = EdgeStore(folder / "store")
        stack.callback(store.close)
        ports = Ports(store, MemoryEvents(), model, Registry([*AGENTS, *agents], "plain"), 8_000)
        if remembering:
            memory = await stack.enter_async_context(open_memory(Settings(embedding="wordllama"), store))
            notebook, summaries = notebook_of(store, memory), summaries_of(store)
            ports = replace(ports, memory=memory, notebook=notebook, summaries=summaries)
        await stack.enter_async_context(make_worker(client, QUEUE, ports))
        if remembering:
            await keep_memory(client, QUEUE)
        yield Ground(client, ports, model, url)


@asynccontextmanager
async def dev_server(folder: Path) -> AsyncIterator[Client]:
    """Temporal's dev server with its state on disk, set up as `make run` does."""
    pragmas = [word for pragma in PRAGMAS for word in ("--sqlite-pragma", pragma)]
    config = [word for value in DYNAMIC_CONFIG for word in ("--dynamic-config-value", value)]
    server = await WorkflowEnvironment.start_local(
        data_converter=temporal.DATA_CONVERTER,
        dev_server_existing_path=str(Path(sys.executable).parent / "temporal"),
        dev_server_database_filename=str(folder / "temporal.db"),
        dev_server_log_level="error",
        dev_server_extra_args=pragmas + config,
    )
    async with server:
        await temporal.add_search_attributes(server.client, [key.name for key in attributes.ALL])
        yield server.client


@asynccontextmanager
async def scripted_model() -> AsyncIterator[str]:
    """The scripted model in a process of its own; its address, without /v1."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doubles.scripted_model", "--port", "0"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        yield line.removeprefix("READY ").strip().removesuffix("/v1")
    finally:
        process.terminate()
        await process.wait()


async def play(model_url: str, *replies: dict[str, Any]) -> None:
    """Give the scripted model what it is to say."""
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.put(f"{model_url}/_control/script", json={"replies": replies})).raise_for_status()


async def events_of(handle: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    return [event async for event in handle.fetch_history_events()]


def figure(name: str, value: float, unit: str = "") -> None:
    """One figure, on a line that a program can read."""
    shown = f"{value:.4g}" if abs(value) < 1_000 else f"{value:.0f}"
    sys.stdout.write(f"figure {name} {shown} {unit}".rstrip() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed; of few the largest."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def samples(default: int) -> int:
    """How many, by N= of the make target; what was shortened is said."""
    wanted = int(os.environ.get("N") or default)
    if wanted < default:
        say(f"shortened: N={wanted} instead of {default}")
    return wanted
