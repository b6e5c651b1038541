"""A thread that was terminated, cancelled or lost opens again from the store where it stood."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from domain import ids
from domain.prompts import Prompt
from domain.steps import fence
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, said

HALF = Reply(text="one two three", hang_after_chunks=2)


async def cut_off(system: System, thread: str, prompt_id: str = "a") -> None:
    """A turn whose answer has begun, and whose run is terminated."""
    system.model.script(HALF)
    await system.submit(thread, "Count!", id=prompt_id)
    await system.streaming(thread, "one two")
    await system.workflow(thread).terminate()


async def zombie_ended(system: System) -> None:
    """The model call of the lost run has ended too: its worker heard that nobody waits for it."""
    await system.model.until(lambda request: request.client_left)


# --- terminated


async def test_a_prompt_cut_off_by_a_termination_is_answered_once_under_its_turn(system: System, thread: str) -> None:
    await system.ask(thread, "First")
    await cut_off(system, thread)
    system.model.script("one two three")
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    await zombie_ended(system)
    rows = await system.rows(thread)
    assert said(rows)[2:] == [("user", "answered", "Count!"), ("assistant", "complete", "one two three")]
    assert {row.turn for row in rows if row.prompt_id == "a"} == {2}
    assert (await system.record(thread)).epoch == 2
    assert rows[-1].attempt >= fence(2, 0, 1)
    assert system.finished(thread).count(rows[-1].id) == 1


async def test_a_prompt_sent_again_to_the_thread_that_lost_it_is_a_duplicate(system: System, thread: str) -> None:
    await cut_off(system, thread)
    system.model.script("one two three")
    assert (await system.submit(thread, "Count!", id="a")).disposition == "duplicate"
    await system.ended(thread, "a")
    assert len([row for row in await system.rows(thread) if row.role == "user"]) == 1


async def test_a_prompt_answered_before_a_termination_is_not_answered_again(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.workflow(thread).terminate()
    assert (await system.submit(thread, "Hi", id="a")).disposition == "duplicate"
    await system.idle(thread)
    assert len(system.model.requests) == 1


async def test_prompts_that_waited_at_a_termination_are_answered_in_their_order(system: System, thread: str) -> None:
    system.model.script(HALF)
    await system.submit(thread, "Count!", id="a")
    names = [f"p{number}" for number in range(10)]
    for name in names:
        await system.submit(thread, f"I am {name}", id=name)

    async def saved() -> bool:
        return len(await system.store.open_prompts(thread, 100)) == 11

    await system.until(saved)
    await system.workflow(thread).terminate()
    system.model.script("Here I am.", cycle=True)
    await system.submit(thread, "I am new", id="new")
    await system.ended(thread, "a", *names, "new")
    rows = [row for row in await system.rows(thread) if row.role == "user"]
    assert [(row.prompt_id, row.turn) for row in rows] == [(n, t) for t, n in enumerate(["a", *names, "new"], start=1)]


async def test_a_large_prompt_that_waited_at_a_termination_is_answered(system: System, thread: str) -> None:
    system.model.script(HALF)
    await system.submit(thread, "Count!", id="a")
    await system.submit(thread, "x" * 500_000, id="large")

    async def saved() -> bool:
        return len(await system.store.open_prompts(thread, 100)) == 2

    await system.until(saved)
    await system.workflow(thread).terminate()
    system.model.script("Here I am.", cycle=True)
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a", "large")
    assert system.asked()[-1]["content"] == "x" * 500_000


async def test_a_turn_cut_off_behind_its_tools_does_not_run_them_again(system: System, thread: str) -> None:
    system.model.script(
        Reply(tool_calls=[ToolCall(name="pay", arguments={"amount": 5})]),
        Reply(after_tool=True, text="one two three", hang_after_chunks=2),
    )
    await system.submit(thread, "Pay!", id="a", agent="helper")
    await system.streaming(thread, "one two")
    await system.workflow(thread).terminate()
    system.model.script(Reply(after_tool=True, text="I read: {tool}"))
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    assert system.bench.ran == [("pay", 5)]
    assert [row.text for row in await system.answers(thread, "a")] == ["", "I read: Paid 5."]


async def test_a_write_tool_cut_off_by_a_termination_is_not_repeated(system: System, thread: str) -> None:
    """What it did is unknown, also to the run after it."""
    system.model.script(Reply(tool_calls=[ToolCall(name="hold"), ToolCall(name="pay", arguments={"amount": 5})]))
    await system.submit(thread, "Pay!", id="a", agent="helper")
    await system.until(lambda: _ran(system, "hold"))
    await system.workflow(thread).terminate()
    system.bench.release()
    system.model.script(Reply(after_tool=True, text="Done."))
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    assert [name for name, _ in system.bench.ran].count("pay") <= 1
    tools = [row for row in await system.rows(thread) if row.role == "tool"]
    assert [row.final for row in tools] == [True, True]


async def _ran(system: System, tool: str) -> bool:
    return tool in [name for name, _ in system.bench.ran]


async def test_a_thread_can_be_terminated_again_and_again(system: System, thread: str) -> None:
    for epoch in range(1, 6):
        await cut_off(system, thread)
        assert (await system.record(thread)).epoch == epoch
    system.model.script("one two three")
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    assert said(await system.rows(thread)) == [
        ("user", "answered", "Count!"),
        ("assistant", "complete", "one two three"),
    ]


async def test_a_thread_terminated_before_it_was_open_loses_no_prompt_that_is_sent_again(
    system: System, thread: str
) -> None:
    await system.stop_workers()
    await system.threads.signal(thread, Prompt(id="a", content="Hi"))
    await system.workflow(thread).terminate()
    await system.start_worker()
    assert await system.ask(thread, "Hi", id="a") == "You said: Hi"
    assert (await system.record(thread)).epoch == 1


async def test_the_checkpoint_of_a_roll_is_no_obstacle_to_what_came_after_it(rolling: System, thread: str) -> None:
    while len(await rolling.runs(thread) if rolling.model.requests else []) < 2:
        await rolling.ask(thread, "More")
    await rolling.ask(thread, "After the checkpoint", id="after")
    turn = (await rolling.prompt(thread, "after")).turn
    assert turn is not None
    await rolling.workflow(thread).terminate()
    assert (await rolling.submit(thread, "After the checkpoint", id="after")).disposition == "duplicate"
    await rolling.ask(thread, "And on", id="on")
    assert (await rolling.prompt(thread, "on")).turn == turn + 1


# --- zombies


async def test_a_zombie_of_the_terminated_run_cannot_overwrite_the_answer(system: System, thread: str) -> None:
    """Its call goes on while the new run answers, and ends after it."""
    await system.stop_workers()
    await system.start_worker()
    system.model.script(Reply(chunks=["old ", "answer"], delay_s=1.0))
    await system.submit(thread, "Hi", id="a")
    await system.streaming(thread, "old")
    await system.workflow(thread).terminate()
    system.model.script("new answer")
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    await system.model.until(lambda request: request.number == 1 and request.ended_at is not None)
    await system.stop_workers()  # waits for the zombie
    assert said(await system.rows(thread)) == [("user", "answered", "Hi"), ("assistant", "complete", "new answer")]
    assert len(system.finished(thread)) == 1


async def test_an_attempt_of_an_earlier_run_finds_the_row_held(system: System, thread: str) -> None:
    await cut_off(system, thread)
    system.model.script(HALF)
    await system.threads.ensure_running(thread)
    await system.model.until(lambda request: request.number == 2 and request.chunks_sent == 2)
    answer = ids.message_id(thread, "a", "answer")
    seen = await system.store.amend(answer, fence(1, 0, 999), {"status": "complete", "text": "from the grave"})
    assert seen is not None
    assert (seen.status, seen.attempt) == ("pending", fence(2, 0, 1))


# --- cancelled


async def test_a_cancelled_thread_ends_and_its_prompt_is_answered_at_the_next_start(
    system: System, thread: str
) -> None:
    system.model.script(HALF)
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    handle = system.workflow(thread)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as ended:
        await asyncio.wait_for(handle.result(), 10)
    assert isinstance(ended.value.cause, CancelledError)
    assert (await system.prompt(thread, "a")).status == "pending"
    system.model.script("one two three")
    await system.threads.ensure_running(thread)
    [prompt] = await system.ended(thread, "a")
    assert (prompt.status, prompt.turn) == ("answered", 1)


async def test_a_thread_cancelled_in_a_tool_ends_and_finishes_the_turn_at_the_next_start(
    system: System, thread: str
) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="hold")]), Reply(after_tool=True, text="I read: {tool}"))
    await system.submit(thread, "Hold!", id="a", agent="helper")
    await system.until(lambda: _ran(system, "hold"))
    handle = system.workflow(thread)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 10)
    system.bench.release()
    await system.threads.ensure_running(thread)
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "answered"
    assert (await system.answers(thread, "a"))[-1].text == "I read: Released."


async def test_an_idle_thread_can_be_cancelled_and_started_again(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    await system.idle(thread)
    handle = system.workflow(thread)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 10)
    assert await system.ask(thread, "Hi again") == "You said: Hi again"
    assert [row.turn for row in await system.rows(thread) if row.role == "user"] == [1, 2]


# --- a worker goes away


async def test_a_turn_goes_on_with_another_worker(system: System, thread: str) -> None:
    system.model.script(HALF)
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    system.model.script("one two three")
    await system.stop_workers()
    await system.start_worker()
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "answered"
    assert [row.text for row in await system.answers(thread, "a")] == ["one two three"]
    assert len(system.finished(thread)) == 1


async def test_prompts_wait_for_a_worker(system: System, thread: str) -> None:
    await system.stop_workers()
    for name in ("a", "b"):
        await system.threads.signal(thread, Prompt(id=name, content=name))
    await system.start_worker()
    assert [row.turn for row in await system.ended(thread, "a", "b")] == [1, 2]


async def test_a_prompt_that_came_together_with_the_cancellation_is_not_lost(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    await system.idle(thread)
    await system.stop_workers()
    handle = system.workflow(thread)
    await handle.signal("prompt", {"id": "a", "content": "Hi again"})
    await handle.cancel()
    await system.start_worker()
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 10)
    await system.threads.ensure_running(thread)
    [prompt] = await system.ended(thread, "a", timeout_s=3)
    assert prompt.status == "answered"
