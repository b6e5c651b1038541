"""Sessions with MCP servers: real child processes and real HTTP, and what comes of all that a server may do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from adapters.mcp_servers import McpServers
from domain.errors import ServerAwayError, ServerLostError, ToolError
from domain.mcp import McpServer, ServerResult
from runtime import leash

ODD = Path(__file__).parents[2] / "doubles" / "tool_server.py"
TIME = str(Path(sys.executable).with_name("mcp-server-time"))

Make = Callable[..., McpServers]


def odd(*options: str, name: str = "odd", **fields: Any) -> McpServer:
    return McpServer(name, command=[sys.executable, "-I", "-S", str(ODD), *options], **fields)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[McpServers] = []

    def one(**fields: Any) -> McpServers:
        made.append(McpServers(leash=Path(leash.__file__), logs=tmp_path, **fields))
        return made[-1]

    yield one
    for servers in made:
        await servers.close()


@pytest.fixture
def servers(make: Make) -> McpServers:
    return make()


async def pid_of(servers: McpServers, server: McpServer) -> int:
    return int((await servers.call(server, "pid", {})).text)


async def until_dead(pid: int, timeout_s: float = 10.0) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        async with asyncio.timeout(timeout_s):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.02)


# --- what it gives


async def test_a_server_that_others_wrote_is_listed_and_called(servers: McpServers) -> None:
    clock = McpServer("time", command=[TIME, "--local-timezone", "UTC"])
    tools = {tool.name: tool for tool in await servers.tools(clock)}
    assert set(tools) == {"get_current_time", "convert_time"}
    assert tools["convert_time"].parameters["required"] == ["source_timezone", "time", "target_timezone"]
    assert tools["convert_time"].hint == "read"
    arguments = {"source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    result = await servers.call(clock, "convert_time", arguments)
    assert not result.failed
    assert json.loads(result.text)["target"]["timezone"] == "Asia/Tokyo"
    wrong = await servers.call(clock, "get_current_time", {"timezone": "Mars/Olympus"})
    assert wrong.failed
    assert "Mars/Olympus" in wrong.text


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("echo", {"text": "Grüße", "from": 2}, ServerResult("Grüße")),
        ("fail", {}, ServerResult("The drawer is empty.", failed=True)),
        ("structured", {}, ServerResult('{"answer": 42}')),
        ("nothing", {}, ServerResult("")),
        ("surrogate", {}, ServerResult("half a \ufffd character")),
        ("garbage", {}, ServerResult("after the garbage")),
        ("flood", {"size": 10_000_000}, ServerResult("x" * 10_000_000)),
        (
            "picture",
            {},
            ServerResult(
                "[image/png, 3 bytes, which you cannot see]\n[a: file:///a]\n[file:///b]\nwords\n"
                "[file:///c] [application/pdf, 3 bytes, which you cannot see]"
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_result_becomes_text_that_a_model_can_read(
    servers: McpServers, tool: str, arguments: dict[str, Any], result: ServerResult
) -> None:
    assert await servers.call(odd(), tool, arguments) == result


async def test_all_pages_of_a_list_are_read(servers: McpServers) -> None:
    whole = {tool.name for tool in await servers.tools(odd())}
    assert {tool.name for tool in await servers.tools(odd("--pages", "4"))} == whole


async def test_a_list_without_end_ends(servers: McpServers) -> None:
    assert await servers.tools(odd("--pages", "100000"))


async def test_one_process_serves_all_who_mean_the_same(servers: McpServers) -> None:
    pids = await asyncio.gather(*(pid_of(servers, odd(tools=[f"t{i}"])) for i in range(5)))
    assert len(set(pids)) == 1
    assert await pid_of(servers, odd(env={"A": "b"})) != pids[0]


async def test_calls_run_side_by_side(servers: McpServers, tmp_path: Path) -> None:
    """One that does not answer holds up no other."""
    hanging = asyncio.create_task(servers.call(odd(), "note", {"path": str(tmp_path / "ran"), "hang": True}))
    assert (await servers.call(odd(), "echo", {"text": "hi"})).text == "hi"
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


# --- secrets


async def test_a_child_gets_what_it_is_given_and_nothing_else(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ours alone")
    servers = make(secret={"TOKEN": "from the environment"}.get)
    server = odd(env={"A": "plain", "B": SecretStr("hidden"), "C": "env:TOKEN"})
    seen = json.loads((await servers.call(server, "environment", {})).text)
    assert {name: seen[name] for name in "ABC"} == {"A": "plain", "B": "hidden", "C": "from the environment"}
    assert set(seen) - {"A", "B", "C", "LC_CTYPE"} <= {"PATH", "HOME"}


async def test_a_secret_that_is_not_set_is_named(servers: McpServers) -> None:
    with pytest.raises(ServerAwayError, match="the variable TOKEN, which server 'odd' names, is not set"):
        await servers.tools(odd(env={"C": "env:TOKEN"}))


# --- what goes wrong


async def test_a_server_that_cannot_be_started_is_away_and_says_why(servers: McpServers) -> None:
    with pytest.raises(ServerAwayError, match="no-such-program: No such file or directory"):
        await servers.tools(McpServer("box", command=["no-such-program"]))
    with pytest.raises(ServerAwayError, match="cannot be started: No such file or directory"):
        await servers.tools(odd(cwd="/no/such/folder"))


@pytest.mark.parametrize("method", ["initialize", "tools/list"])
async def test_a_server_that_dies_before_it_has_listed_is_away(servers: McpServers, method: str) -> None:
    with pytest.raises(ServerAwayError, match="it ended with status 7: out of luck"):
        await servers.tools(odd("--die-at", method))


@pytest.mark.parametrize("method", ["server/discover", "initialize", "tools/list"])
async def test_a_server_that_hangs_is_away_when_its_time_is_over(servers: McpServers, method: str) -> None:
    with pytest.raises(ServerAwayError, match=r"within 0\.5 s"):
        await servers.tools(odd("--hang-at", method, connect_timeout_s=0.5))


async def test_a_server_that_is_away_holds_nobody_up_for_a_while_and_is_asked_again_after_it(make: Make) -> None:
    now = 0.0
    servers = make(clock=lambda: now)
    server = McpServer("box", command=["no-such-program"])
    for _ in range(2):
        with pytest.raises(ServerAwayError):
            await servers.tools(server)
    [link] = servers._links.values()
    assert (link.failures, link.again_at) == (1, 1.0)
    now = 1.5
    with pytest.raises(ServerAwayError):
        await servers.tools(server)
    assert (link.failures, link.again_at) == (2, 3.5)


async def test_a_server_that_dies_in_a_call_is_lost_and_there_again_for_the_next(
    servers: McpServers, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(ServerLostError, match="it ended with status 3"):
        await servers.call(odd(), "note", {"path": str(ran), "die": True})
    assert ran.read_text() == "ran\n"  # it is not for us to do it again
    assert (await servers.call(odd(), "echo", {"text": "again"})).text == "again"


async def test_a_server_that_died_between_calls_is_started_again(servers: McpServers) -> None:
    pid = await pid_of(servers, odd())
    os.kill(pid, signal.SIGKILL)
    await until_dead(pid)
    [link] = servers._links.values()
    assert link.connection is not None
    async with asyncio.timeout(10):
        await link.connection._gone.wait()
    assert await pid_of(servers, odd()) != pid


async def test_a_server_that_hangs_after_a_call_was_given_up_is_started_again(
    servers: McpServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.mcp_client.PROBE_S", 0.2)
    pid = await pid_of(servers, odd())
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await servers.call(odd(), "echo", {"text": "hello?"})
    assert await pid_of(servers, odd()) != pid
    await until_dead(pid)


async def test_a_server_that_does_one_thing_at_a_time_is_not_ended_for_being_busy(
    servers: McpServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.mcp_servers.BUSY_S", 0.1)
    first = await servers.tools(odd())
    working = asyncio.create_task(servers.call(odd(), "work", {"seconds": 0.4}))
    await asyncio.sleep(0)
    assert await servers.tools(odd()) == first
    assert (await working).text == "worked"


async def test_a_message_without_end_ends_the_server(servers: McpServers) -> None:
    with pytest.raises(ServerLostError, match="it sent more than 32 MB in one message"):
        await servers.call(odd(), "flood", {"size": 40_000_000})


async def test_what_the_server_refuses_is_told_in_its_words(servers: McpServers) -> None:
    with pytest.raises(ToolError, match=r"There is no unheard-of\."):
        await servers.call(odd(), "unheard-of", {})
    with pytest.raises(ToolError, match="What the server answered cannot be used"):
        await servers.call(odd(), "nonsense", {})


async def test_a_list_that_changes_is_read_anew(servers: McpServers) -> None:
    assert "fail" in {tool.name for tool in await servers.tools(odd())}
    await servers.call(odd(), "vanish", {"name": "fail"})
    assert "fail" not in {tool.name for tool in await servers.tools(odd())}


# --- the end


@pytest.mark.parametrize("options", [(), ("--stubborn",)], ids=["polite", "stubborn"])
async def test_nothing_is_left_when_the_worker_ends(make: Make, options: tuple[str, ...]) -> None:
    servers = make()
    pid = await pid_of(servers, odd(*options))
    child = int((await servers.call(odd(*options), "child", {})).text)
    leash_pid = psutil.Process(pid).ppid()
    assert psutil.Process(leash_pid).ppid() == os.getpid()
    await servers.close()
    for left in (pid, child, leash_pid):
        await until_dead(left, 1.0)


async def test_what_is_asked_while_it_ends_starts_nothing(servers: McpServers) -> None:
    await servers.close()
    with pytest.raises(ServerAwayError, match="this process ends"):
        await servers.tools(odd())


async def test_nothing_is_left_when_this_process_gets_kill_9(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal, sys
from pathlib import Path
from adapters.mcp_servers import McpServers
from domain.mcp import McpServer
from runtime import leash

async def main():
    servers = McpServers(leash=Path(leash.__file__), logs=Path({str(tmp_path)!r}))
    odd = McpServer("odd", command=[{sys.executable!r}, "-I", "-S", {str(ODD)!r}, "--stubborn"])
    print((await servers.call(odd, "pid", {{}})).text, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE, cwd=ODD.parents[1]
    )
    _, said = await process.communicate()
    await until_dead(int(said))
