"""What comes in just when the thread is about to do something else: sleep, roll, or note the end of a turn."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage

from domain.prompts import ReplyTo
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, started_with

HALF = Reply(text="one two three", when="Count", hang_after_chunks=2)
SLOW = Reply(when="Count", text="one two three four", delay_s=0.15)
HOLD = Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")])


class Gate:
    """Holds who comes until it is opened, and tells that somebody is there."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.open.wait()

    async def wait_reached(self) -> None:
        async with asyncio.timeout(20):
            await self.reached.wait()


def hold_events(system: System, monkeypatch: pytest.MonkeyPatch, kind: str) -> Gate:
    """Activities stop where they publish this: of `turn.finished`, the store has the end and the thread does not know."""
    gate, publish = Gate(), system.events.publish

    async def held(thread: str, its_kind: Any, data: dict[str, Any]) -> None:
        if its_kind == kind:
            await gate.pass_through()
        await publish(thread, its_kind, data)

    monkeypatch.setattr(system.events, "publish", held)
    return gate


def hold_checkpoints(system: System, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The store takes no checkpoint until the gate is opened. Updates come in meanwhile, at the task's next heartbeat."""
    gate, save = Gate(), system.store.save_checkpoint

    async def held(*args: Any) -> None:
        await gate.pass_through()
        await save(*args)

    monkeypatch.setattr(system.store, "save_checkpoint", held)
    return gate


async def ask(system: System, thread: str, **prompt: Any) -> Any:
    return await system.workflow(thread).start_update("ask", prompt, wait_for_stage=WorkflowUpdateStage.ACCEPTED)


async def result(update: Any) -> dict[str, Any]:
    async with asyncio.timeout(15):
        told: dict[str, Any] = await update.result()
        return told


async def rolling_between_steps(system: System, thread: str, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The model of turn `a` has stopped, `b` comes to the turn, and the thread is rolling before its next step."""
    ending = hold_events(system, monkeypatch, "turn.finished")
    await system.submit(thread, "Count!", id="a")
    await ending.wait_reached()
    receipt = await system.submit(thread, "Hurry!", id="b", mode="steer")
    assert receipt.disposition == "joining"
    gate = hold_checkpoints(system, monkeypatch)
    await system.workflow(thread).signal("roll")
    ending.open.set()
    await gate.wait_reached()
    return gate


# --- sleep


@pytest.mark.usefixtures("short_tasks")
async def test_who_asks_while_the_thread_falls_asleep_is_answered(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = hold_checkpoints(system, monkeypatch)
    await system.ask(thread, "Hello", id="a", start=started_with(idle_timeout_s=0.3))
    await gate.wait_reached()
    asked = await ask(system, thread, id="b", content="Still there?")
    gate.open.set()
    assert (await result(asked))["status"] == "answered"


# --- another try at a turn, just when it ends


async def test_a_wish_repeated_while_its_turn_ends_leaves_no_turn_open(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"id": "r", "prompt_id": "a"}
    gate = hold_events(system, monkeypatch, "turn.finished")
    system.model.script(SLOW.model_copy(update={"times": 1}), "Again.")
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one")
    with pytest.raises(WorkflowUpdateFailedError):  # it has not ended
        await system.workflow(thread).execute_update("regenerate", wish)
    await gate.wait_reached()
    again = await system.workflow(thread).start_update("regenerate", wish, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    await asyncio.sleep(0.3)
    gate.open.set()
    await result(again)
    await system.idle(thread)
    row = await system.prompt(thread, "a")
    assert row.status == "answered"
    answers = sorted((row.branch, row.text) for row in await system.answers(thread, "a"))
    assert answers == [(0, "one two three four"), (1, "Again.")]


@pytest.mark.usefixtures("short_tasks")
async def test_a_wish_about_a_turn_that_goes_on_does_not_hold_up_a_roll(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has an end of the turn, then a prompt joins it, and the thread rolls between the two steps."""
    gate = await rolling_between_steps(system, thread, monkeypatch)
    wish = await system.workflow(thread).start_update(
        "regenerate", {"prompt_id": "a"}, wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    gate.open.set()
    with pytest.raises(WorkflowUpdateFailedError):
        await result(wish)
    a, b = await system.ended(thread, "a", "b")
    await system.idle(thread)
    assert (a.status, b.status) == ("answered", "joined")
    assert (await system.prompt(thread, "a")).status == "answered"


async def test_turns_opened_again_all_at_once_are_no_more_than_may_wait(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread could not carry, nor open again with, any number of them."""
    names = [f"a{number}" for number in range(6)]
    for name in names:
        await system.ask(thread, "Hello", id=name)
    monkeypatch.setattr("domain.thread.MAX_WAITING", 3)
    system.model.script(HALF, "Again.")
    await system.submit(thread, "Count!", id="z")
    await system.streaming(thread, "one two")
    await asyncio.gather(*(system.workflow(thread).signal("regenerate", {"prompt_id": name}) for name in names))

    async def taken() -> bool:
        return bool((await system.threads.status(thread))["waiting"] >= 3)

    await system.until(taken)
    await system.threads.interrupt(thread)
    refused = await system.refused(thread, 3)
    await system.idle(thread)
    assert {row.error for row in refused} == {"3 prompts wait already; send this one again when some are answered"}
    assert [(await system.prompt(thread, name)).status for name in names] == ["answered"] * 6
    assert sum([len(await system.answers(thread, name)) for name in names]) == 9


# --- stops, just when a turn has ended in the store


@pytest.mark.usefixtures("short_tasks")
async def test_the_thread_and_the_store_say_the_same_of_a_turn_stopped_while_it_was_gone_on_with(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model had stopped, a prompt came to it, and before its next step began, somebody stopped it."""
    gate = await rolling_between_steps(system, thread, monkeypatch)
    await system.workflow(thread).execute_update("interrupt", {"prompt_id": "a"})
    gate.open.set()
    await system.ended(thread, "b")
    await system.idle(thread)
    assert (await system.threads.turn(thread, "a")).status == (await system.prompt(thread, "a")).status


# --- replies


async def test_who_steered_a_turn_that_was_terminated_hears_its_answer_and_not_before(
    system: System, thread: str
) -> None:
    system.model.script(HOLD, Reply(when="Hurry", text="six seven eight", hang_after_chunks=2))
    await system.submit(thread, "Hold!", id="a", agent="helper")

    async def held() -> bool:
        return ("hold", None) in system.bench.ran

    await system.until(held)
    await system.submit(thread, "Hurry!", id="b", mode="steer", reply_to=ReplyTo(workflow_id="nobody"))
    system.bench.release()
    await system.streaming(thread, "six seven")
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)

    async def runs() -> bool:
        return bool((await system.threads.status(thread))["running"])

    await system.until(runs)
    status = await system.threads.status(thread)
    assert status["undelivered"] == 0
    assert (await system.threads.turn(thread, "b")).status == "running"
    assert (await system.prompt(thread, "b")).delivery is None
    asked = await ask(system, thread, id="b", content="Hurry!", mode="steer", reply_to={"workflow_id": "nobody"})
    await system.threads.interrupt(thread)
    assert (await result(asked))["status"] == "joined"


async def test_a_reply_that_is_owed_twice_is_sent_by_one_activity_at_a_time_after_a_roll(
    system: System, thread: str
) -> None:
    name = f"later-{uuid4().hex}"
    await system.submit(thread, "Hello", id="a", reply_to=ReplyTo(workflow_id=name))
    await system.idle(thread)
    await system.workflow(thread).execute_update("regenerate", {"prompt_id": "a"})
    await system.idle(thread)
    await system.workflow(thread).signal("roll")
    await system.ask(thread, "And you?", id="b")
    history = await system.history(thread)
    scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history]
    assert scheduled.count("deliver") == 1
    assert len(await system.runs(thread)) == 2
