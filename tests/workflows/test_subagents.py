"""Agents that ask other agents: on threads of their own, once, within the budget, and not longer than the turn runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from catalog.agent_tool import agent_tool
from domain.approvals import ApprovalPolicy, Resolution
from domain.delegation import MAX_DEPTH
from domain.messages import Message
from domain.prompts import PromptOptions
from doubles.scripted_model import Reply, ToolCall, Usage
from tests.system import System, said


def asks(tool: str, prompt: str, **fields: Any) -> ToolCall:
    return ToolCall(name=tool, arguments={"prompt": prompt}, **fields)


def leads(*calls: ToolCall, **fields: Any) -> Reply:
    """The first step of a turn in which `Go` was said."""
    return Reply(when="Go", step=1, tool_calls=list(calls), **fields)


READS = Reply(when="Go", step=2, text="I read: {tool}")


async def results(system: System, thread: str) -> list[Message]:
    return [row for row in await system.rows(thread) if row.role == "tool"]


async def asked(system: System, thread: str, count: int = 1) -> list[dict[str, Any]]:
    """Whom the thread has asked, once it is so many."""

    async def heard() -> list[dict[str, Any]] | None:
        found = system.events.of(thread, "agent.asked")
        return found if len(found) >= count else None

    return await system.until(heard) or []


async def held(system: System, thread: str) -> dict[str, Any]:
    """A turn that waits for another agent, whose tool holds."""
    system.model.script(
        leads(asks("ask_helper", "Hold!")),
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")]),
        READS,
        "Yes.",
    )
    await system.submit(thread, "Go!", id="a", agent="lead")
    [child] = await asked(system, thread)

    async def holds() -> bool:
        return ("hold", None) in system.bench.ran

    await system.until(holds)
    return child


async def half_said(system: System, thread: str) -> dict[str, Any]:
    """A turn that waits for another agent, whose answer hangs in the middle."""
    system.model.script(
        leads(asks("ask_poet", "Count!")), Reply(when="Count", text="a b c", hang_after_chunks=2), READS
    )
    await system.submit(thread, "Go!", id="a", agent="lead")
    [child] = await asked(system, thread)
    await system.streaming(child["child"], "a b")
    return child


async def test_the_answer_of_another_agent_is_the_result_of_the_call(system: System, thread: str) -> None:
    system.model.script(leads(asks("ask_poet", "A rhyme?")), Reply(when="rhyme", text="Time, dime. " * 50), READS)
    answer = await system.ask(thread, "Go!", agent="lead", id="a")
    assert answer.startswith("I read: Time, dime.")
    [result] = await results(system, thread)
    assert result.text == "Time, dime. " * 50  # all of it
    assert result.child is not None
    assert said(await system.rows(result.child.thread)) == [
        ("user", "answered", "A rhyme?"),
        ("assistant", "complete", "Time, dime. " * 50),
    ]
    assert [message["content"] for message in system.asked(1)] == ["Rhyme.", "A rhyme?"]


async def test_the_childs_thread_knows_where_it_comes_from_and_whose_it_is(system: System, thread: str) -> None:
    system.model.script(leads(asks("ask_poet", "A rhyme?")), Reply(when="rhyme", text="Time."), READS)
    start = {"owner": "ada", "tenant": "acme"}
    await (await system.start(thread, start)).signal("prompt", {"id": "a", "content": "Go!", "agent": "lead"})
    await system.ended(thread, "a")
    [result] = await results(system, thread)
    assert result.child is not None
    child = await system.record(result.child.thread)
    assert (child.owner, child.tenant, child.agent) == ("ada", "acme", "poet")
    assert child.parent is not None
    assert child.parent.model_dump() == {
        "thread": thread,
        "prompt_id": "a",
        "message_id": result.id,
        "depth": 1,
    }
    [prompt, _] = await system.rows(child.thread)
    assert (prompt.prompt_id, prompt.author, prompt.owner) == (result.id, "lead", "ada")


async def test_several_agents_are_asked_side_by_side(system: System, thread: str) -> None:
    """The first is held until the others have answered."""
    system.model.script(
        leads(asks("ask_helper", "Hold!"), asks("ask_poet", "one"), asks("ask_poet", "two")),
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")]),
        Reply(when="Hold", step=2, text="Held."),
        Reply(when="one|two", text="Said {user}."),
        READS,
    )
    await system.submit(thread, "Go!", id="a", agent="lead")

    async def others_ended() -> bool:
        return sum(row.final for row in await results(system, thread)) == 2

    await system.until(others_ended)
    system.bench.release()
    await system.ended(thread, "a")
    rows = await results(system, thread)
    assert [row.text for row in rows] == ["Held.", "Said one.", "Said two."]
    assert len({row.child.thread for row in rows if row.child}) == 3


async def test_several_agents_may_write_into_one_thread(system: System, thread: str) -> None:
    """One after another, each once, in later turns too, and each sees what the others said."""
    system.model.script(
        leads(*(asks(f"note_{name}", f"note {i}") for i in range(3) for name in ("poet", "assistant"))),
        Reply(when="note", text="Noted {user}."),
        READS,
    )
    for prompt_id in ("a", "b"):
        await system.ask(thread, "Go!", agent="lead", id=prompt_id)
    rows = await results(system, thread)
    [notes] = {row.child.thread for row in rows if row.child}
    assert sorted(row.text for row in rows) == sorted(f"Noted note {i}." for i in range(3) for _ in range(4))
    prompts = [row for row in await system.rows(notes) if row.role == "user"]
    assert sorted(row.prompt_id for row in prompts) == sorted(row.id for row in rows)
    assert {row.agent for row in prompts} == {"poet", "assistant"}
    last = max(system.model.requests, key=lambda request: len(request.body["messages"]))
    assert len([m for m in last.body["messages"] if m["role"] == "assistant"]) == 11


async def test_an_interrupt_stops_the_agent_that_is_asked(system: System, thread: str) -> None:
    child = await held(system, thread)
    await system.threads.interrupt(thread, reason="enough")
    await system.ended(thread, "a")
    [prompt] = await system.ended(child["child"], child["prompt_id"])
    assert prompt.status == "interrupted"
    [result] = await results(system, thread)
    assert result.status == "interrupted"
    assert await system.ask(thread, "And now?", agent="lead") == "Yes."


async def test_an_interrupt_stops_all_that_were_asked_in_turn(system: System, thread: str) -> None:
    system.model.script(
        Reply(when="One", step=1, tool_calls=[asks("ask_mirror", "Two?")]),
        Reply(when="Two", step=1, tool_calls=[asks("ask_mirror", "Three?")]),
        Reply(when="Three", text="a b c", hang_after_chunks=2),
    )
    await system.submit(thread, "One?", id="a", agent="mirror")
    [second] = await asked(system, thread)
    [third] = await asked(system, second["child"])
    await system.streaming(third["child"], "a b")
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    for child in (second, third):
        [prompt] = await system.ended(child["child"], child["prompt_id"])
        assert prompt.status == "interrupted"


async def test_an_interrupt_while_no_worker_runs_stops_the_agent_too(system: System, thread: str) -> None:
    """The call's activity never hears of it: the turn's end does it."""
    child = await half_said(system, thread)
    await system.stop_workers()
    await system.workflow(thread).signal("interrupt")
    await system.start_worker()
    [prompt] = await system.ended(thread, "a")
    [asked_there] = await system.ended(child["child"], child["prompt_id"])
    assert (prompt.status, asked_there.status) == ("interrupted", "interrupted")


async def test_a_question_that_waits_is_taken_back_when_the_turn_is_stopped(system: System, thread: str) -> None:
    system.model.script(
        leads(asks("note_poet", "one"), asks("note_poet", "two")),
        Reply(when="one|two", text="a b c", hang_after_chunks=2),
        "Yes.",
    )
    await system.submit(thread, "Go!", id="a", agent="lead")
    notes = {data["child"] for data in await asked(system, thread, 2)}
    [child] = notes
    await system.streaming(child, "a b")

    async def both_there() -> bool:
        return len([row for row in await system.rows(child) if row.role == "user"]) == 2

    await system.until(both_there)
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    prompts = [row for row in await system.rows(child) if row.role == "user"]
    assert sorted(row.status for row in await system.ended(child, *(row.prompt_id for row in prompts))) == [
        "interrupted",
        "withdrawn",
    ]


async def test_a_thread_that_is_cancelled_stops_the_agent_that_it_asked(system: System, thread: str) -> None:
    child = await held(system, thread)
    handle = system.workflow(thread)
    await handle.cancel()
    await asyncio.gather(handle.result(), return_exceptions=True)
    [prompt] = await system.ended(child["child"], child["prompt_id"])
    assert prompt.status == "interrupted"


async def test_a_thread_that_was_terminated_goes_on_with_the_answer_it_had_asked_for(
    system: System, thread: str
) -> None:
    child = await held(system, thread)
    await system.workflow(thread).terminate()
    system.model.script(Reply(when="Hold", step=2, text="Held."), READS)
    system.bench.release()
    await system.ended(child["child"], child["prompt_id"])
    await system.threads.ensure_running(thread)
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "answered"
    assert (await system.answers(thread, "a"))[-1].text == "I read: Held."
    assert len(await system.rows(child["child"])) == 4


async def test_an_agent_that_is_terminated_goes_on_when_it_is_asked_again(system: System, thread: str) -> None:
    """The call hears that its thread is gone, asks again, and is answered there."""
    child = await held(system, thread)
    await system.workflow(child["child"]).terminate()
    system.model.script(Reply(when="Hold", step=2, text="Held."), READS)
    system.bench.release()
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "answered"
    assert (await results(system, thread))[0].text == "Held."


async def test_an_agent_that_asks_itself_is_stopped_at_a_depth(system: System, thread: str) -> None:
    system.model.script(
        Reply(when="Go", step=1, tool_calls=[asks("ask_mirror", "Go on!")]), Reply(when="Go", step=2, text="<{tool}>")
    )
    answer = await system.ask(thread, "Go!", agent="mirror")
    words = f"agents may ask agents only {MAX_DEPTH} levels deep"
    assert answer.startswith("<" * (MAX_DEPTH + 1) + f"Agent 'mirror' cannot be asked: {words}")


@pytest.mark.parametrize(
    ("tool", "prompt", "reply", "words"),
    [
        ("ask_poet", "", "Yes.", "Agent 'poet' cannot be asked: prompt: content"),
        ("ask_poet", "bad", Reply(status=400), "Agent 'poet' did not answer, it failed: "),
        ("ask_quickly", "slow", Reply(text="a b", hang_after_chunks=1), "Agent 'poet' did not answer within 0.5 s."),
    ],
    ids=["empty", "fails", "too slow"],
)
async def test_an_agent_that_does_not_answer_is_a_result_that_the_model_reads(
    system: System, thread: str, tool: str, prompt: str, reply: Reply | str, words: str
) -> None:
    system.model.script(leads(asks(tool, prompt)), READS, reply)
    answer = await system.ask(thread, "Go!", agent="lead")
    assert answer.startswith(f"I read: {words}")
    [result] = await results(system, thread)
    assert result.status == "failed"
    if prompt == "slow":
        assert result.child is not None
        [stopped] = await system.ended(result.child.thread, result.id)
        assert (stopped.status, stopped.error) == ("interrupted", "no answer within 0.5 s")


async def test_what_an_agent_uses_is_the_turns_that_asked_it(system: System, thread: str) -> None:
    system.model.script(
        leads(asks("ask_mirror", "Why?"), usage=Usage(prompt_tokens=10, completion_tokens=1)),
        Reply(
            when="Why",
            step=1,
            tool_calls=[asks("ask_mirror", "How?")],
            usage=Usage(prompt_tokens=100, completion_tokens=10),
        ),
        Reply(when="How", text="So.", usage=Usage(prompt_tokens=1000, completion_tokens=100)),
        Reply(when="Why", step=2, text="Thus.", usage=Usage(prompt_tokens=200, completion_tokens=20)),
        READS,
    )
    await system.ask(thread, "Go!", agent="lead", id="a", options=PromptOptions(max_tokens=1440))
    [result] = await results(system, thread)
    assert result.usage is not None
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (1300, 130)
    assert (await system.answers(thread, "a"))[-1].finish == "token_limit"  # 11 + 1430 of 1440


async def test_agents_that_are_asked_at_once_share_what_is_left_of_the_turn(system: System, thread: str) -> None:
    usage = Usage(prompt_tokens=90, completion_tokens=10)
    system.model.script(leads(asks("ask_poet", "one"), asks("ask_poet", "two"), usage=usage), READS, "Yes.")
    options = PromptOptions(max_tokens=500, max_seconds=60)
    await system.ask(thread, "Go!", agent="lead", id="a", options=options)
    for result in await results(system, thread):
        assert result.child is not None
        prompt = await system.prompt(result.child.thread, result.id)
        assert prompt.options is not None
        assert prompt.options["max_tokens"] == 200
        assert 50 < prompt.options["max_seconds"] < 60


async def test_nobody_is_asked_when_the_turns_budget_is_used_up(system: System, thread: str) -> None:
    system.model.script(
        leads(asks("ask_poet", "one"), usage=Usage(prompt_tokens=90, completion_tokens=10)), READS, "Yes."
    )
    await system.ask(thread, "Go!", agent="lead", id="a", options=PromptOptions(max_tokens=100))
    [result] = await results(system, thread)
    assert result.text.startswith("Agent 'poet' cannot be asked: no tokens of this turn is left")
    assert result.child is None


async def test_agents_that_wait_leave_room_for_those_they_wait_for(system: System, thread: str) -> None:
    """With places for four activities, five turns that ask are answered all the same."""
    await system.stop_workers()
    await system.start_worker(max_activities=4)
    system.model.script(
        Reply(when="Go", step=1, tool_calls=[asks("ask_poet", "one")]), READS, Reply(when="one", text="Yes.")
    )
    threads = [f"{thread}-{number}" for number in range(5)]
    answers = await asyncio.gather(*(system.ask(name, "Go!", agent="lead") for name in threads))
    assert answers == ["I read: Yes."] * 5


async def test_a_worker_that_stops_leaves_the_call_to_another(system: System, thread: str) -> None:
    child = await half_said(system, thread)
    await system.stop_workers()
    system.model.script(Reply(when="Count", text="a b c"), READS)
    await system.start_worker()
    await system.ended(thread, "a")
    assert (await system.answers(thread, "a"))[-1].text == "I read: a b c"
    assert said(await system.rows(child["child"])) == [
        ("user", "answered", "Count!"),
        ("assistant", "complete", "a b c"),
    ]


async def test_to_ask_an_agent_may_need_an_approval(system: System, thread: str) -> None:
    lead = await system.catalog.agent("lead")
    system.catalog._agents["lead"] = replace(lead, approvals=ApprovalPolicy(require=("ask_*",)))
    system.model.script(leads(asks("ask_poet", "A rhyme?", id="c1")), Reply(when="rhyme|ode", text="{user}"), READS)
    await system.submit(thread, "Go!", id="a", agent="lead")
    [call] = await system.waiting(thread)
    edited = {"call_id": "c1", "decision": "approve", "digest": call["digest"], "arguments": {"prompt": "An ode?"}}
    await system.threads.resolve(thread, Resolution.model_validate(edited))
    await system.ended(thread, "a")
    assert (await results(system, thread))[0].text == "An ode?"


async def test_a_call_of_the_agent_that_is_asked_may_need_an_approval(system: System, thread: str) -> None:
    """It waits on the child's thread, and is stopped with the turn that asked."""
    ask = agent_tool("cashier", description="Pays.")
    system.catalog._agents["lead"] = replace(await system.catalog.agent("lead"), tools=(ask,))
    refund = Reply(when="Pay", step=1, tool_calls=[ToolCall(name="refund", arguments={"amount": 1}, id="c1")])
    system.model.script(leads(asks("ask_cashier", "Pay!")), refund, Reply(when="Pay", step=2, text="{tool}"), READS)
    await system.submit(thread, "Go!", id="a", agent="lead")
    [child] = await asked(system, thread)
    await system.until(lambda: system.store.get_thread(child["child"]))
    [call] = await system.waiting(child["child"])
    approval = Resolution(call_id="c1", decision="approve", digest=call["digest"])
    await system.threads.resolve(child["child"], approval)
    await system.ended(thread, "a")
    assert (await results(system, thread))[0].status == "complete"
    await system.submit(thread, "Go!", id="b", agent="lead")
    _, again = await asked(system, thread, 2)
    await system.until(lambda: system.store.get_thread(again["child"]))
    await system.waiting(again["child"])
    await system.threads.interrupt(thread)
    [prompt] = await system.ended(again["child"], again["prompt_id"])
    assert prompt.status == "interrupted"


async def test_an_agent_whose_thread_rolls_meanwhile_answers(system: System, thread: str) -> None:
    """Its thread is asked again under the same id."""
    child = await held(system, thread)
    await system.workflow(child["child"]).signal("roll")
    system.model.script(Reply(when="Hold", step=2, text="Held."), READS)
    system.bench.release()
    await system.ended(thread, "a")
    assert (await results(system, thread))[0].text == "Held."
