"""`cli.py mcp`: our agents for a program that starts its tool servers itself. What comes in goes to the gateway at /mcp."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from client.commands.console import Console, run

if TYPE_CHECKING:
    from mcp import Client
    from mcp.server import Server

PATH = "/mcp"

T = TypeVar("T")


def mcp(context: typer.Context) -> None:
    """Offer the agents as a tool server (Model Context Protocol) on standard input and output.

    For programs that start their tool servers themselves; others use the gateway's address with /mcp. The gateway must run.
    """
    run(context, _serve)


async def _serve(console: Console) -> int:
    from mcp.server.stdio import stdio_server

    server = _bridge(f"{console.gateway().url}{PATH}")
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
    return 0


def _bridge(url: str) -> Server[Any]:
    """A server that passes each request on, over a connection of its own: the gateway may come and go."""
    from mcp.server import Server

    async def list_tools(_: Any, params: Any) -> Any:
        return await _asked(url, lambda client: client.list_tools(cursor=params.cursor if params else None))

    async def call_tool(context: Any, params: Any) -> Any:
        async def tell(progress: float, total: float | None, message: str | None) -> None:
            await context.session.report_progress(progress, total, message)

        return await _asked(url, lambda client: client.call_tool(params.name, params.arguments, progress_callback=tell))

    return Server("everthread", title="Everthread", on_list_tools=list_tools, on_call_tool=call_tool)


async def _asked(url: str, question: Callable[[Client], Awaitable[T]]) -> T:
    """Raises: MCPError in words if no gateway answers."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared.exceptions import MCPError
    from mcp_types import INTERNAL_ERROR

    try:
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=None) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            try:
                return await question(client)
            except MCPError as error:  # it would leave the connection as one of a group
                refusal = error
    except Exception as error:
        words = f"no gateway answers at {url}: start it with `make run`, or see EVERTHREAD_HOST and EVERTHREAD_PORT"
        raise MCPError(INTERNAL_ERROR, words) from error
    raise refusal
