"""Threads that are wedged, and the command line as a user runs it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from client.wedges import Wedge, find_wedge
from domain import ids
from domain.prompts import Prompt
from tests import programs
from tests.system import System, new_thread

CLI = Path(__file__).parents[2] / "cli.py"

# A task that fails is tried again at its timeout; the server waits longer each time.
QUICK_WEDGE = 'history.workflowTaskRetryMaxInterval="50ms"'
QUICK_TASK = timedelta(milliseconds=500)
CAUSE = "no field 'inbox' in the state"


@workflow.defn(name="AgentThread", sandboxed=False)
class BrokenThread:
    """A release that cannot read the threads of the one before."""

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        pass

    @workflow.run
    async def run(self, *inputs: Any) -> None:
        raise RuntimeError(CAUSE)

    @workflow.signal(name="prompt")
    def prompt(self, *inputs: Any) -> None:
        pass


@workflow.defn(name="AgentThread", sandboxed=False)
class OtherThread:
    """A release that does other things, in another order."""

    @workflow.run
    async def run(self, *inputs: Any) -> None:
        await workflow.sleep(60)

    @workflow.signal(name="prompt")
    def prompt(self, *inputs: Any) -> None:
        pass


@asynccontextmanager
async def broken_worker(system: System, code: type = BrokenThread) -> AsyncIterator[None]:
    """Instead of the system's own workers."""
    await system.stop_workers()
    worker = Worker(
        system.client, task_queue=system.task_queue, workflows=[code], max_cached_workflows=0, build_id="broken"
    )
    async with worker:
        yield


async def wedge(system: System, thread: str, *prompts: Prompt, code: type = BrokenThread) -> Wedge:
    """Send a thread these by signal while its workers are broken; return it wedged, with no worker at all."""
    async with broken_worker(system, code):
        for prompt in prompts:
            await system.threads.signal(thread, prompt)

        async def wedged() -> Wedge | None:
            return await find_wedge(system.client, ids.workflow_id(thread))

        found = await system.until(wedged, timeout_s=45)  # Temporal waits longer from one failed task to the next
    assert found is not None
    return found


async def idle_thread(system: System, *start: Any, **options: Any) -> str:
    """A thread with one turn behind it, prompt `p-1`, that visibility knows of; `options` are those of a workflow."""
    thread = new_thread()
    await system.start(thread, *start, **options)
    await system.ask(thread, "Hello", id="p-1")
    await system.idle(thread)
    await listed(system, thread)
    return thread


async def listed(system: System, thread: str) -> None:
    """Wait until visibility knows that the thread runs, or how its last run ended."""
    description = await system.workflow(thread).describe()
    query = f"WorkflowId = '{ids.workflow_id(thread)}' AND RunId = '{description.run_id}'"

    async def known() -> bool:
        return [run.status async for run in system.client.list_workflows(query)] == [description.status]

    await system.until(known)


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def environment(client: Client, **variables: str) -> dict[str, str]:
    address = client.service_client.config.target_host
    return programs.environment(**{"TEMPORAL_ADDRESS": address, "TERM": "dumb", "COLUMNS": "200"} | variables)


async def cli(client: Client, *arguments: str | Path, **variables: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        CLI,
        *arguments,
        env=environment(client, **variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())
