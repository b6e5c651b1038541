"""`cli.py replay`: whether the code that is here understands a user's own histories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.client.wedging import cli, idle_thread, listed
from tests.replay.record import FOLDER
from tests.server import TEMPORAL, dev_server
from tests.system import System, new_thread


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """One of its own, since all its threads are replayed."""
    async with dev_server() as client:
        yield client


@pytest.fixture
async def thread(system: System) -> str:
    return await idle_thread(system)


def foreign(file: Path, target: Path) -> Path:
    """A history that no release of ours could have made: its model call was another activity."""
    history: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for event in history["events"]:
        scheduled = event.get("activityTaskScheduledEventAttributes")
        if scheduled:
            scheduled["activityType"]["name"] = "ask_model"
    target.write_text(json.dumps(history), encoding="utf-8")
    return target


async def test_every_file_of_a_folder_is_replayed(system: System) -> None:
    told = await cli(system.client, "replay", FOLDER)
    files = len(list(FOLDER.glob("*.json")))
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines()[-1] == f"{files} of {files} histories replay"


async def test_a_history_that_does_not_replay_is_named_with_the_reason_and_status_1(
    system: System, tmp_path: Path
) -> None:
    bad = foreign(FOLDER / "answer.json", tmp_path / "bad.json")
    told = await cli(system.client, "replay", FOLDER / "tool_turn.json", bad)
    good_line, bad_line, total = told.out.splitlines()
    assert (told.status, told.err) == (1, "")
    assert good_line.startswith("ok    thread/replay-tool-turn ")
    assert bad_line.startswith("FAILS thread/replay-answer ")
    assert "ondetermini" in bad_line
    assert total == "1 of 2 histories replay: do not deploy this"


async def test_what_the_temporal_command_saves_is_replayed(system: System, thread: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    process = await asyncio.create_subprocess_exec(
        TEMPORAL,
        *["workflow", "show", "--workflow-id", f"thread/{thread}", "--output", "json"],
        *["--address", system.client.service_client.config.target_host],
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await asyncio.wait_for(process.communicate(), 20)
    file.write_bytes(shown)
    told = await cli(system.client, "replay", file, "--json")
    assert told.status == 0
    [fields] = told.objects
    assert (fields["workflow_id"], fields["replays"], fields["reason"]) == (f"thread/{thread}", True, None)


async def test_a_thread_is_replayed_from_the_server(system: System, thread: str) -> None:
    told = await cli(system.client, "replay", "--thread", thread)
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines()[-1] == "1 of 1 histories replay"


async def test_all_threads_that_run_are_replayed(system: System, thread: str) -> None:
    told = await cli(system.client, "replay", "--all", "--json")
    assert told.status == 0
    assert f"thread/{thread}" in {fields["workflow_id"] for fields in told.objects}


async def test_the_newest_are_replayed_up_to_the_limit(system: System, thread: str) -> None:
    await listed(system, other := await _another(system))
    told = await cli(system.client, "replay", "--all", "--limit", "1", "--json")
    assert [fields["workflow_id"] for fields in told.objects] == [f"thread/{other}"]
    assert "the newest 1 are replayed" in told.err


async def _another(system: System) -> str:
    thread = new_thread()
    await system.ask(thread, "Hello")
    return thread


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say what to replay"),
        (["--all", "--thread", "x"], "say what to replay"),
        ([__file__], "is no history"),
        (["not/there.json"], "No such file"),
        (["--thread", "nobody"], "not found"),
    ],
    ids=["nothing", "two-sources", "no-json", "no-file", "no-thread"],
)
async def test_what_cannot_be_replayed_is_one_line_and_status_2(
    system: System, arguments: list[str], complaint: str
) -> None:
    told = await cli(system.client, "replay", *arguments)
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert complaint in told.err
