"""activities.ports.ToolServers: one long-lived session a server and process, made when it is needed, and again after a loss.

A server that could not be reached is left alone for a while, so that it does not hold up every turn.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import SecretStr

from domain.errors import ServerAwayError, ServerLostError, ToolError
from domain.mcp import McpServer, Secret, ServerResult, ServerTool

if TYPE_CHECKING:
    from adapters.mcp_client import Connection

REFERENCE = "env:"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
BUSY_S = 2.0  # for a server to list its tools while it works for others: many do one thing at a time
MAX_LINKS = 1_000  # that are known without being connected
SLOW = 3.0  # a failure that took a second is followed by so many of peace

log = structlog.get_logger()


@dataclass
class _Link:
    """What is known of one server: its connection, and how often none could be made."""

    connection: Connection | None = None
    failures: int = 0
    again_at: float = 0.0
    reason: str = ""
    listed: list[ServerTool] | None = None  # the last time that it told


class McpServers:
    """`secret` gives what `env:NAME` stands for. `leash` is the program that holds children, `logs` a folder for what they
    say.
    """

    def __init__(
        self,
        *,
        leash: Path,
        logs: Path,
        secret: Callable[[str], str | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leash = leash
        self._logs = logs
        self._secret = secret
        self._clock = clock
        self._links: dict[str, _Link] = {}
        self._closed = False

    async def tools(self, server: McpServer) -> list[ServerTool]:
        """What the server offers now. Raises: ServerAwayError if it cannot be asked, or does not answer in time."""
        link, began = self._link(server), self._clock()
        stale = link.connection is not None
        found = await self._list(server, link)
        if isinstance(found, str) and stale:  # a new connection may do better
            found = await self._list(server, link)
        if isinstance(found, str):
            raise self._failed(server, link, found, began)
        return found

    async def call(self, server: McpServer, tool: str, arguments: dict[str, Any]) -> ServerResult:
        """What the tool gives; takes as long as it takes.

        Raises: ServerAwayError if nothing has happened; ServerLostError if something may have; ToolError with the
        server's own words if it refuses.
        """
        link = self._link(server)
        for again in (True, False):
            connection = await self._connected(server, link)
            try:
                return await connection.call(tool, arguments)
            except ServerAwayError:
                await self._drop(link, connection)
                if not again:
                    raise
            except ServerLostError as error:
                log.warning("server.lost", server=server.name, tool=tool, error=str(error))
                if connection.over:
                    await self._drop(link, connection)
                raise
        raise AssertionError

    async def close(self) -> None:
        """End all connections and children."""
        self._closed = True
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.connection.close() for link in links if link.connection is not None))

    async def _list(self, server: McpServer, link: _Link) -> list[ServerTool] | str:
        """What it offers, or why that cannot be told, and then the connection is given up. Raises: ServerAwayError."""
        connection = await self._connected(server, link)
        busy = link.listed if connection.calls else None
        try:
            async with asyncio.timeout(BUSY_S if busy is not None else server.connect_timeout_s):
                link.listed = await connection.tools()
                return link.listed
        except TimeoutError:
            if busy is not None:  # as it said before; a call that it does not end has a limit of its own
                return busy
            reason = f"it did not list its tools within {server.connect_timeout_s:g} s"
        except (ServerAwayError, ServerLostError, ToolError) as error:
            reason = str(error)
        await self._drop(link, connection)
        return reason

    def _link(self, server: McpServer) -> _Link:
        if len(self._links) >= MAX_LINKS:  # agents may be made for each tenant, with headers of its own
            live = {key: link for key, link in self._links.items() if link.connection and not link.connection.over}
            self._links = live
        return self._links.setdefault(server.connection, _Link())

    async def _connected(self, server: McpServer, link: _Link) -> Connection:
        """Raises: ServerAwayError at once if it was away a moment ago."""
        held = link.connection
        if held is not None and held.suspect and not held.calls and not await held.answers():
            log.warning("server.hangs", server=server.name)
            await self._drop(link, held)
        if link.connection is None or link.connection.over:
            if self._clock() < link.again_at:
                raise ServerAwayError(link.reason)
            link.connection = await self._connection(server, link)
        connection, began = link.connection, self._clock()
        try:
            await connection.ready()
        except ServerAwayError as error:
            if link.connection is connection:  # the first to hear of it
                link.connection = None
                raise self._failed(server, link, str(error), began) from error
            raise
        link.failures, link.again_at = 0, 0.0
        return connection

    async def _connection(self, server: McpServer, link: _Link) -> Connection:
        # It takes a second the first time, in which the loop must go on beating.
        module = await asyncio.to_thread(importlib.import_module, "adapters.mcp_client")
        if self._closed:
            raise ServerAwayError("this process ends")
        if link.connection is not None and not link.connection.over:  # another call has made one meanwhile
            return link.connection
        secrets = {name: self._value(server, value) for name, value in (server.headers or server.env).items()}
        made: Connection = module.Connection(server, secrets, self._leash, self._logs / f"mcp-{server.name}.log")
        log.info("server.connecting", server=server.name)
        return made

    def _value(self, server: McpServer, value: Secret) -> str:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not text.startswith(REFERENCE):
            return text
        name = text.removeprefix(REFERENCE)
        if (found := self._secret(name)) is None:
            raise ServerAwayError(f"the variable {name}, which server {server.name!r} names, is not set")
        return found

    async def _drop(self, link: _Link, connection: Connection) -> None:
        """So that the next use makes another."""
        if link.connection is connection:
            link.connection = None
        await connection.close()

    def _failed(self, server: McpServer, link: _Link, reason: str, began: float) -> ServerAwayError:
        now = self._clock()
        pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S * 2.0**link.failures, SLOW * (now - began)))
        link.failures, link.again_at, link.reason = min(link.failures + 1, 10), now + pause_s, reason
        log.warning("server.away", server=server.name, error=reason, again_in_s=round(pause_s, 1))
        return ServerAwayError(reason)
