"""`cli.py threads roll`: threads go on in a new run, as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.client.wedging import cli, idle_thread
from tests.server import dev_server
from tests.system import System


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """One of its own, since all its threads are told."""
    async with dev_server() as client:
        yield client


async def rolled(system: System, thread: str) -> bool:
    return len(await system.runs(thread)) == 2


async def test_a_thread_that_is_told_to_roll_goes_on_in_a_new_run(system: System) -> None:
    thread = await idle_thread(system)
    told = await cli(system.client, "threads", "roll", thread)
    assert (told.status, told.err, told.out) == (0, "", f"{thread} rolls at its next step\n")
    await system.until(lambda: rolled(system, thread))
    assert await system.ask(thread, "Still there?") == "You said: Still there?"


async def test_all_threads_that_run_are_told(system: System) -> None:
    threads = [await idle_thread(system) for _ in range(3)]
    told = await cli(system.client, "threads", "roll", "--all", "--json")
    assert told.status == 0
    assert {fields["thread"] for fields in told.objects if fields["told"]} >= set(threads)
    for thread in threads:
        await system.until(lambda thread=thread: rolled(system, thread))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [([], "say which"), (["x", "--all"], "say which"), (["nobody"], "does not run")],
    ids=["nothing", "both", "no-thread"],
)
async def test_a_wrong_call_is_one_line_and_status_2(system: System, arguments: list[str], complaint: str) -> None:
    told = await cli(system.client, "threads", "roll", *arguments)
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert complaint in told.err
