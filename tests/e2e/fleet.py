"""Several `worker.py` processes on one Temporal server and one Qdrant server, which is the test double."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.client import Client

from activities.ports import Store
from adapters.qdrant_server import ServerStore
from client.threads import Threads
from domain import ids
from domain.errors import UnavailableError
from domain.messages import Message
from domain.prompts import Prompt, ThreadStart
from tests.e2e.driver import until
from tests.programs import ROOT, environment
from tests.qdrant import QdrantDouble, qdrant_double

START_S = 30.0
END_S = 10.0
ANSWER_S = 30.0


@dataclass
class Worker:
    """A `worker.py` and what it has logged."""

    process: Process
    log_path: Path

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind, but for one that a kill has cut."""
        found = []
        for line in self.log_path.read_text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict) and line.get("event") == event]

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def answers(self, thread: str) -> bool:
        """Whether it called the model for the thread."""
        return any(line["workflow_id"] == ids.workflow_id(thread) for line in self.log("model.called"))

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Returns its status."""
        if self.running:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), END_S)


@dataclass
class Fleet:
    """Everything the workers share."""

    folder: Path
    client: Client
    model_url: str
    double: QdrantDouble
    store: Store
    program: str = "worker.py"
    task_queue: str = field(default_factory=lambda: uuid4().hex)
    workers: list[Worker] = field(default_factory=list)

    @property
    def threads(self) -> Threads:
        return Threads(self.client, self.task_queue, "assistant")

    def settings(self) -> dict[str, str]:
        return {
            "TEMPORAL_ADDRESS": self.client.service_client.config.target_host,
            "OPENAI_BASE_URL": self.model_url,
            "EVERTHREAD_QDRANT_URL": self.double.url,
            "EVERTHREAD_QDRANT_TIMEOUT_S": "2",
            "EVERTHREAD_TASK_QUEUE": self.task_queue,
            "EVERTHREAD_DATA_DIR": str(self.folder / "data"),
        }

    async def launch(self, **settings: str) -> Worker:
        """A worker, ready or not. An empty setting is none."""
        log_path = self.folder / f"worker-{uuid4().hex}.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(ROOT / self.program),
                stdin=DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=environment(**self.settings() | settings),
            )  # fmt: skip
        worker = Worker(process, log_path)
        self.workers.append(worker)
        return worker

    async def scale(self, count: int) -> list[Worker]:
        """Start as many as are missing. Returns those that run, up and ready."""
        running = [worker for worker in self.workers if worker.running]
        running += await asyncio.gather(*(self.launch() for _ in range(count - len(running))))
        await self.ready(*running)
        return running

    async def ready(self, *workers: Worker) -> None:
        async def started() -> bool:
            assert all(worker.running for worker in workers), [worker.log_path.read_text() for worker in workers]
            return all(worker.log("worker.started") for worker in workers)

        await until(started, START_S, "workers started")

    async def submit(self, thread: str, *prompts: str, agent: str | None = None) -> list[str]:
        """Returns the prompts' ids."""
        start = ThreadStart(agent=agent)
        receipts = [await self.threads.submit(thread, Prompt(content=text), start) for text in prompts]
        return [receipt.prompt_id for receipt in receipts]

    async def rows(self, thread: str) -> list[Message]:
        """In order; none while the store does not answer."""
        with suppress(UnavailableError):
            return (await self.store.page(thread, cursor=None, limit=1_000, newest_first=False)).items
        return []

    async def answered(self, thread: str, prompts: int = 1) -> list[Message]:
        """The thread's rows once so many prompts of it have ended."""
        rows: list[Message] = []

        async def all_ended() -> bool:
            rows[:] = await self.rows(thread)
            prompted = [row for row in rows if row.role == "user"]
            return len(prompted) >= prompts and all(row.final for row in prompted)

        await until(all_ended, ANSWER_S, f"{prompts} ended in {thread}", lambda: rows)
        return rows

    async def answering(self, thread: str) -> Worker:
        """The worker that called the model first, once part of the answer is stored."""

        async def partly_stored() -> bool:
            return any(row.text for row in await self.rows(thread) if row.role == "assistant")

        await until(partly_stored, ANSWER_S, "some of the answer is stored")
        return next(worker for worker in self.workers if worker.answers(thread))

    def finished(self, rows: Sequence[Message]) -> list[int]:
        """How often each row became final, over all workers."""
        lines = [line["message_id"] for line in self._finished()]
        return [lines.count(row.id) for row in rows]

    def attempt_that_finished(self, row: Message) -> int:
        [attempt] = [line["attempt"] for line in self._finished() if line["message_id"] == row.id]
        return int(attempt)

    def _finished(self) -> list[dict[str, Any]]:
        return [line for worker in self.workers for line in worker.log("message.finished")]


@asynccontextmanager
async def run_fleet(
    folder: Path, client: Client, model_url: str, *, program: str = "worker.py"
) -> AsyncIterator[Fleet]:
    async with qdrant_double(folder / "qdrant") as double:
        store = await ServerStore.open(double.url, timeout_s=2)
        fleet = Fleet(folder, client, model_url, double, store, program)
        try:
            yield fleet
        finally:
            await asyncio.gather(*(worker.end(signal.SIGKILL) for worker in fleet.workers))
            await store.close()
