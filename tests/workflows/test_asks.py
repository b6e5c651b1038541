"""Who waits for an answer gets it, through rolls, floods and restarts."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from temporalio.client import WorkflowQueryFailedError

from domain.errors import PromptConflictError
from domain.prompts import Prompt
from domain.wishes import TurnReport
from doubles.scripted_model import Reply
from tests.system import System
from workflows.doors import MAX_ASKS

SLOW = Reply(text="one two three", when="Count", hang_after_chunks=2)


async def test_an_ask_returns_the_end_of_the_turn(system: System, thread: str) -> None:
    report = await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    [answer] = await system.answers(thread, "a")
    assert report == TurnReport(prompt_id="a", status="answered", turn=1, message_id=answer.id, text="You said: Hi")


async def test_an_ask_of_a_turn_that_fails_says_why(system: System, thread: str) -> None:
    system.model.script(Reply(status=400))
    report = await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    [prompt] = await system.ended(thread, "a")
    assert (report.status, report.error) == ("failed", prompt.error)


async def test_an_ask_of_a_turn_that_is_interrupted_says_so(system: System, thread: str) -> None:
    system.model.script(SLOW)
    asking = asyncio.create_task(system.threads.ask(thread, Prompt(id="a", content="Count!")))
    await system.streaming(thread, "one two")
    await system.threads.interrupt(thread, reason="enough")
    report = await asking
    assert (report.status, report.text.strip(), report.error) == ("interrupted", "one two", "enough")


async def test_an_ask_again_under_the_same_id_gets_the_same_answer(system: System, thread: str) -> None:
    first = await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    assert await system.threads.ask(thread, Prompt(id="a", content="Hi")) == first
    assert len(system.model.requests) == 1


async def test_an_ask_of_what_the_thread_no_longer_remembers_is_answered_from_the_store(
    system: System, thread: str
) -> None:
    first = await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    await system.idle(thread)
    await system.workflow(thread).terminate()
    assert await system.threads.ask(thread, Prompt(id="a", content="Hi")) == first


async def test_an_ask_of_another_text_under_the_same_id_is_refused(system: System, thread: str) -> None:
    await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    with pytest.raises(PromptConflictError):
        await system.threads.ask(thread, Prompt(id="a", content="Ho"))


async def test_an_ask_gives_up_after_its_time_and_the_prompt_goes_on(system: System, thread: str) -> None:
    system.model.script(SLOW)
    with pytest.raises(TimeoutError):
        await system.threads.ask(thread, Prompt(id="a", content="Count!"), timeout_s=0.3)
    assert (await system.threads.turn(thread, "a")).status == "running"


async def test_asks_are_answered_through_rolls(rolling: System, thread: str) -> None:
    for number in range(12):
        report = await rolling.threads.ask(thread, Prompt(content=f"Prompt {number}"))
        assert (report.status, report.text) == ("answered", f"You said: Prompt {number}")
    assert len(await rolling.runs(thread)) > 1


async def test_more_asks_than_may_wait_are_told_how_far_they_are(system: System, thread: str) -> None:
    system.model.script(SLOW, "Yes.")
    handle = await system.start(thread)
    names = [f"p{number}" for number in range(MAX_ASKS)]
    asking = [asyncio.create_task(handle.execute_update("ask", {"id": name, "content": "Count!"})) for name in names]

    async def all_taken() -> bool:
        return bool((await system.threads.status(thread))["waiting"] == MAX_ASKS - 1)

    await system.until(all_taken)
    assert (await handle.execute_update("ask", {"id": "late", "content": "Hi"}))["status"] == "waiting"
    for number in range(1, MAX_ASKS + 1):
        await system.until(partial(_runs, system, thread, number))
        await system.threads.interrupt(thread, turn=number)
    assert {report["status"] for report in await asyncio.gather(*asking)} == {"interrupted"}


async def _runs(system: System, thread: str, turn: int) -> bool:
    return any(data["turn"] == turn for data in system.events.of(thread, "message.started"))


@pytest.mark.timeout(120)
async def test_five_hundred_prompts_at_once_are_all_answered_once(system: System, thread: str) -> None:
    names = [f"p{number}" for number in range(500)]
    receipts = await asyncio.gather(*(system.submit(thread, f"I am {name}", id=name) for name in names))
    assert {receipt.disposition for receipt in receipts} <= {"started", "queued"}
    await system.ended(thread, *names, timeout_s=100)
    rows = await system.rows(thread)
    assert sorted(row.prompt_id for row in rows if row.role == "user") == sorted(names)
    assert sorted(row.text for row in rows if row.role == "assistant") == sorted(f"You said: I am {n}" for n in names)


# --- the query


async def test_the_query_tells_of_waiting_running_and_ended_turns(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.idle(thread)
    system.model.script(SLOW)
    await system.submit(thread, "Count!", id="b")
    await system.submit(thread, "And you?", id="c")
    statuses = {name: (await system.threads.turn(thread, name)).status for name in "abcd"}
    assert statuses == {"a": "answered", "b": "running", "c": "waiting", "d": "unknown"}


async def test_the_query_finds_a_turn_by_its_number(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.ask(thread, "Ho", id="b")
    await system.idle(thread)
    assert (await system.workflow(thread).query("turn", {"turn": 1}))["prompt_id"] == "a"


async def test_the_query_without_an_argument_tells_of_the_last_turn(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.idle(thread)
    assert (await system.workflow(thread).query("turn"))["prompt_id"] == "a"


async def test_a_query_of_the_wrong_shape_says_what_is_wrong(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    with pytest.raises(WorkflowQueryFailedError, match="'trun' is not a field; the fields are prompt_id, turn"):
        await system.workflow(thread).query("turn", {"trun": 1})
