"""`cli.py mcp`: another program starts it as its tool server, and reaches the agents of the system that runs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters

from tests.e2e.driver import Everthread, free_ports
from tests.programs import ROOT


def command(everthread: Everthread, **settings: str) -> StdioServerParameters:
    env = everthread.environment | settings
    return StdioServerParameters(
        command=sys.executable, args=[str(ROOT / "cli.py"), "mcp"], env=env, cwd=str(everthread.folder)
    )


async def text_of(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    return str(result.content[0].text)  # type: ignore[union-attr]


async def test_a_program_that_starts_our_tool_server_asks_an_agent(running: Everthread) -> None:
    async with Client(command(running)) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"list_agents", "ask_agent", "read_thread"}
        result = await client.call_tool("ask_agent", {"prompt": "Hello from elsewhere"})
        assert result.structured_content["text"] == "You said: Hello from elsewhere"
        thread = result.structured_content["thread"]
        assert "There is no thread 'nosuch'" in await text_of(client, "read_thread", thread="nosuch")
    assert [row["text"] for row in await running.messages(thread)][-1] == "You said: Hello from elsewhere"


async def test_without_a_gateway_it_says_so_and_waits_for_one(running: Everthread) -> None:
    [port] = free_ports(1)
    async with Client(command(running, EVERTHREAD_PORT=str(port))) as client:
        for _ in range(2):
            with pytest.raises(MCPError, match=f"no gateway answers at http://127.0.0.1:{port}/mcp: start it with"):
                await client.list_tools()


async def test_it_ends_with_its_input(running: Everthread) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), "mcp",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=running.environment, cwd=running.folder,
    )  # fmt: skip
    async with asyncio.timeout(20):
        out, _ = await process.communicate(b"")
    assert (process.returncode, out) == (0, b"")
