"""A turn is stopped within a second, keeps what was said, and the next prompt goes on."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from domain.errors import ThreadBusyError
from domain.messages import Message
from domain.steps import closing_fence
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, said

HALF = Reply(text="one two three", when="Count", hang_after_chunks=2)
HELD = Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold"), ToolCall(name="look", arguments={"what": "up"})])


async def counting(system: System, thread: str, *more: Reply | str) -> None:
    """A turn, with prompt `a`, whose answer has come as far as "one two"."""
    system.model.script(HALF, *(more or ("Yes.",)))
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")


async def stopped(system: System, thread: str, prompt_id: str = "a") -> list[Message]:
    """The rows of the turn, once it was interrupted."""
    [prompt] = await system.ended(thread, prompt_id)
    assert prompt.status == "interrupted"
    return [row for row in await system.rows(thread) if row.prompt_id == prompt_id]


async def test_an_interrupt_by_signal_keeps_what_was_said(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.workflow(thread).signal("interrupt", {"reason": "enough"})
    rows = await stopped(system, thread)
    assert [(row.role, row.status) for row in rows] == [("user", "interrupted"), ("assistant", "interrupted")]
    assert rows[1].text.split() == ["one", "two"]
    assert rows[0].error == "enough"


async def test_an_interrupt_by_signal_needs_no_argument(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.workflow(thread).signal("interrupt")
    assert (await stopped(system, thread))[0].error == "interrupted"


async def test_an_interrupt_closes_the_model_call(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.threads.interrupt(thread)
    await system.model.until(lambda request: request.client_left)


async def test_the_next_prompt_goes_on_from_what_was_said(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.threads.interrupt(thread)
    assert await system.ask(thread, "And you?", id="b") == "Yes."
    assert [message["content"].strip() for message in system.asked()[1:]] == ["Count!", "one two", "And you?"]


async def test_a_reader_hears_the_end_of_the_interrupted_turn(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.threads.interrupt(thread, reason="enough")
    await stopped(system, thread)
    [ended] = system.events.of(thread, "turn.finished")
    assert (ended["prompt_id"], ended["status"], ended["error"]) == ("a", "interrupted", "enough")
    assert [data["status"] for data in system.events.of(thread, "message.finished")] == ["interrupted"]


async def test_an_interrupt_tells_which_turn_it_stops(system: System, thread: str) -> None:
    await counting(system, thread)
    receipt = await system.threads.interrupt(thread)
    assert (receipt.disposition, receipt.turn, receipt.prompt_id) == ("interrupting", 1, "a")


@pytest.mark.parametrize("other", [{"turn": 2}, {"prompt_id": "b"}, {"turn": 1, "prompt_id": "b"}])
async def test_an_interrupt_of_another_turn_does_nothing(system: System, thread: str, other: dict[str, object]) -> None:
    await counting(system, thread)
    handle = system.workflow(thread)
    receipt = await handle.execute_update("interrupt", other)
    assert receipt["disposition"] == "not_running"
    assert (await system.threads.turn(thread)).status == "running"


async def test_an_interrupt_of_an_idle_thread_does_nothing(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    await system.idle(thread)
    assert (await system.threads.interrupt(thread)).disposition == "not_running"
    assert await system.ask(thread, "Still there?") == "You said: Still there?"


async def test_two_interrupts_stop_one_turn(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.submit(thread, "And you?", id="b")
    await asyncio.gather(*(system.threads.interrupt(thread, prompt_id="a") for _ in range(2)))
    await stopped(system, thread)
    [b] = await system.ended(thread, "b")
    assert b.status == "answered"


async def test_an_interrupt_of_the_wrong_shape_is_recorded_and_stops_nothing(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.workflow(thread).signal("interrupt", {"trun": 1})
    assert (await system.threads.turn(thread)).status == "running"
    await system.threads.interrupt(thread)
    [row] = await system.refused(thread)
    assert row.error == "interrupt: 'trun' is not a field; the fields are turn, prompt_id, reason"


async def test_an_interrupt_by_update_of_the_wrong_shape_says_so(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    with pytest.raises(Exception, match="Workflow update failed") as caught:
        await system.workflow(thread).execute_update("interrupt", {"turn": "one"})
    assert isinstance(caught.value.__cause__, ApplicationError)
    assert caught.value.__cause__.type == "InputRefusedError"


async def test_an_interrupt_stops_a_running_tool_and_closes_its_call(system: System, thread: str) -> None:
    system.model.script(HELD, "Yes.")
    await system.submit(thread, "Hold!", id="a", agent="helper")
    await system.until(lambda: _ran(system, "hold"))
    await system.threads.interrupt(thread)
    rows = await stopped(system, thread)
    held = next(row for row in rows if row.name == "hold")
    assert (held.status, held.text) == ("interrupted", "The call was stopped before it ended; its outcome is unknown.")
    assert all(row.final for row in rows)


async def test_the_next_call_after_a_stopped_tool_is_valid(system: System, thread: str) -> None:
    system.model.script(HELD, "Yes.")
    await system.submit(thread, "Hold!", id="a", agent="helper")
    await system.until(lambda: _ran(system, "hold"))
    await system.threads.interrupt(thread)
    assert await system.ask(thread, "And you?", agent="helper") == "Yes."
    messages = system.asked()
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or []]
    assert calls
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == calls


async def _ran(system: System, name: str) -> bool:
    return any(tool == name for tool, _ in system.bench.ran)


async def test_a_turn_is_stopped_while_no_activity_of_it_runs(system: System, thread: str) -> None:
    """The model is away, and its next attempt is half a minute off."""
    system.model.script(Reply(when="Count", status=503, headers={"retry-after": "30"}), "Yes.")
    await system.submit(thread, "Count!", id="a")

    async def waits() -> bool:
        return bool(system.events.of(thread, "model.retrying"))

    await system.until(waits)
    await system.threads.interrupt(thread)
    rows = await stopped(system, thread)
    assert all(row.final for row in rows)
    assert await system.ask(thread, "And you?") == "Yes."


async def test_a_turn_is_stopped_before_its_first_activity_started(system: System, thread: str) -> None:
    """Prompt and interrupt come in one workflow task: no worker was there when they were sent."""
    await system.ask(thread, "Hi")
    await system.stop_workers()
    handle = system.workflow(thread)
    await handle.signal("prompt", {"id": "a", "content": "Count!"})
    await handle.signal("prompt", {"id": "b", "content": "And you?", "mode": "interrupt"})
    await system.start_worker()
    a, b = await system.ended(thread, "a", "b")
    assert b.status == "answered"
    assert a.status in ("interrupted", "answered")
    assert len([row for row in await system.rows(thread) if row.role == "user"]) == 3


# --- busy modes


async def test_a_prompt_that_interrupts_comes_before_those_that_wait(system: System, thread: str) -> None:
    await counting(system, thread, Reply(text="You said: {user}"))
    await system.submit(thread, "I waited.", id="b")
    receipt = await system.submit(thread, "Me first!", id="c", mode="interrupt")
    assert receipt.disposition == "interrupting"
    await system.ended(thread, "a", "b", "c")
    rows = await system.rows(thread)
    assert said([row for row in rows if row.role == "user"]) == [
        ("user", "interrupted", "Count!"),
        ("user", "answered", "Me first!"),
        ("user", "answered", "I waited."),
    ]


async def test_two_prompts_that_interrupt_keep_their_order(system: System, thread: str) -> None:
    await counting(system, thread, Reply(text="You said: {user}"))
    for name in "bcd":
        await system.submit(thread, f"Prompt {name}", id=name, mode="interrupt" if name != "b" else "queue")
    await system.ended(thread, *"abcd")
    turns = {row.prompt_id: row.turn for row in await system.rows(thread) if row.role == "user"}
    assert turns == {"a": 1, "c": 2, "d": 3, "b": 4}


async def test_a_prompt_that_interrupts_nothing_just_starts(system: System, thread: str) -> None:
    assert (await system.submit(thread, "Hi", mode="interrupt")).disposition == "started"


async def test_a_prompt_that_must_not_wait_is_rejected_by_a_busy_thread(system: System, thread: str) -> None:
    await counting(system, thread)
    with pytest.raises(ThreadBusyError, match="mode queue"):
        await system.submit(thread, "Now?", id="b", mode="reject")
    await system.threads.interrupt(thread)
    await stopped(system, thread)
    await system.idle(thread)
    assert (await system.submit(thread, "Now?", id="b", mode="reject")).disposition == "started"


async def test_a_rejected_prompt_by_signal_is_recorded(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.workflow(thread).signal("prompt", {"id": "b", "content": "Now?", "mode": "reject"})
    await system.threads.interrupt(thread)
    [row] = await system.refused(thread)
    assert (row.text, row.error) == (
        "Now?",
        "the thread is busy and the prompt's mode is reject; send it later, or with mode queue",
    )


async def test_the_same_prompt_in_another_mode_is_a_duplicate(system: System, thread: str) -> None:
    await counting(system, thread)
    for mode in ("interrupt", "reject"):
        assert (await system.submit(thread, "Count!", id="a", mode=mode)).disposition == "duplicate"
    assert (await system.threads.turn(thread)).status == "running"


# --- after a loss


async def test_a_turn_whose_run_was_lost_while_it_was_being_stopped_ends_as_interrupted(
    system: System, thread: str
) -> None:
    await counting(system, thread)
    await system.workflow(thread).terminate()
    await system.model.until(lambda request: request.client_left)
    [answer] = await system.answers(thread, "a")
    await system.store.amend(answer.id, closing_fence(1), {"status": "interrupted"})
    await system.threads.ensure_running(thread)
    await stopped(system, thread)
    assert await system.ask(thread, "And you?", id="b") == "Yes."


async def test_an_interrupted_turn_stays_so_when_the_thread_opens_again(system: System, thread: str) -> None:
    await counting(system, thread)
    await system.threads.interrupt(thread)
    await stopped(system, thread)
    await system.idle(thread)
    await system.workflow(thread).terminate()
    assert await system.ask(thread, "And you?", id="b") == "Yes."
    assert [row.status for row in await stopped(system, thread)] == ["interrupted", "interrupted"]
