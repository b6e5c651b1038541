"""Prompts that join the running turn, and prompts that take its place."""

from __future__ import annotations

from typing import Any

from temporalio.client import WorkflowUpdateStage

from doubles.scripted_model import Reply, ToolCall
from tests.system import System, started_with

HOLD = Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")])
SLOW = Reply(when="Count", text="one two three four", delay_s=0.15)
HALF = Reply(when="Count", text="one two three", hang_after_chunks=2)


async def holding(system: System, thread: str, *replies: Reply) -> None:
    """A turn, with prompt `a`, whose tool runs until the bench is released."""
    system.model.script(HOLD, *replies, "Fine.")
    await system.submit(thread, "Hold!", id="a", agent="helper")

    async def held() -> bool:
        return ("hold", None) in system.bench.ran

    await system.until(held)


def talk(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(m["role"], (m.get("content") or "").strip()) for m in messages if m["role"] != "system"]


async def test_a_steered_prompt_joins_the_turn_at_its_next_step(system: System, thread: str) -> None:
    await holding(system, thread, Reply(when="Hurry", text="Done quickly."))
    receipt = await system.submit(thread, "Hurry!", id="b", mode="steer")
    assert receipt.disposition == "joining"
    system.bench.release()
    a, b = await system.ended(thread, "a", "b")
    assert (a.status, b.status, a.turn, b.turn, b.joins) == ("answered", "joined", 1, 1, "a")
    assert talk(system.asked()) == [("user", "Hold!"), ("assistant", ""), ("tool", "Released."), ("user", "Hurry!")]
    assert [row.text for row in await system.answers(thread, "a")] == ["", "Done quickly."]


async def test_a_turn_whose_model_has_just_stopped_takes_one_more_step(system: System, thread: str) -> None:
    system.model.script(SLOW, Reply(when="Hurry", text="Five."))
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one")
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    await system.ended(thread, "b")
    await system.idle(thread)
    a = await system.prompt(thread, "a")
    assert [row.text for row in await system.answers(thread, "a")] == ["one two three four", "Five."]
    assert (a.status, a.answer) == ("answered", (await system.answers(thread, "a"))[-1].id)
    assert talk(system.asked()) == [("user", "Count!"), ("assistant", "one two three four"), ("user", "Hurry!")]


async def test_who_asks_a_steered_prompt_hears_the_answer_of_its_turn(system: System, thread: str) -> None:
    await holding(system, thread, Reply(when="Hurry", text="Done quickly."))
    handle = system.workflow(thread)
    asked = await handle.start_update(
        "ask", {"id": "b", "content": "Hurry!", "mode": "steer"}, wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    system.bench.release()
    report = await asked.result()
    assert (report["status"], report["turn"], report["text"]) == ("joined", 1, "Done quickly.")
    assert (await system.threads.turn(thread, "b")).status == "joined"


async def test_the_next_turn_sees_what_was_steered(system: System, thread: str) -> None:
    await holding(system, thread, Reply(when="Hurry", text="Done quickly."))
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    system.bench.release()
    await system.ended(thread, "a", "b")
    await system.ask(thread, "Well?", id="c")
    assert talk(system.asked())[-3:] == [("user", "Hurry!"), ("assistant", "Done quickly."), ("user", "Well?")]


async def test_a_steered_prompt_whose_turn_is_stopped_gets_the_next_turn(system: System, thread: str) -> None:
    await holding(system, thread)
    await system.submit(thread, "Later!", id="z")
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    await system.threads.interrupt(thread)
    a, b, z = await system.ended(thread, "a", "b", "z")
    assert [(row.status, row.turn) for row in (a, b, z)] == [("interrupted", 1), ("answered", 2), ("answered", 3)]


async def test_a_prompt_for_another_agent_does_not_join(system: System, thread: str) -> None:
    await holding(system, thread)
    receipt = await system.submit(thread, "Rhyme!", id="b", mode="steer", agent="poet")
    assert receipt.disposition == "queued"
    system.bench.release()
    [b] = await system.ended(thread, "b")
    assert (b.status, b.turn, b.agent) == ("answered", 2, "poet")


async def test_a_prompt_steered_at_an_idle_thread_begins_a_turn(system: System, thread: str) -> None:
    receipt = await system.submit(thread, "Hi", id="a", mode="steer")
    assert receipt.disposition == "started"
    [a] = await system.ended(thread, "a")
    assert a.status == "answered"


async def test_many_prompts_join_in_the_order_they_came(system: System, thread: str) -> None:
    await holding(system, thread)
    names = [f"b{number}" for number in range(5)]
    for name in names:
        await system.submit(thread, f"Say {name}", id=name, mode="steer")
    system.bench.release()
    await system.ended(thread, "a", *names)
    assert [text for role, text in talk(system.asked()) if role == "user"] == ["Hold!", *(f"Say {n}" for n in names)]
    users = [row.prompt_id for row in await system.rows(thread) if row.role == "user"]
    assert users == ["a", *names]


async def test_a_steered_turn_that_was_terminated_goes_on_with_what_joined(system: System, thread: str) -> None:
    await holding(system, thread, Reply(when="Hurry", text="six seven eight", hang_after_chunks=2))
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    system.bench.release()
    await system.streaming(thread, "six seven")
    await system.workflow(thread).terminate()
    system.model.script(Reply(when="Hurry", text="Here I am."))
    await system.threads.ensure_running(thread)
    a, b = await system.ended(thread, "a", "b")
    assert (a.status, b.status, b.turn) == ("answered", "joined", 1)
    assert talk(system.asked())[-1] == ("user", "Hurry!")
    assert system.bench.ran == [("hold", None)]


async def test_a_turn_reopened_by_steering_and_terminated_answers_what_joined(system: System, thread: str) -> None:
    system.model.script(SLOW, Reply(when="Hurry", text="six seven eight", hang_after_chunks=2))
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one")
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    await system.streaming(thread, "six seven")
    await system.workflow(thread).terminate()
    system.model.script(Reply(when="Hurry", text="Here I am."))
    await system.threads.ensure_running(thread)
    await system.idle(thread)
    a, b = await system.ended(thread, "a", "b")
    assert (a.status, b.status) == ("answered", "joined")
    assert [row.text for row in await system.answers(thread, "a")] == ["one two three four", "Here I am."]


# --- the agent's own mode


async def test_a_prompt_without_a_mode_does_what_its_agent_says_from_the_first_turn_on(
    system: System, thread: str
) -> None:
    system.model.script(HALF, "Fine.")
    await system.submit(thread, "Count!", id="a", start=started_with(agent="pushy"))
    await system.streaming(thread, "one two")
    assert (await system.submit(thread, "Stop!", id="b")).disposition == "interrupting"
    a, b = await system.ended(thread, "a", "b")
    assert (a.status, b.status) == ("interrupted", "answered")


async def test_a_prompt_for_another_agent_does_what_that_one_says(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", start=started_with(agent="pushy"))
    system.model.script(HALF, "Fine.")
    await system.submit(thread, "Count!", id="a", agent="poet")
    await system.streaming(thread, "one two")
    assert (await system.submit(thread, "Wait.", id="b", agent="poet")).disposition == "queued"
    assert (await system.submit(thread, "Wait too.", id="c", mode="queue")).disposition == "queued"
    await system.threads.interrupt(thread)
    await system.ended(thread, "a", "b", "c")


# --- replace


async def test_a_replacing_prompt_stops_the_turn_and_the_model_never_sees_it(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="z")
    system.model.script(HALF, "Fine.")
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    receipt = await system.submit(thread, "Never mind.", id="b", mode="replace")
    assert receipt.disposition == "interrupting"
    a, b = await system.ended(thread, "a", "b")
    assert (a.status, a.replaced_by, b.status) == ("interrupted", "b", "answered")
    assert [text for role, text in talk(system.asked()) if role == "user"] == ["Hello", "Never mind."]


async def test_what_was_replaced_can_still_be_read(system: System, thread: str) -> None:
    system.model.script(HALF, "Fine.")
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    await system.submit(thread, "Never mind.", id="b", mode="replace")
    await system.ended(thread, "a", "b")
    assert [row.text.strip() for row in await system.answers(thread, "a")] == ["one two"]


async def test_a_replacing_prompt_at_an_idle_thread_replaces_nothing(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a")
    await system.ask(thread, "And you?", id="b", mode="replace")
    assert [text for role, text in talk(system.asked()) if role == "user"] == ["Hello", "And you?"]
