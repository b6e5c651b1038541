"""Worker processes of a benchmark that share a Temporal dev server with its state on disk, a Qdrant server, which is the
test double, and the scripted model over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from temporalio.client import Client

from adapters.qdrant_server import ServerStore
from bench.ground import PRAGMAS, QUEUE, dev_server, scripted_model
from client.threads import Threads
from runtime import logs
from tests.e2e.driver import until
from tests.programs import ROOT, environment
from tests.qdrant import qdrant_double

FLEET_LAYOUT = (
    "worker processes with one task queue; Temporal's dev server, SQLite on disk with "
    f"{', '.join(PRAGMAS)}; the double of a Qdrant server; the scripted model over HTTP"
)
AGENT = "assistant"
START_S = 60.0


@dataclass
class Worker:
    """One life of a worker process and what it logs."""

    process: Process
    log_path: Path
    seen_started: bool = False

    @property
    def started(self) -> bool:
        self.seen_started = self.seen_started or b'"worker.started"' in self.log_path.read_bytes()
        return self.seen_started

    @property
    def rss(self) -> int:
        """Bytes of memory that it holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    async def kill(self) -> None:
        """With -9."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def freeze(self, seconds: float) -> None:
        """Stop it, and let it go on after so many seconds."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass
class Fleet:
    """What the workers share. `program` is what starts one; `settings` is further environment of it."""

    folder: Path
    client: Client
    model_url: str
    qdrant_url: str
    store: ServerStore
    program: tuple[str, ...] = ("worker.py",)
    settings: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)  # of all lives

    @property
    def threads(self) -> Threads:
        return Threads(self.client, QUEUE, AGENT)

    async def launch(self) -> Worker:
        """A worker, ready or not."""
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *self.program, stdin=DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=self._environment()
            )
        self.workers.append(Worker(process, log_path))
        return self.workers[-1]

    async def start(self, count: int = 1) -> list[Worker]:
        """So many more, up and ready."""
        new = [await self.launch() for _ in range(count)]
        await self.ready(new)
        return new

    async def ready(self, workers: list[Worker]) -> None:
        async def started() -> bool:
            for worker in workers:
                assert worker.process.returncode is None, worker.log_path.read_text()
            return all(worker.started for worker in workers)

        await until(started, START_S, "workers started")

    def log(self, *events: str) -> Iterator[dict[str, Any]]:
        """The lines of these kinds in the logs of all lives, but for one that a kill has cut."""
        for worker in self.workers:
            for line in worker.log_path.read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict) and found.get("event") in events:
                        yield found

    async def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """What the model was asked after its request of this number."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.model_url}/_control/requests", params={"since": since})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["requests"]
        return found

    def _environment(self) -> dict[str, str]:
        ours = {
            "TEMPORAL_ADDRESS": self.client.service_client.config.target_host,
            "OPENAI_BASE_URL": f"{self.model_url}/v1",
            "EVERTHREAD_QDRANT_URL": self.qdrant_url,
            "EVERTHREAD_TASK_QUEUE": QUEUE,
            "EVERTHREAD_DATA_DIR": str(self.folder / "data"),
        }
        return environment(**ours | self.settings)


def _folder(stack: AsyncExitStack) -> Path:
    if kept := os.environ.get("KEEP"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept)
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


@asynccontextmanager
async def fleet(*program: str, **settings: str) -> AsyncIterator[Fleet]:
    """Without a worker yet; all of it is gone afterwards, but what it wrote into the folder that KEEP= names."""
    logs.setup("ERROR")
    async with AsyncExitStack() as stack:
        folder = _folder(stack)
        client = await stack.enter_async_context(dev_server(folder))
        model_url = await stack.enter_async_context(scripted_model())
        double = await stack.enter_async_context(qdrant_double(folder / "qdrant"))
        store = await ServerStore.open(double.url)
        stack.push_async_callback(store.close)
        found = Fleet(folder, client, model_url, double.url, store, program or ("worker.py",), settings)
        try:
            yield found
        finally:
            await asyncio.gather(*(worker.kill() for worker in found.workers if worker.process.returncode is None))
