"""`cli.py forget …` and `threads delete`: erased, waited for, and told."""

from __future__ import annotations

import pytest

from domain.prompts import ThreadStart
from doubles.scripted_model import Reply
from tests.client.wedging import Said, cli
from tests.system import System


async def forget(system: System, *arguments: str) -> Said:
    options = ["--yes", "--settle", "0.1"]
    return await cli(system.client, *arguments, *options, EVERTHREAD_TASK_QUEUE=system.task_queue)


async def test_a_thread_is_deleted_and_the_receipt_is_printed(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    told = await forget(system, "threads", "delete", thread)
    assert told.status == 0
    head, verified, *remaining = told.out.splitlines()
    assert head == f"thread {thread}: done; erased 2 messages, 1 threads"
    assert verified == "verified: yes; left by count 0, by search 0"
    assert remaining[0].startswith("remains in temporal: 1 histories of the erased threads, ")
    assert (await system.record(thread)).deleted


async def test_turns_of_a_thread_are_erased(system: System, thread: str) -> None:
    for name in "abc":
        await system.ask(thread, f"I am {name}", id=name)
    told = await forget(system, "forget", "thread", thread, "--turns", "1-2", "--json")
    assert (told.status, told.objects[0]["erased"]) == (0, {"messages": 4})
    assert {row.prompt_id for row in await system.rows(thread)} == {"c"}


async def test_messages_and_owners_are_erased(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", start=ThreadStart(owner=thread, tenant="shop"))
    [answer] = [row for row in await system.rows(thread) if row.role == "assistant"]
    told = await forget(system, "forget", "message", answer.id, "--json")
    assert (told.status, told.objects[0]["erased"]) == (0, {"messages": 1})
    told = await forget(system, "forget", "owner", thread, "--tenant", "shop", "--json")
    assert (told.status, told.objects[0]["threads"]) == (0, 1)
    assert await system.rows(thread) == []


async def test_what_is_left_is_exit_status_1(system: System, thread: str) -> None:
    system.model.script(hanging())
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one")
    told = await forget(system, "forget", "thread", thread, "--turns", "1")
    assert told.status == 1
    assert f"left: turn 1 of thread {thread} has not ended; interrupt it first" in told.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["owner", "ada", "--before", "soon"], "is no time such as"),
        (["thread", "t", "--turns", "x"], "is no range of turns"),
        (["thread", "t", "--before", "2999-01-01"], "lies ahead"),
        (["message", "x"], "messages.0"),
    ],
)
async def test_what_cannot_be_erased_is_status_2(system: System, arguments: list[str], complaint: str) -> None:
    told = await forget(system, "forget", *arguments)
    assert (told.status, told.out) == (2, "")
    assert complaint in told.err


async def test_nothing_is_erased_unless_somebody_agrees(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    told = await cli(system.client, "forget", "thread", thread, EVERTHREAD_TASK_QUEUE=system.task_queue)
    assert told.status != 0
    assert len(await system.rows(thread)) == 2


def hanging() -> Reply:
    return Reply(text="one two three", hang_after_chunks=2)
