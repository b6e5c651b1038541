"""`cli.py repair`: a wedged thread goes on, nothing lost, nothing doubled, wherever the repair is cut off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from client.repair import REASON, Repair, examine, mend
from domain.errors import InputRefusedError
from domain.prompts import Prompt
from doubles.scripted_model import Reply
from tests.client.wedging import (
    CLI,
    QUICK_TASK,
    QUICK_WEDGE,
    broken_worker,
    cli,
    environment,
    idle_thread,
    listed,
    wedge,
)
from tests.server import dev_server
from tests.system import System, new_thread


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    async with dev_server(QUICK_WEDGE) as client:
        yield client


@pytest.fixture
async def thread(system: System) -> str:
    """A thread with one turn behind it, whose tasks time out quickly."""
    return await idle_thread(system, {"owner": "ada"}, task_timeout=QUICK_TASK)


async def repaired(system: System, thread: str) -> Repair:
    return await mend(system.threads, await examine(system.threads, thread))


async def prompts(system: System, thread: str) -> list[tuple[str, str, str]]:
    """Of every prompt: its id, how it ended, and what the model said to it."""
    rows = await system.rows(thread)
    return [
        (
            row.prompt_id,
            row.status,
            " / ".join(r.text for r in rows if r.role == "assistant" and r.prompt_id == row.prompt_id),
        )
        for row in rows
        if row.role == "user"
    ]


def answered(*contents: str) -> list[tuple[str, str, str]]:
    return [(f"p-{n}", "answered", f"You said: {content}") for n, content in enumerate(contents, start=1)]


# --- what is mended


async def test_what_a_wedged_thread_was_sent_is_answered_once_and_in_order(system: System, thread: str) -> None:
    await wedge(system, thread, Prompt(id="p-2", content="two"), Prompt(id="p-3", content="three"))
    await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-2", "p-3")
    assert await prompts(system, thread) == answered("Hello", "two", "three")


async def test_a_prompt_without_an_id_is_answered_once(system: System, thread: str) -> None:
    await wedge(system, thread, Prompt(content="two"))
    repair = await repaired(system, thread)
    await repaired(system, thread)
    await system.start_worker()
    [prompt_id] = repair.prompts
    await system.ended(thread, prompt_id)
    assert [text for _, _, text in await prompts(system, thread)] == ["You said: Hello", "You said: two"]


async def test_what_was_running_and_waiting_when_it_wedged_is_answered_once(system: System, thread: str) -> None:
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "two", id="p-2")
    await system.submit(thread, "three", id="p-3")
    await system.streaming(thread, "one")
    await wedge(system, thread, Prompt(id="p-4", content="four"))
    system.model.script()
    repair = await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-2", "p-3", "p-4")
    assert list(repair.prompts) == ["p-2", "p-3", "p-4"]
    assert await prompts(system, thread) == answered("Hello", "two", "three", "four")


async def test_a_prompt_that_was_edited_while_it_waited_is_answered_as_it_was_edited(
    system: System, thread: str
) -> None:
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "two", id="p-2")
    await system.submit(thread, "three", id="p-3")
    await system.streaming(thread, "one")
    await system.threads.edit(thread, "p-3", "drei")
    await wedge(system, thread, Prompt(id="p-4", content="four"))
    system.model.script()
    await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-2", "p-3", "p-4")
    assert await prompts(system, thread) == answered("Hello", "two", "drei", "four")
    assert [row for row in await system.rows(thread) if row.status == "refused"] == []


async def test_a_prompt_that_waited_without_an_id_is_answered_once(system: System, thread: str) -> None:
    """It is in the store already, under the id that the run gave it; the repair gives it the same one."""
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "two", id="p-2")
    await system.workflow(thread).signal("prompt", {"content": "three"})
    await system.workflow(thread).execute_update("submit", {"content": "four"})
    await system.until(lambda: _saved(system, thread, 3))
    await wedge(system, thread, Prompt(id="p-5", content="five"))
    system.model.script()
    await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-2", "p-5")
    contents = ["Hello", "two", "three", "four", "five"]
    assert [answer for _, _, answer in await prompts(system, thread)] == [f"You said: {text}" for text in contents]


async def _saved(system: System, thread: str, count: int) -> bool:
    return len(await system.store.open_prompts(thread, 9)) == count


async def test_what_a_termination_by_hand_lost_is_found(system: System, thread: str) -> None:
    found = await wedge(system, thread, Prompt(id="p-2", content="two"))
    await system.workflow(thread, found.run_id).terminate(reason="it hangs")
    await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-2")
    assert await prompts(system, thread) == answered("Hello", "two")


async def test_a_thread_that_never_opened_keeps_how_it_was_started(system: System) -> None:
    thread = new_thread()
    async with broken_worker(system):
        start = {"owner": "ada", "agent": "helper"}
        prompt = {"id": "p-1", "content": "Hello"}
        await system.start(thread, start, task_timeout=QUICK_TASK, start_signal="prompt", start_signal_args=[prompt])
    await wedge(system, thread)
    await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-1")
    record = await system.record(thread)
    assert (record.owner, record.agent) == ("ada", "helper")


async def test_what_the_thread_refused_is_not_sent_again(system: System, thread: str) -> None:
    handle = system.workflow(thread)
    await handle.signal("prompt", {"id": "p-1", "content": "Another text"})
    await handle.signal("prompt", {"id": "p-2"})
    await system.refused(thread, 2)
    await system.stop_workers()
    await handle.signal("roll")  # so that there is something to fail at
    await wedge(system, thread)
    repair = await repaired(system, thread)
    assert not repair.prompts
    await system.start_worker()
    await system.idle(thread)
    assert [row.status for row in await system.rows(thread)].count("refused") == 2


async def test_what_cannot_be_read_is_told_and_not_sent(system: System, thread: str) -> None:
    async with broken_worker(system):
        await system.workflow(thread).signal("prompt", {"id": "p-2"})
        await system.workflow(thread).signal("promtp", "Hi")
    await wedge(system, thread)
    repair = await examine(system.threads, thread)
    assert ["content is missing" in repair.left[0], "promtp" in repair.left[1]] == [True, True]
    assert not repair.prompts


# --- cut off and repeated


async def test_a_repair_that_was_cut_off_before_it_sent_anything_is_taken_up(system: System, thread: str) -> None:
    found = await wedge(system, thread, Prompt(id="p-2", content="two"))
    await system.workflow(thread, found.run_id).terminate(reason=f"{REASON}cut off")
    await system.start_worker()
    await repaired(system, thread)
    await system.ended(thread, "p-2")
    assert await prompts(system, thread) == answered("Hello", "two")


async def test_a_repair_that_was_cut_off_while_sending_sends_the_rest(system: System, thread: str) -> None:
    found = await wedge(system, thread, Prompt(id="p-2", content="two"), Prompt(id="p-3", content="three"))
    await system.workflow(thread, found.run_id).terminate(reason=f"{REASON}cut off")
    await system.threads.signal(thread, Prompt(id="p-2", content="two"))
    await listed(system, thread)
    repair = await repaired(system, thread)
    assert list(repair.prompts) == ["p-3"]
    await system.start_worker()
    await system.ended(thread, "p-2", "p-3")
    assert await prompts(system, thread) == answered("Hello", "two", "three")


async def test_a_thread_that_wedges_again_is_mended_again(system: System, thread: str) -> None:
    await wedge(system, thread, Prompt(id="p-2", content="two"))
    await repaired(system, thread)
    await wedge(system, thread, Prompt(id="p-3", content="three"))
    await repaired(system, thread)
    await system.start_worker()
    await system.ended(thread, "p-2", "p-3")
    assert await prompts(system, thread) == answered("Hello", "two", "three")


async def test_a_thread_that_is_well_has_nothing_to_repair(system: System, thread: str) -> None:
    assert not (await examine(system.threads, thread)).needed


async def test_a_mended_thread_has_nothing_to_repair(system: System, thread: str) -> None:
    await wedge(system, thread, Prompt(id="p-2", content="two"))
    await repaired(system, thread)
    await listed(system, thread)
    assert not (await examine(system.threads, thread)).needed


async def test_a_thread_that_temporal_does_not_know_is_refused(system: System) -> None:
    with pytest.raises(InputRefusedError, match="knows no thread"):
        await examine(system.threads, new_thread())


# --- as a command


async def test_without_yes_nothing_is_done(system: System, thread: str) -> None:
    found = await wedge(system, thread, Prompt(id="p-2", content="two"))
    told = await cli(system.client, "repair", thread)
    assert (told.status, told.err) == (1, "")
    assert "would be sent again: prompt p-2: two" in told.out
    assert (await system.workflow(thread).describe()).run_id == found.run_id


async def test_with_yes_it_is_mended_and_the_output_says_what_was_sent(system: System, thread: str) -> None:
    await wedge(system, thread, Prompt(id="p-2", content="two"))
    told = await cli(system.client, "repair", thread, "--yes", "--json")
    assert (told.status, told.err) == (0, "")
    [fields] = told.objects
    assert (fields["done"], fields["prompts"], fields["left"]) == (True, ["p-2"], [])
    await system.start_worker()
    await system.ended(thread, "p-2")


@pytest.mark.timeout(120)
async def test_a_repair_that_is_killed_again_and_again_loses_and_doubles_nothing(system: System, thread: str) -> None:
    contents = ["Hello", *(f"number {n}" for n in range(2, 42))]
    sent = [Prompt(id=f"p-{n}", content=content) for n, content in enumerate(contents, start=1)]
    found = await wedge(system, thread, *sent[1:])
    for signals in (0, 5, 20, 30):
        await _kill_when_sent(signals, system, thread, found.run_id)
    told = await cli(system.client, "repair", thread, "--yes")
    assert told.status == 0, told
    await system.start_worker()
    await system.ended(thread, *(str(prompt.id) for prompt in sent))
    assert await prompts(system, thread) == answered(*contents)


async def _kill_when_sent(signals: int, system: System, thread: str, wedged_run: str) -> None:
    """Let a repair run until the wedged run is ended and the next one has so many signals; then kill it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        CLI,
        "repair",
        thread,
        "--yes",
        env=environment(system.client),
        stdout=asyncio.subprocess.DEVNULL,
    )

    async def far_enough() -> bool:
        run = await system.workflow(thread).describe()
        ended = run.run_id == wedged_run and run.status == WorkflowExecutionStatus.TERMINATED
        return process.returncode is not None or ((run.run_id != wedged_run or ended) and run.history_length >= signals)

    async with asyncio.timeout(20):
        while not await far_enough():
            pass
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
