"""`cli.py doctor threads`: finds the wedged ones among all, says why and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from domain.prompts import Prompt
from tests.client.wedging import CAUSE, QUICK_TASK, QUICK_WEDGE, OtherThread, cli, idle_thread, wedge
from tests.server import dev_server
from tests.system import System


@pytest.fixture
async def temporal() -> AsyncIterator[Client]:
    """One of its own for each test, since all threads are looked at."""
    async with dev_server(QUICK_WEDGE) as client:
        yield client


@pytest.fixture
async def threads(system: System) -> list[str]:
    """Three threads that are well."""
    return [await idle_thread(system, task_timeout=QUICK_TASK) for _ in range(3)]


async def test_a_wedged_thread_is_listed_with_cause_waiting_signals_and_remedy(
    system: System, threads: list[str]
) -> None:
    await wedge(system, threads[1], Prompt(content="two"), Prompt(content="three"))
    told = await cli(system.client, "doctor", "threads", "--json")
    assert (told.status, told.err) == (1, "")
    [found] = told.objects
    assert (found["thread"], found["signals"]) == (threads[1], 2)
    assert found["attempts"] > 3
    assert CAUSE in found["cause"]
    assert f"python cli.py repair {threads[1]}" in found["advice"]


async def test_code_that_does_not_fit_the_history_is_told_as_that(system: System, threads: list[str]) -> None:
    await wedge(system, threads[0], Prompt(content="two"), code=OtherThread)
    [found] = (await cli(system.client, "doctor", "threads", "--json")).objects
    assert found["cause"].startswith("non deterministic error: ")
    assert found["advice"].startswith(
        "the code does not fit the thread's history: run workers of the release it began on"
    )


async def test_people_read_it_in_lines(system: System, threads: list[str]) -> None:
    await wedge(system, threads[1], Prompt(content="two"))
    told = await cli(system.client, "doctor", "threads")
    head, wedged, cause, remedy, sum_ = told.out.splitlines()
    assert head == threads[1]
    assert wedged.endswith("UTC; 1 signal waits")
    assert CAUSE in cause
    assert "repair" in remedy
    assert sum_ == "3 threads run, 1 of them wedged"


async def test_threads_that_are_well_are_counted(system: System, threads: list[str]) -> None:
    told = await cli(system.client, "doctor", "threads")
    assert (told.status, told.out, told.err) == (0, "3 threads run in namespace default; none is wedged\n", "")


async def test_no_more_are_looked_at_than_the_limit(system: System, threads: list[str]) -> None:
    told = await cli(system.client, "doctor", "threads", "--limit", "2")
    assert told.out.startswith("2 threads run")


async def test_a_server_that_is_not_there_is_one_line_and_status_2(system: System) -> None:
    told = await cli(system.client, "doctor", "threads", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith("error: Temporal cannot be reached: start it with `make run`, or see TEMPORAL_ADDRESS: ")


async def test_a_setting_that_cannot_be_used_is_one_line_and_status_2(system: System) -> None:
    told = await cli(system.client, "doctor", "threads", EVERTHREAD_PORT="none")
    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith("error: EVERTHREAD_PORT: ")
