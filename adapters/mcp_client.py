"""One connection to an MCP server, over the official client. Only loaded where an agent has a server: it takes a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import structlog
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, Implementation, Tool
from pydantic import ValidationError

from adapters.mcp_results import result_of
from adapters.mcp_stdio import MAX_MESSAGE_BYTES, ChildServer
from domain.errors import EverthreadError, ServerAwayError, ServerLostError, ToolError
from domain.mcp import Effect, McpServer, ServerResult, ServerTool
from domain.messages import mend_text, preview

MAX_PAGES = 50  # of a list
IDLE_S = 900.0  # so long is a connection kept that nobody uses
END_S = 10.0  # for a connection to end
PROBE_S = 5.0  # for a server to answer that did not answer a call in time
# What the official client says in the place of a server:
TERMINATED = "Session terminated"  # it does not know our session any more, and has done nothing
CLOSED = "Connection closed"
BROKEN = "SSE stream"  # the answer's stream broke off
ERROR_PAGE = "Server returned an error response"
US = Implementation(name="everthread", version="0.1.0")
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)

T = TypeVar("T")

log = structlog.get_logger()


@dataclass
class Connection:
    """A session with a server, held by a task of its own. It is never mended: once it is `over` another one is made."""

    server: McpServer
    secrets: Mapping[str, str]  # values of headers, or of the environment
    leash: Path
    log_path: Path
    suspect: bool = False  # a call was given up, so the server may hang
    calls: int = 0  # of tools, that are not answered yet
    _open: int = 0  # of all that was asked
    _used_at: float = field(default_factory=time.monotonic)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _words: Callable[[], str] = lambda: "the connection ended"
    _error: BaseException | None = None
    _refused: int | None = None  # the last HTTP status of an error

    def __post_init__(self) -> None:
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        # Not in the context of the call that happens to come first: its log lines would name that one's thread.
        self._task = asyncio.create_task(self._hold(), context=Context())

    @property
    def over(self) -> bool:
        return self._gone.is_set() or self._task.done()

    async def ready(self) -> None:
        """Raises: ServerAwayError if it could not be made."""
        await asyncio.shield(self._ready)

    async def close(self) -> None:
        self._gone.set()
        done, _ = await asyncio.wait({self._task}, timeout=END_S)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=END_S)

    # --- use

    async def answers(self) -> bool:
        """Whether it still does: of a server that did not answer a call in time, and is another's as well."""
        try:
            async with asyncio.timeout(PROBE_S):
                await self.tools(refresh=True)
        except (EverthreadError, TimeoutError):
            return False
        self.suspect = False
        return True

    async def tools(self, *, refresh: bool = False) -> list[ServerTool]:
        """All that it offers. Raises: ServerAwayError, ServerLostError, ToolError."""
        found: list[ServerTool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._ask(
                partial(Client.list_tools, cursor=cursor, cache_mode="refresh" if refresh else "use")
            )
            found += [_tool(tool) for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                break
        return found

    async def call(self, tool: str, arguments: dict[str, Any]) -> ServerResult:
        """Raises: ServerAwayError, ServerLostError, ToolError."""
        self.calls += 1
        try:
            return result_of(await self._ask(lambda client: client.call_tool(tool, arguments)))
        finally:
            self.calls -= 1

    async def _ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        client = await asyncio.shield(self._ready)
        self._open += 1
        try:
            return await question(client)
        except asyncio.CancelledError:
            self.suspect = True
            raise
        except MCPError as error:
            raise await self._explained(error) from error
        except (RuntimeError, ValidationError) as error:  # it has answered
            raise ToolError(f"What the server answered cannot be used: {preview(str(error), 500)}") from error
        finally:
            self._open -= 1
            self._used_at = time.monotonic()

    async def _explained(self, error: MCPError) -> EverthreadError:
        if error.code == INVALID_REQUEST and error.message == TERMINATED:
            self._gone.set()
            return ServerAwayError("it has forgotten the session")
        if error.message.startswith(BROKEN) or (error.message == ERROR_PAGE and (self._refused or 0) >= 500):
            return ServerLostError(self._said(error))  # of this call alone
        if error.code != CONNECTION_CLOSED or error.message != CLOSED:  # servers use that code for errors of their own
            return ToolError(self._said(error))
        alone = self._open == 1
        self._gone.set()
        await asyncio.wait({self._task}, timeout=END_S)  # then it is known why
        causes = list(_causes(self._error))
        if alone and causes and all(isinstance(cause, NOT_SENT) for cause in causes):
            return ServerAwayError(self._reason())
        return ServerLostError(self._reason())

    def _reason(self) -> str:
        cause = next(_causes(self._error), None)
        return preview(str(cause) or type(cause).__name__, 300) if cause is not None else self._words()

    def _said(self, error: MCPError) -> str:
        status = f" (HTTP {self._refused})" if self._refused else ""
        return (mend_text(error.message) or "it refused without a word") + status

    # --- life

    async def _hold(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self.server.connect_timeout_s):
                    transport = self._stdio() if self.server.command else self._http()
                    client = await stack.enter_async_context(Client(transport, client_info=US))
                self._ready.set_result(client)
                await self._until_over()
        except Exception as error:  # noqa: BLE001 - whatever the transport raises is why there is no connection
            self._error = error
            if self._ready.done():
                log.info("server.disconnected", server=self.server.name, error=self._reason())
        finally:
            self._gone.set()
            if not self._ready.done():
                self._ready.set_exception(ServerAwayError(self._why_not()))
                self._ready.exception()  # or it is told as never looked at

    async def _until_over(self) -> None:
        while not self._gone.is_set():
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._gone.wait()
            except TimeoutError:
                if not self._open and time.monotonic() - self._used_at >= IDLE_S:
                    return

    def _why_not(self) -> str:
        if isinstance(self._error, TimeoutError):
            return f"it did not answer within {self.server.connect_timeout_s:g} s"
        for cause in _causes(self._error):
            if isinstance(cause, MCPError):
                return self._words() if cause.message == CLOSED else self._said(cause)
        return self._reason()

    @asynccontextmanager
    async def _stdio(self) -> AsyncIterator[Any]:
        child = ChildServer(
            name=self.server.name,
            command=self.server.command,
            env=self.secrets,
            cwd=self.server.cwd,
            leash=self.leash,
            log_path=self.log_path,
            gone=self._gone,
        )
        self._words = lambda: child.words
        async with child.streams() as streams:
            yield streams

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Any]:
        assert self.server.url is not None
        # A call may take as long as its own limit says, and be silent until then.
        timeout = httpx2.Timeout(None, connect=self.server.connect_timeout_s)
        hooks = {"response": [self._note]}
        trust = await asyncio.to_thread(httpx2.create_ssl_context)  # it reads all certificates
        async with (
            httpx2.AsyncClient(headers=dict(self.secrets), timeout=timeout, event_hooks=hooks, verify=trust) as http,
            streamable_http_client(self.server.url, http_client=http, max_sse_event_size=MAX_MESSAGE_BYTES) as streams,
        ):
            yield streams

    async def _note(self, response: httpx2.Response) -> None:
        """The official client tells no status."""
        self._refused = response.status_code if response.is_error else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The errors in a group of groups of them."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    elif error is not None:
        yield error


def _tool(tool: Tool) -> ServerTool:
    return ServerTool(tool.name, tool.description or tool.title or "", tool.input_schema, _hint(tool))


def _hint(tool: Tool) -> Effect:
    said = tool.annotations
    if said is None:
        return "write"
    return "read" if said.read_only_hint else "idempotent" if said.idempotent_hint else "write"
