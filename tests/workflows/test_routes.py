"""A router chooses who answers: for one turn, once, and visibly."""

from __future__ import annotations

import pytest

from doubles.scripted_model import Reply, ToolCall
from tests.system import System


async def test_the_agent_that_was_chosen_answers_the_turn(system: System, thread: str) -> None:
    start = {"agent": "router"}
    await system.start(thread, start)
    assert await system.ask(thread, "poet: a rhyme?", id="a") == "You said: poet: a rhyme?"
    assert system.asked()[0] == {"role": "system", "content": "Rhyme."}
    [answer] = await system.answers(thread, "a")
    assert answer.agent == "poet"
    assert (await system.prompt(thread, "a")).agent == "router"  # who was asked
    assert (await system.record(thread)).agent == "router"
    [changed] = system.events.of(thread, "agent.changed")
    assert (changed["prompt_id"], changed["agent"], changed["before"]) == ("a", "poet", "router")


async def test_without_a_choice_the_agent_itself_answers(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a", agent="router")
    assert system.asked()[0]["content"] == "You route."
    assert system.events.of(thread, "agent.changed") == []


async def test_every_turn_is_routed_anew_and_knows_who_answered_before(system: System, thread: str) -> None:
    await system.start(thread, {"agent": "router"})
    await system.ask(thread, "poet: one", id="a", author="Ada", metadata={"plan": "free"})
    await system.ask(thread, "two", id="b")
    await system.ask(thread, "assistant: three", id="c")
    await system.ask(thread, "not a router's", id="d", agent="poet")
    infos = system.bench.routed
    assert [info.answered_by for info in infos] == [(), ("poet",), ("poet", "router")]
    assert (infos[0].author, infos[0].metadata, infos[0].turn, infos[0].agent) == ("Ada", {"plan": "free"}, 1, "router")
    assert {"assistant", "poet", "router"} <= set(infos[0].agents)


async def test_all_steps_of_the_turn_are_the_chosen_agents(system: System, thread: str) -> None:
    system.model.script(
        Reply(step=1, tool_calls=[ToolCall(name="look")]), Reply(step=2, text="I read: {tool}", when="Look")
    )
    assert await system.ask(thread, "helper: Look!", id="a", agent="router") == "I read: I see around."
    assert {row.agent for row in await system.answers(thread, "a")} == {"helper"}
    assert len(system.bench.routed) == 1


async def test_the_choice_holds_when_the_step_is_tried_again(system: System, thread: str) -> None:
    """By the next attempt, and after the thread was terminated and opened again."""
    system.model.script(
        Reply(status=503, headers={"retry-after": "0.01"}, times=1), Reply(text="a b c", hang_after_chunks=2)
    )
    await system.submit(thread, "poet: one", id="a", agent="router")
    await system.streaming(thread, "a b")
    await system.workflow(thread).terminate()
    system.model.script("Done.")
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    [answer] = await system.answers(thread, "a")
    assert (answer.text, answer.agent) == ("Done.", "poet")
    assert len(system.bench.routed) == 1


async def test_a_turn_that_is_answered_anew_is_routed_anew(system: System, thread: str) -> None:
    await system.ask(thread, "poet: one", id="a", agent="router")
    await system.idle(thread)
    await system.threads.regenerate(thread, prompt_id="a")
    await system.idle(thread)
    assert len(system.bench.routed) == 2


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("nobody: Hi", "The route of agent 'router' chose an agent that is not there: there is no agent 'nobody'"),
        ("fail: Hi", "The route of agent 'router' failed: LookupError: no map"),
    ],
)
async def test_a_route_that_leads_nowhere_fails_the_turn_with_a_sentence(
    system: System, thread: str, prompt: str, words: str
) -> None:
    await system.submit(thread, prompt, id="a", agent="router")
    [row] = await system.ended(thread, "a")
    assert row.status == "failed"
    assert (row.error or "").startswith(words)
    assert await system.ask(thread, "Hi", agent="router") == "You said: Hi"
