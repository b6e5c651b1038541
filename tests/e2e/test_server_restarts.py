"""Temporal's server is killed while a turn is being recovered from a lost worker: the turn is answered all the same, once."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doubles.scripted_model import Reply, ScriptedModel
from runtime import temporal
from runtime.local import temporal_binary
from tests.e2e.driver import free_ports
from tests.e2e.fleet import Fleet, run_fleet
from tests.system import new_thread, said
from workflows import attributes

WORDS = " ".join(f"word{number}" for number in range(30))

pytestmark = pytest.mark.timeout(120)


class Server:
    """A dev server that keeps its state on disk."""

    def __init__(self, folder: Path) -> None:
        self.port, ui = free_ports(2)
        self._command = [
            *(str(temporal_binary()), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)),
            *("--ui-port", str(ui), "--db-filename", str(folder / "temporal.db"), "--log-level", "never"),
            *("--sqlite-pragma", "journal_mode=wal"),
        ]
        self._process: Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
        )

    async def kill9(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(self._process.wait(), 5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    await server.start()
    yield server
    await server.kill9()


@pytest.fixture
async def fleet(server: Server, the_model: ScriptedModel, tmp_path: Path) -> AsyncIterator[Fleet]:
    client = await temporal.connect(f"127.0.0.1:{server.port}", "default", wait_s=30)
    await temporal.add_search_attributes(client, [key.name for key in attributes.ALL])
    async with run_fleet(tmp_path, client, the_model.base_url) as fleet:
        await fleet.scale(2)
        yield fleet


async def test_a_turn_whose_worker_and_then_the_server_is_lost_is_answered_once(
    server: Server, fleet: Fleet, model: ScriptedModel
) -> None:
    thread, prompt = new_thread(), "Tell me, whatever is lost."
    model.script(Reply(when=prompt, text=WORDS, delay_s=0.1, times=1), WORDS)
    await fleet.submit(thread, prompt)
    killed = await fleet.answering(thread)

    await killed.end(signal.SIGKILL)
    await server.kill9()
    await server.start()

    rows = await fleet.answered(thread)
    assert said(rows) == [("user", "answered", prompt), ("assistant", "complete", WORDS)]
    assert fleet.finished(rows) == [0, 1]
