"""The double of a Qdrant server for tests, as a program of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.programs import ROOT, environment

START_S = 30.0


@dataclass
class QdrantDouble:
    """One folder, and the lives of the double on it, one at a time, on one port."""

    folder: Path
    options: tuple[str, ...] = ("--strict",)
    url: str = ""
    _process: Process | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Returns when it listens; again on the port it had."""
        port = self.url.rpartition(":")[2] or "0"
        command = ("-m", "doubles.qdrant_server", "--dir", str(self.folder), "--port", port, *self.options)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=PIPE, cwd=ROOT, env=environment()
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), START_S)
        assert line.startswith(b"READY "), line
        self.url = line.decode().removeprefix("READY ").strip()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None, "it was not started"
        self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Returns its status."""
        self.send(number)
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), 10)


@asynccontextmanager
async def qdrant_double(folder: Path, *options: str) -> AsyncIterator[QdrantDouble]:
    double = QdrantDouble(folder, ("--strict", *options))
    await double.start()
    try:
        yield double
    finally:
        if double._process is not None and double._process.returncode is None:
            await double.end(signal.SIGKILL)
