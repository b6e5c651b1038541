"""Typed calls on threads: what a caller is told, and what is safe to repeat."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from client.threads import Threads
from domain.errors import InputRefusedError, PromptConflictError
from domain.prompts import Prompt, ThreadStart
from tests.system import System


async def test_submit_starts_the_thread_and_tells_the_id_it_gave(system: System, thread: str) -> None:
    receipt = await system.threads.submit(thread, Prompt(content="Hi"))
    assert receipt.disposition == "started"
    [prompt] = await system.ended(thread, receipt.prompt_id)
    assert prompt.text == "Hi"


async def test_a_repeated_submit_is_answered_once(system: System, thread: str) -> None:
    prompt = Prompt(id="a", content="Hi")
    receipts = [await system.threads.submit(thread, prompt) for _ in range(3)]
    assert [receipt.disposition for receipt in receipts] == ["started", "duplicate", "duplicate"]
    await system.ended(thread, "a")
    assert len(system.model.requests) == 1


async def test_submit_says_who_owns_a_new_thread(system: System, thread: str) -> None:
    await system.threads.submit(thread, Prompt(id="a", content="Hi"), ThreadStart(owner="ada", agent="poet"))
    await system.ended(thread, "a")
    record = await system.record(thread)
    assert (record.owner, record.agent) == ("ada", "poet")


async def test_a_conflict_is_told_as_one(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    with pytest.raises(PromptConflictError, match="send it under a new id"):
        await system.threads.submit(thread, Prompt(id="a", content="Bye"))


async def test_signal_starts_the_thread_and_does_not_wait(system: System, thread: str) -> None:
    await system.stop_workers()
    await asyncio.wait_for(system.threads.signal(thread, Prompt(id="a", content="Hi")), 5)
    await system.start_worker()
    await system.ended(thread, "a")


async def test_ensure_running_can_be_called_at_any_time(system: System, thread: str) -> None:
    await system.threads.ensure_running(thread)
    first = (await system.workflow(thread).describe()).run_id
    await system.threads.ensure_running(thread)
    assert (await system.workflow(thread).describe()).run_id == first
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)
    assert (await system.workflow(thread).describe()).run_id != first


async def test_the_status_of_a_thread_that_does_not_run_is_an_error(system: System, thread: str) -> None:
    with pytest.raises(RPCError, match="not found"):
        await system.threads.status(thread)


@pytest.mark.parametrize("name", ["", "a/b", " a", "a\n", "x" * 201])
async def test_a_thread_id_that_cannot_be_one_is_refused_before_anything_is_sent(system: System, name: str) -> None:
    with pytest.raises(InputRefusedError, match="1 to 200 printable characters"):
        await system.threads.submit(name, Prompt(content="Hi"))
    with pytest.raises(InputRefusedError):
        await system.threads.signal(name, Prompt(content="Hi"))
    with pytest.raises(InputRefusedError):
        await system.threads.ensure_running(name)


async def test_many_updates_on_one_thread_at_once_all_get_their_receipt(system: System, thread: str) -> None:
    """The server lets ten be under way."""
    receipts = await asyncio.gather(*(system.submit(thread, f"I am {n}", id=f"p{n}") for n in range(40)))
    assert sorted(receipt.prompt_id for receipt in receipts) == sorted(f"p{n}" for n in range(40))
    await system.ended(thread, *(f"p{n}" for n in range(40)))


async def test_a_thread_whose_own_agent_is_unknown_to_the_client_is_started_all_the_same(
    temporal: Client, system: System, thread: str
) -> None:
    """Catalogs may differ while a deploy is under way; the worker's counts."""
    threads = Threads(temporal, system.task_queue, "an-agent-of-tomorrow")
    await threads.submit(thread, Prompt(id="a", content="Hi"))
    [prompt] = await system.ended(thread, "a")
    assert (prompt.status, prompt.agent) == ("answered", "assistant")
