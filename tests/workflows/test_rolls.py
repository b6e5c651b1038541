"""A thread continues as new before the server's limits, and nobody notices."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage

from activities.ports import Store
from domain.prompts import Prompt
from doubles.scripted_model import Reply, ToolCall
from tests.server import EARLY
from tests.system import DEADLINE_S, System, count

READS = Reply(after_tool=True, text="I read: {tool}")


async def test_turns_go_on_over_many_rolls(rolling: System, thread: str) -> None:
    for number in range(35):
        await rolling.threads.signal(thread, Prompt(id=f"p{number}", content=f"I am {number}"))
        await rolling.ended(thread, f"p{number}")
    await rolling.idle(thread)
    runs = await rolling.runs(thread)
    assert len(runs) >= 3
    assert max(len(run) for run in runs) < 2 * EARLY
    rows = [row for row in await rolling.rows(thread) if row.role == "user"]
    assert [(row.prompt_id, row.turn, row.status) for row in rows] == [
        (f"p{number}", number + 1, "answered") for number in range(35)
    ]
    assert (await rolling.record(thread)).epoch == 1
    assert len(rolling.model.requests) == 35


async def test_a_roll_in_the_middle_of_a_turn_keeps_its_tools(rolling: System, thread: str) -> None:
    """Tools before, answer after: the next run knows what the turn had got so far."""
    rolling.model.script(
        *(Reply(step=step, tool_calls=[ToolCall(name="look", arguments={"what": f"{step}"})]) for step in range(1, 10)),
        Reply(step=10, text="Seen all."),
    )
    for name in "abc":
        assert await rolling.ask(thread, "Look nine times!", agent="helper", id=name) == "Seen all."
        results = [message["content"] for message in rolling.asked() if message["role"] == "tool"]
        assert results[-9:] == [f"I see {step}." for step in range(1, 10)]
    runs = await rolling.runs(thread)
    assert len(runs) >= 3
    assert len(rolling.bench.ran) == 27
    continued = [run[0].workflow_execution_started_event_attributes.input.payloads[0].data for run in runs[1:]]
    assert any(b'"running"' in data and b'"step"' in data for data in continued), "no roll fell into a turn"


async def test_a_stream_of_signals_over_many_rolls_loses_none_and_keeps_their_order(
    rolling: System, thread: str
) -> None:
    names = [f"p{number}" for number in range(300)]
    await rolling.start(thread)
    handle = rolling.workflow(thread)
    for name in names:
        await handle.signal("prompt", {"id": name, "content": f"I am {name}"})
    await rolling.ended(thread, *names, timeout_s=50)
    rows = [row for row in await rolling.rows(thread) if row.role == "user"]
    assert [(row.prompt_id, row.turn) for row in rows] == [(name, turn) for turn, name in enumerate(names, start=1)]
    assert [request.body["messages"][-1]["content"] for request in rolling.model.requests] == [
        f"I am {n}" for n in names
    ]
    assert len(await rolling.runs(thread)) >= 4


async def test_a_stream_of_updates_over_many_rolls_loses_none(rolling: System, thread: str) -> None:
    """As a client sends them: a few at once, and again under the same id when the outcome is unknown."""
    names = [f"p{number}" for number in range(60)]
    turn = asyncio.Semaphore(5)

    async def send(name: str) -> None:
        async with turn:
            await rolling.submit(thread, f"I am {name}", id=name)

    await asyncio.gather(*map(send, names))
    await rolling.ended(thread, *names, timeout_s=40)
    assert sorted(request.body["messages"][-1]["content"] for request in rolling.model.requests) == sorted(
        f"I am {name}" for name in names
    )
    assert len(await rolling.runs(thread)) >= 3


async def test_a_prompt_id_is_remembered_across_a_roll(rolling: System, thread: str) -> None:
    await rolling.ask(thread, "Hi", id="a")
    while len(await rolling.runs(thread)) < 2:
        await rolling.ask(thread, "More")
    asked = len(rolling.model.requests)
    assert (await rolling.submit(thread, "Hi", id="a")).disposition == "duplicate"
    await rolling.threads.signal(thread, Prompt(id="a", content="Hi"))
    await rolling.idle(thread)
    assert len(rolling.model.requests) == asked


async def test_what_waits_is_carried_across_a_roll(rolling: System, thread: str) -> None:
    """Forty prompts of 64 kB would be more than a payload may hold."""
    rolling.model.script(Reply(text="Wait …", when="first", first_delay_s=0.5), "Yes.")
    names = [f"p{number}" for number in range(40)]
    await rolling.submit(thread, "first", id="first")
    for name in names:
        await rolling.threads.signal(thread, Prompt(id=name, content=name + "x" * 64_000))
    await rolling.ended(thread, "first", *names, timeout_s=40)
    assert [request.body["messages"][-1]["content"].rstrip("x") for request in rolling.model.requests] == [
        "first",
        *names,
    ]
    runs = await rolling.runs(thread)
    assert len(runs) >= 2
    assert all(run[0].ByteSize() < 400_000 for run in runs)


async def test_a_roll_waits_until_what_waits_is_saved(rolling: System, thread: str) -> None:
    """Everything came before the thread was open, and the server suggests to roll at once."""
    await rolling.stop_workers()
    handle = await rolling.start(thread)
    names = [f"p{number}" for number in range(40)]
    for name in names:
        await handle.signal("prompt", {"id": name, "content": name + "x" * 64_000})
    for _ in range(EARLY):
        await handle.signal("prompt", {"id": "p0", "content": "p0" + "x" * 64_000})
    rolling.model.script("Yes.", cycle=True)
    await rolling.start_worker()
    await rolling.ended(thread, *names, timeout_s=40)
    runs = await rolling.runs(thread)
    assert all(run[0].ByteSize() < 400_000 for run in runs)
    assert [count(run, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) for run in runs] == [0] * len(runs)


async def test_an_idle_thread_rolls_too(rolling: System, thread: str) -> None:
    """Signals that cause no turn use up the run's signals as well: at 10,000 the server takes no more."""
    await rolling.ask(thread, "Hi", id="a")
    handle = rolling.workflow(thread)

    async def rolled() -> bool:
        await asyncio.gather(*(handle.signal("prompt", {"id": "a", "content": "Hi"}) for _ in range(10)))
        return len(await rolling.runs(thread)) > 1

    await rolling.until(rolled, timeout_s=10)
    assert await rolling.ask(thread, "Still there?") == "You said: Still there?"


async def test_refused_signals_survive_a_roll(rolling: System, thread: str) -> None:
    handle = await rolling.start(thread)
    for number in range(EARLY):
        await handle.signal("prompt", number)

    async def told() -> bool:
        return len(rolling.events.of(thread, "prompt.refused")) >= EARLY

    await rolling.until(told)
    assert [row.text for row in await rolling.rows(thread)] == [f"a number ({number})" for number in range(EARLY)]
    assert len(await rolling.runs(thread)) >= 2


async def test_each_run_keeps_the_threads_attributes_and_timeouts(rolling: System, thread: str) -> None:
    await rolling.ask(thread, "Hi")
    first = await rolling.workflow(thread).describe()
    while len(await rolling.runs(thread)) < 2:
        await rolling.ask(thread, "More")
    second = await rolling.workflow(thread).describe()
    assert first.run_id != second.run_id
    assert second.typed_search_attributes == first.typed_search_attributes
    started = [run[0].workflow_execution_started_event_attributes for run in await rolling.runs(thread)]
    assert len({event.workflow_task_timeout.seconds for event in started}) == 1


async def test_a_roll_leaves_a_checkpoint_from_which_the_thread_can_be_rebuilt(rolling: System, thread: str) -> None:
    while len(await rolling.runs(thread) if rolling.model.requests else []) < 2:
        await rolling.ask(thread, "More")
    state = await rolling.store.load_checkpoint(thread)
    assert state is not None
    assert len(state["recent"]) == state["next_turn"] - 1 + len(state.get("inbox", []))


@pytest.mark.parametrize("cached", [0, 1_000])
async def test_no_task_fails_over_many_rolls(rolling: System, thread: str, cached: int) -> None:
    await rolling.stop_workers()
    await rolling.start_worker(max_cached_workflows=cached)
    rolling.model.script(Reply(tool_calls=[ToolCall(name="look")], when_offered="look"), READS, "Fine.")
    names = [f"p{number}" for number in range(30)]
    await rolling.start(thread, {"agent": "helper"})
    for name in names:
        await rolling.threads.signal(thread, Prompt(id=name, content="Hi"))
    await rolling.ended(thread, *names, timeout_s=40)
    await rolling.idle(thread)
    runs = await rolling.runs(thread)
    assert len(runs) >= 3
    assert [count(run, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) for run in runs] == [0] * len(runs)


class HeldEnds:
    """A store that holds up whoever has ended a turn, just after it did."""

    def __init__(self, store: Store) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._store = store

    async def end_turn(self, *args: Any) -> None:
        self.begun.set()
        await self.go_on.wait()
        await self._store.end_turn(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_who_wants_another_try_of_a_turn_that_goes_on_after_all_does_not_hold_up_a_roll(
    system: System, thread: str
) -> None:
    """The turn is over in the store, and goes on with a prompt that joins it: there is nothing to try again yet."""
    store = HeldEnds(system.store)
    await system.stop_workers()
    await system.start_worker(store=cast("Store", store))
    await system.submit(thread, "Count", id="a")
    await asyncio.wait_for(store.begun.wait(), DEADLINE_S)
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    handle = system.workflow(thread)
    again = await handle.start_update("regenerate", {}, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    await handle.signal("roll")

    async def looked() -> bool:
        return bool((await system.threads.status(thread))["steered"])

    await system.until(looked)
    store.go_on.set()
    await system.ended(thread, "b")
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await again.result()
    assert str(caught.value.cause) == "UnknownPromptError: prompt a has not ended; interrupt its turn first, or wait"
    await system.idle(thread)
    assert [row.text for row in await system.answers(thread, "a")] == ["You said: Count", "You said: Hurry!"]
    assert len(await system.runs(thread)) == 2


class LastCheckpoint:
    """A store that has its worker stopped just after it has kept a checkpoint."""

    def __init__(self, system: System) -> None:
        self.stopped = asyncio.Event()
        self._system = system

    async def save_checkpoint(self, *args: Any) -> None:
        await self._system.store.save_checkpoint(*args)
        self._stopping = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        await self._system.stop_workers()
        self.stopped.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system.store, name)


async def rolled_before_a_prompt_joins(system: System, thread: str) -> None:
    """The model has stopped, prompt `b` is to join the turn of `a` in the next run, and no worker runs."""
    store = LastCheckpoint(system)
    await system.stop_workers()
    await system.start_worker(store=cast("Store", store))
    system.model.script(Reply(when="Count", text="one two three four", delay_s=0.15), "You said: {user}")
    await system.submit(thread, "Count", id="a")
    await system.streaming(thread, "one")
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    await system.workflow(thread).signal("roll")
    await asyncio.wait_for(store.stopped.wait(), DEADLINE_S)
    assert len(await system.runs(thread)) == 2


async def test_a_turn_that_nothing_joins_after_all_ends_without_another_model_call(system: System, thread: str) -> None:
    await rolled_before_a_prompt_joins(system, thread)
    await system.workflow(thread).signal("withdraw", {"prompt_id": "b"})
    await system.start_worker()
    await system.ended(thread, "a", "b")
    assert (await system.idle(thread))["next_turn"] == 2
    assert (await system.prompt(thread, "b")).status == "withdrawn"
    assert [row.text for row in await system.answers(thread, "a")] == ["one two three four"]
    report = await system.threads.turn(thread, "a")
    assert (report.status, report.text) == ("answered", "one two three four")


async def test_a_turn_that_is_stopped_when_its_model_had_stopped_was_answered(system: System, thread: str) -> None:
    """The store has it as answered already; the prompt that was to join it gets the next turn."""
    await rolled_before_a_prompt_joins(system, thread)
    await system.workflow(thread).signal("interrupt", {})
    await system.start_worker()
    a, b = await system.ended(thread, "a", "b")
    await system.idle(thread)
    assert (a.status, b.status, b.turn) == ("answered", "answered", 2)
    assert (await system.threads.turn(thread, "a")).status == "answered"
