"""What keeps `cli.py dev` from starting is one line on standard error that names the remedy, never a traceback."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from doubles.scripted_model import ScriptedModel
from tests.e2e.driver import Everthread, free_ports


async def refusal(everthread: Everthread, *options: str, **settings: str) -> str:
    ended = await everthread.run(*options, typed="hello\n", **settings)
    assert ended.status == 1
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert lines[-1].startswith("everthread: "), ended.err
    assert set(lines[:-1]) <= {"Starting Temporal …"}
    assert everthread.family() == []
    return lines[-1]


async def test_a_wrong_key(fresh: Everthread) -> None:
    async with ScriptedModel(api_key="sk-right").serve() as guarded:
        line = await refusal(fresh, OPENAI_BASE_URL=guarded.base_url, OPENAI_API_KEY="sk-wrong")

    assert "Incorrect API key provided." in line
    assert "OPENAI_API_KEY" in line


async def test_an_unreachable_model(fresh: Everthread) -> None:
    [closed] = free_ports(1)

    line = await refusal(fresh, OPENAI_BASE_URL=f"http://127.0.0.1:{closed}/v1")

    assert f"127.0.0.1:{closed}" in line
    assert "OPENAI_BASE_URL" in line


async def test_a_busy_port_is_named_with_its_holder_and_its_variable(fresh: Everthread) -> None:
    ports = {
        "EVERTHREAD_PORT": fresh.port,
        "EVERTHREAD_TEMPORAL_PORT": fresh.temporal_port,
        "EVERTHREAD_TEMPORAL_UI_PORT": fresh.ui_port,
    }
    for variable, port in ports.items():
        with socket.create_server(("127.0.0.1", port)):
            line = await refusal(fresh)
        assert f"port {port} is in use by pid {os.getpid()} (" in line
        assert f"set {variable} to a free port" in line


async def test_a_folder_in_use_is_named_with_its_holder(running: Everthread) -> None:
    second = Everthread(running.folder, running.model_url)

    line = await refusal(second)

    assert f"pid {running.pid}" in line
    assert "EVERTHREAD_DATA_DIR" in line
    assert (await running.get("/api/health")).status_code == 200


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ([], {"EVERTHREAD_PORT": "abc"}, ["EVERTHREAD_PORT", "'abc'"]),
        ([], {"EVERTHREAD_DATA_DIR": "/proc/nowhere"}, ["EVERTHREAD_DATA_DIR", "/proc/nowhere"]),
        (["--agent", "nosuch"], {}, ["'nosuch'", "assistant, concierge"]),
        (["--thread", "a\nb"], {}, ["thread"]),
    ],
)
async def test_what_cannot_be_used(
    fresh: Everthread, options: list[str], settings: dict[str, str], words: list[str]
) -> None:
    line = await refusal(fresh, *options, **settings)

    assert all(word in line for word in words), line


async def test_a_child_that_dies_ends_the_program_with_its_name_and_log(fresh: Everthread) -> None:
    await fresh.start()
    [server] = [process for process in fresh.family() if process.name() == "temporal"]

    server.kill()

    assert await fresh.wait(10) == 1
    line = fresh.said().splitlines()[-1]
    assert line.startswith("everthread: temporal ended by itself")
    assert str(fresh.data / "logs") in line
    assert "Traceback" not in fresh.said()
    await asyncio.sleep(0)
