"""Sessions with MCP servers over HTTP: headers, refusals, restarts, and connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.mcp_servers import McpServers
from domain.errors import ServerAwayError, ServerLostError
from domain.mcp import McpServer
from runtime.server import serve
from tests.adapters.test_mcp_servers import Make, make, servers
from tests.e2e.driver import free_ports

__all__ = ["make", "servers"]  # fixtures

KEY = "Bearer secret"


class Guard:
    """Lets only those in who know the key; may cut a call, or refuse everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.status = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers") or [])
        status = self.status or (0 if headers.get(b"authorization") == KEY.encode() else 401)
        app = PlainTextResponse("no", status) if status else self._app
        await app(scope, receive, send)


class Box:
    """A server of two tools."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.ran = 0

    async def add(self, a: int, b: int) -> int:
        """Add."""
        self.ran += 1
        return a + b

    async def wait(self, context: Context) -> str:
        """Wait."""
        self.begun.set()
        await self.release.wait()
        return "done"

    @asynccontextmanager
    async def served(self, port: int, *, stateless: bool = False) -> AsyncIterator[Guard]:
        server = MCPServer("box", subscriptions=False)
        server.add_tool(self.add)
        server.add_tool(self.wait)
        guard = Guard(server.streamable_http_app(stateless_http=stateless))
        ready, end = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with server.session_manager.run():
                ready.set()
                await end.wait()

        holding = asyncio.create_task(hold())
        await ready.wait()
        try:
            async with serve(guard, "127.0.0.1", port):
                yield guard
        finally:
            end.set()
            await holding


class Wire:
    """A connection to a port that can be cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._ends += [writer, back]
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(2**16):
            writer.write(chunk)
    writer.close()


@pytest.fixture
def port() -> int:
    [port] = free_ports(1)
    return port


def at(port: int, **fields: Any) -> McpServer:
    return McpServer("box", url=f"http://127.0.0.1:{port}/mcp", **({"headers": {"Authorization": "env:KEY"}} | fields))


@pytest.fixture
def keyed(make: Make) -> McpServers:
    return make(secret={"KEY": KEY}.get)


@pytest.mark.parametrize("stateless", [False, True], ids=["sessions", "stateless"])
async def test_a_server_at_an_address_is_listed_and_called(keyed: McpServers, port: int, stateless: bool) -> None:
    async with Box().served(port, stateless=stateless):
        assert [tool.name for tool in await keyed.tools(at(port))] == ["add", "wait"]
        results = await asyncio.gather(*(keyed.call(at(port), "add", {"a": n, "b": 1}) for n in range(10)))
        assert [result.text for result in results] == [str(n + 1) for n in range(10)]


async def test_a_server_that_does_not_listen_is_away(keyed: McpServers, port: int) -> None:
    with pytest.raises(ServerAwayError, match="connect"):
        await keyed.tools(at(port))


async def test_a_server_that_refuses_us_is_away_and_its_status_is_told(keyed: McpServers, port: int) -> None:
    async with Box().served(port):
        with pytest.raises(ServerAwayError, match=r"HTTP 401"):
            await keyed.tools(at(port, headers={}))


async def test_a_session_that_a_restarted_server_has_forgotten_is_made_anew(keyed: McpServers, port: int) -> None:
    box = Box()
    for _ in range(2):
        async with box.served(port):
            assert (await keyed.call(at(port), "add", {"a": 1, "b": 2})).text == "3"
    assert box.ran == 2


async def test_a_call_that_cannot_be_sent_has_done_nothing(keyed: McpServers, port: int) -> None:
    async with Box().served(port):
        await keyed.tools(at(port))
    with pytest.raises(ServerAwayError):
        await keyed.call(at(port), "add", {"a": 1, "b": 2})


async def test_a_connection_that_breaks_in_a_call_loses_it(keyed: McpServers, port: int) -> None:
    box = Box()
    async with box.served(port), Wire(port) as wire:
        calling = asyncio.create_task(keyed.call(at(wire.port), "wait", {}))
        await box.begun.wait()
        wire.cut()
        with pytest.raises(ServerLostError):
            async with asyncio.timeout(10):
                await calling
        box.release.set()
        assert (await keyed.call(at(wire.port), "add", {"a": 1, "b": 2})).text == "3"


async def test_an_error_page_in_a_call_leaves_it_unknown_and_ends_no_other_call(keyed: McpServers, port: int) -> None:
    box = Box()
    async with box.served(port) as guard:
        waiting = asyncio.create_task(keyed.call(at(port), "wait", {}))
        await box.begun.wait()
        guard.status = 502
        with pytest.raises(ServerLostError, match="HTTP 502"):
            await keyed.call(at(port), "add", {"a": 1, "b": 2})
        guard.status = 0
        box.release.set()
        assert (await waiting).text == "done"
    assert box.ran == 0
