"""A gateway over a system of the tests, and the command line in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import BaseRoute

from activities.looking import ContextLooks
from gateway.app import make_app
from runtime.server import serve
from tests.client.wedging import Said, cli
from tests.ports import free_port
from tests.system import System


def looks(system: System) -> ContextLooks:
    return ContextLooks(system.store, system.catalog, 8_000)


async def health() -> dict[str, Any]:
    return {"status": "ok"}


@asynccontextmanager
async def gateway(system: System, doors: Sequence[BaseRoute] = ()) -> AsyncIterator[int]:
    """The port of one that runs."""
    port = free_port()
    async with serve(
        make_app(system.store, system.threads, health, "test", doors=doors, contexts=looks(system)), "127.0.0.1", port
    ):
        yield port


class Shell:
    """The command line with the settings of one system, whose gateway runs on `port`."""

    def __init__(self, system: System, port: int) -> None:
        self._system, self.port = system, port

    async def run(self, *arguments: str) -> Said:
        """A command of `threads`."""
        return await self.program("threads", *arguments)

    async def program(self, *arguments: str) -> Said:
        settings = {"EVERTHREAD_PORT": str(self.port), "EVERTHREAD_TASK_QUEUE": self._system.task_queue}
        return await cli(self._system.client, *arguments, **settings)
