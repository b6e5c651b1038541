"""The door at /mcp: our agents for other programs, over streamable HTTP. Made when the first request comes, since that
takes a second, and each request stands for itself, so that a restart of ours ends no session.
"""

from __future__ import annotations

import asyncio
import importlib

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from activities.ports import Catalog
from client.reading import ThreadReader
from client.threads import Threads

PATH = "/mcp"


class McpDoor:
    """An ASGI application. `close` ends what still runs."""

    def __init__(self, threads: Threads, reader: ThreadReader, catalog: Catalog, *, owner: str, version: str) -> None:
        self._arguments = (threads, reader, catalog, owner)
        self._version = version
        self._end = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None
        self._open: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open is None:
            self._open = asyncio.get_running_loop().create_future()
            self._holding = asyncio.create_task(self._hold(self._open))
        app = await asyncio.shield(self._open)
        await app(scope, receive, send)

    async def close(self) -> None:
        self._end.set()
        if self._holding is not None:
            await self._holding

    @property
    def route(self) -> Route:
        return Route(PATH, endpoint=self)

    async def _hold(self, opened: asyncio.Future[ASGIApp]) -> None:
        """Its sessions belong to this task, as the official server wants it."""
        try:
            module = await asyncio.to_thread(importlib.import_module, "gateway.mcp_server")
            server = module.make_server(module.Desk(*self._arguments), self._version)
            security = importlib.import_module("mcp.server.transport_security").TransportSecuritySettings
            # Host and Origin are looked at by the gateway, of every request.
            app = server.streamable_http_app(
                streamable_http_path=PATH,
                stateless_http=True,
                transport_security=security(enable_dns_rebinding_protection=False),
            )
        except Exception as error:  # noqa: BLE001 - whatever stops it is told to who asks
            self._open = None  # the next request tries again
            opened.set_exception(error)
            return
        async with server.session_manager.run():
            opened.set_result(app)
            await self._end.wait()
