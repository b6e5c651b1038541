"""A thread that nobody talks to costs nothing for ever: it rolls, sleeps, or ends; and a prompt finds it again."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateStage

from activities.ports import Store
from domain import thread as rules
from domain.errors import InputRefusedError
from domain.prompts import Prompt
from tests.system import DEADLINE_S, System, count, started_with
from workflows import idle

TIMERS = EventType.EVENT_TYPE_TIMER_STARTED


async def closed(system: System, thread: str) -> WorkflowExecutionStatus:
    """How its last run ended, once it has."""

    async def status() -> WorkflowExecutionStatus | None:
        found = (await system.workflow(thread).describe()).status
        return None if found in (None, WorkflowExecutionStatus.RUNNING) else found

    return cast("WorkflowExecutionStatus", await system.until(status))


async def test_an_idle_thread_ends_its_run_and_a_prompt_opens_it_again(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a", start=started_with(idle_timeout_s=0.3))
    assert await closed(system, thread) == WorkflowExecutionStatus.COMPLETED
    assert await system.ask(thread, "Still there?", id="b") == "You said: Still there?"
    assert (await system.prompt(thread, "b")).turn == 2
    assert [m["content"] for m in system.asked()[1:]] == ["Hello", "You said: Hello", "Still there?"]


async def test_a_prompt_known_before_the_sleep_is_not_answered_again(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a", start=started_with(idle_timeout_s=0.3))
    await closed(system, thread)
    assert (await system.submit(thread, "Hello", id="a")).disposition == "duplicate"


async def test_work_puts_the_sleep_off_with_one_timer(system: System, thread: str) -> None:
    start = started_with(idle_timeout_s=1.0)
    for number in range(8):
        await system.ask(thread, f"{number}", id=f"p{number}", start=start)
    await closed(system, thread)
    [history] = await system.runs(thread)
    assert count(history, TIMERS) <= 4


async def test_a_thread_without_a_timeout_has_no_timer(system: System, thread: str) -> None:
    await system.ask(thread, "Hello")
    await system.idle(thread)
    assert count(await system.history(thread), TIMERS) == 0


async def test_a_thread_whose_time_to_live_is_over_ends_and_takes_nothing_more(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a", start=started_with(ttl_s=0.5))
    assert await closed(system, thread) == WorkflowExecutionStatus.COMPLETED
    with pytest.raises(InputRefusedError, match="its time to live is over"):
        await system.submit(thread, "Still there?", id="b")
    with pytest.raises(WorkflowFailureError):
        await system.workflow(thread).result()


async def test_an_idle_thread_with_a_long_history_rolls(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "IDLE_ROLL_EVENTS", 10)
    monkeypatch.setattr("domain.rebuild.IDLE_ROLL_S", 0.3)
    assert rules.IDLE_ROLL_EVENTS == 500
    await system.ask(thread, "Hello", id="a")

    async def rolled() -> bool:
        return len(await system.runs(thread)) == 2

    await system.until(rolled)
    assert await system.ask(thread, "And you?", id="b") == "You said: And you?"


async def test_a_thread_that_must_exist_is_not_made(system: System, thread: str) -> None:
    handle = await system.start(
        thread, {"must_exist": True}, start_signal="prompt", start_signal_args=[{"content": "Hi"}]
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert f"there is no thread {thread}" in str(caught.value.cause)
    assert await system.store.get_thread(thread) is None
    [row] = await system.rows(thread)
    assert (row.status, row.text) == ("refused", "Hi")


async def test_a_thread_that_was_terminated_exists(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a")
    await system.workflow(thread).terminate()
    start = started_with(must_exist=True)
    assert await system.ask(thread, "Still there?", id="b", start=start, must_exist=True) == "You said: Still there?"


async def test_a_prompt_for_an_existing_thread_does_not_begin_one(system: System, thread: str) -> None:
    value = {"id": "a", "content": "Hi", "must_exist": True}
    await system.start(thread, {}, start_signal="prompt", start_signal_args=[value])
    [row] = await system.refused(thread)
    assert row.error == f"there was no thread {thread} before this prompt"
    assert await system.ask(thread, "Hello", id="b", must_exist=True) == "You said: Hello"


async def test_a_prompt_whose_reply_is_on_its_way_keeps_the_thread_awake(system: System, thread: str) -> None:
    prompt = Prompt(id="a", content="Hi", reply_to={"workflow_id": "nobody", "within_s": 600})  # type: ignore[arg-type]
    await system.threads.submit(thread, prompt, started_with(idle_timeout_s=0.2))
    await system.ended(thread, "a")
    assert (await system.idle(thread))["undelivered"] == 1


class SlowCheckpoints:
    """A store that keeps no checkpoint before it is told to."""

    def __init__(self, store: Store) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._store = store

    async def save_checkpoint(self, *args: Any) -> None:
        self.begun.set()
        await self.go_on.wait()
        await self._store.save_checkpoint(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.usefixtures("short_tasks")
async def test_who_asks_while_the_thread_is_laid_down_is_answered(system: System, thread: str) -> None:
    store = SlowCheckpoints(system.store)
    await system.stop_workers()
    await system.start_worker(store=cast("Store", store))
    await system.ask(thread, "Hello", id="a", start=started_with(idle_timeout_s=0.3))
    await asyncio.wait_for(store.begun.wait(), DEADLINE_S)
    asked = await system.workflow(thread).start_update(
        "ask", {"id": "b", "content": "Still there?"}, wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    store.go_on.set()
    report = await asyncio.wait_for(asked.result(), DEADLINE_S)
    assert (report["status"], report["text"]) == ("answered", "You said: Still there?")
    assert await closed(system, thread) == WorkflowExecutionStatus.COMPLETED
