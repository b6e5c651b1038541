"""Who is named in a prompt's `reply_to` hears how it ended, through rolls and terminations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.prompts import Prompt, ReplyTo
from doubles.scripted_model import Reply, ToolCall
from tests.system import System

HALF = Reply(text="one two three", when="Count", hang_after_chunks=2)


@workflow.defn(name="Listener")
class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    @workflow.run
    async def run(self, expected: int) -> list[dict[str, Any]]:
        await workflow.wait_condition(lambda: len(self.heard) >= expected)
        return self.heard

    @workflow.signal
    def answer(self, end: dict[str, Any]) -> None:
        self.heard.append(end)


@asynccontextmanager
async def listening(system: System, expected: int = 1) -> AsyncIterator[WorkflowHandle[Any, list[dict[str, Any]]]]:
    queue = f"listeners-{uuid4().hex}"
    runner = UnsandboxedWorkflowRunner()
    async with Worker(system.client, task_queue=queue, workflows=[Listener], workflow_runner=runner):
        yield await system.client.start_workflow(Listener.run, expected, id=queue, task_queue=queue)


async def told(listener: WorkflowHandle[Any, list[dict[str, Any]]]) -> list[tuple[str, str, str]]:
    async with asyncio.timeout(20):
        return [(end["prompt_id"], end["status"], end["text"].strip()) for end in await listener.result()]


def to(listener: WorkflowHandle[Any, Any]) -> ReplyTo:
    return ReplyTo(workflow_id=listener.id)


async def test_a_workflow_hears_the_answer(system: System, thread: str) -> None:
    async with listening(system) as listener:
        await system.submit(thread, "Hello", id="a", reply_to=to(listener))
        assert await told(listener) == [("a", "answered", "You said: Hello")]
    await system.idle(thread)
    assert (await system.threads.status(thread))["undelivered"] == 0
    assert ((await system.prompt(thread, "a")).delivery or {})["status"] == "delivered"


async def test_who_waits_for_a_stopped_and_a_withdrawn_prompt_hears_of_it(system: System, thread: str) -> None:
    system.model.script(HALF)
    async with listening(system, 2) as listener:
        await system.submit(thread, "Count!", id="a", reply_to=to(listener))
        await system.streaming(thread, "one two")
        await system.submit(thread, "More", id="b", reply_to=to(listener))
        await system.workflow(thread).execute_update("withdraw", {"prompt_id": "b"})
        await system.threads.interrupt(thread)
        heard = await told(listener)
        assert sorted(heard) == [("a", "interrupted", "one two"), ("b", "withdrawn", "")]


async def test_who_waits_for_a_failed_prompt_hears_why(system: System, thread: str) -> None:
    system.model.script(Reply(status=400))
    async with listening(system) as listener:
        await system.submit(thread, "Hello", id="a", reply_to=to(listener))
        assert await told(listener) == [("a", "failed", "")]
        assert (await listener.result())[0]["error"] == "The request was refused. (HTTP 400)"


async def test_who_signals_what_is_refused_hears_why(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a")
    async with listening(system) as listener:
        await system.threads.signal(thread, Prompt(id="a", content="Another", reply_to=to(listener)))
        assert await told(listener) == [("a", "refused", "")]
        why = "prompt id 'a' was used before for another text; send it under a new id"
        assert (await listener.result())[0]["error"] == why


async def test_who_steered_a_turn_hears_its_answer(system: System, thread: str) -> None:
    system.model.script(
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")]), Reply(when="Hurry", text="Done."), "Fine."
    )
    async with listening(system) as listener:
        await system.submit(thread, "Hold!", id="a", agent="helper")
        await system.until(lambda: _holding(system))
        await system.submit(thread, "Hurry!", id="b", mode="steer", reply_to=to(listener))
        system.bench.release()
        assert await told(listener) == [("b", "joined", "Done.")]


async def _holding(system: System) -> bool:
    return ("hold", None) in system.bench.ran


async def test_a_reply_that_cannot_be_delivered_yet_survives_a_roll(system: System, thread: str) -> None:
    name = f"later-{uuid4().hex}"
    await system.submit(thread, "Hello", id="a", reply_to=ReplyTo(workflow_id=name))
    await system.ended(thread, "a")
    assert (await system.idle(thread))["undelivered"] == 1
    await system.workflow(thread).signal("roll")
    assert await system.ask(thread, "Still there?", id="b") == "You said: Still there?"
    async with Worker(
        system.client, task_queue=name, workflows=[Listener], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        listener = await system.client.start_workflow(Listener.run, 1, id=name, task_queue=name)
        assert await told(listener) == [("a", "answered", "You said: Hello")]
    assert len(await system.runs(thread)) == 2


async def test_a_reply_owed_at_a_termination_is_sent_by_the_next_run(system: System, thread: str) -> None:
    name = f"later-{uuid4().hex}"
    await system.submit(thread, "Hello", id="a", reply_to=ReplyTo(workflow_id=name))
    await system.ended(thread, "a")
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)
    assert (await system.idle(thread))["undelivered"] == 1


async def test_a_reply_nobody_takes_does_not_hold_up_the_thread(system: System, thread: str) -> None:
    for number in range(8):
        prompt = Prompt(id=f"p{number}", content="Hello", reply_to=ReplyTo(workflow_id="nobody", within_s=0.1))
        await system.threads.submit(thread, prompt)
    await system.ended(thread, *(f"p{number}" for number in range(8)))

    async def given_up() -> bool:
        rows = [await system.prompt(thread, f"p{number}") for number in range(8)]
        return all((row.delivery or {}).get("status") == "undeliverable" for row in rows)

    await system.until(given_up)
    assert (await system.idle(thread))["undelivered"] == 0
