"""An agent hands the conversation over to another: the turn goes on there, and the thread is the other's."""

from __future__ import annotations

from dataclasses import replace

from domain.approvals import ApprovalPolicy, Resolution
from domain.messages import Message
from domain.prompts import PromptOptions
from doubles.scripted_model import Reply, ToolCall
from tests.system import System

TO_POET = ToolCall(name="transfer_to_poet", arguments={"reason": "She wants a rhyme."}, id="c1")
TO_CASHIER = ToolCall(name="transfer_to_cash_ier", id="c2")


async def results(system: System, thread: str) -> list[Message]:
    return [row for row in await system.rows(thread) if row.role == "tool"]


async def approved(system: System, thread: str, call_id: str, *, of: int = 1) -> None:
    """One of so many calls that wait."""
    [digest] = [call["digest"] for call in await system.waiting(thread, of) if call["call_id"] == call_id]
    resolution = Resolution(call_id=call_id, decision="approve", digest=digest)
    await system.threads.resolve(thread, resolution)


def hands_over(*calls: ToolCall) -> Reply:
    return Reply(when="Rhyme", step=1, tool_calls=list(calls))


async def begun(system: System, thread: str) -> None:
    await system.start(thread, {"agent": "desk"})


async def test_the_running_turn_goes_on_with_the_other_agent(system: System, thread: str) -> None:
    system.model.script(hands_over(TO_POET), Reply(step=2, text="Time, dime.", when="Rhyme"), "Still me.")
    await begun(system, thread)
    assert await system.ask(thread, "Rhyme!", id="a") == "Time, dime."
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "poet"]
    first, second = system.model.requests
    assert [tool["function"]["name"] for tool in first.body["tools"]][-2:] == [TO_POET.name, TO_CASHIER.name]
    assert "Takes money." in first.body["tools"][-1]["function"]["description"]
    assert second.body["messages"][0]["content"] == "Rhyme."
    assert "tools" not in second.body
    [result] = await results(system, thread)
    assert result.text == "Agent 'poet' has the conversation now and answers. Reason: She wants a rhyme."


async def test_the_thread_is_the_other_agents_from_then_on(system: System, thread: str) -> None:
    system.model.script(hands_over(TO_POET), Reply(step=2, text="Time, dime.", when="Rhyme"), "Still me.")
    await begun(system, thread)
    await system.ask(thread, "Rhyme!", id="a")
    assert await system.ask(thread, "And now?", id="b") == "Still me."
    assert system.asked()[0]["content"] == "Rhyme."
    assert (await system.record(thread)).agent == "poet"
    assert (await system.threads.status(thread))["agent"] == "poet"
    [changed] = system.events.of(thread, "agent.changed")
    assert (changed["agent"], changed["before"], changed["prompt_id"]) == ("poet", "desk", "a")
    description = await system.workflow(thread).describe()
    assert "poet" in [pair.value for pair in description.typed_search_attributes]


async def test_of_two_hand_offs_in_one_step_the_first_holds(system: System, thread: str) -> None:
    system.model.script(
        hands_over(TO_CASHIER, TO_POET, ToolCall(name="look")), Reply(step=2, text="Pay!", when="Rhyme"), "Mine."
    )
    await begun(system, thread)
    await system.ask(thread, "Rhyme!", id="a")
    first, second, look = await results(system, thread)
    assert (first.status, first.handoff) == ("complete", "cash.ier")
    assert (second.status, second.handoff) == ("failed", None)
    assert second.text == "The conversation was handed over to 'cash.ier' in this very step already."
    assert look.text == "I see around."
    assert (await system.record(thread)).agent == "cash.ier"
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "cash.ier"]


async def test_the_other_agent_may_hand_back_in_the_same_turn(system: System, thread: str) -> None:
    back = ToolCall(name="transfer_to_desk", arguments="{broken")
    system.model.script(
        hands_over(TO_CASHIER),
        Reply(step=2, when="Rhyme", tool_calls=[back]),
        Reply(step=3, text="Here.", when="Rhyme"),
    )
    await begun(system, thread)
    await system.ask(thread, "Rhyme!", id="a")
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "cash.ier", "desk"]
    assert (await system.record(thread)).agent == "desk"
    assert len(system.events.of(thread, "agent.changed")) == 2


async def test_an_agent_that_may_not_hand_over_cannot(system: System, thread: str) -> None:
    system.model.script(hands_over(TO_POET), Reply(step=2, text="{tool}", when="Rhyme"))
    answer = await system.ask(thread, "Rhyme!", id="a", agent="helper")
    assert answer.startswith("There is no tool 'transfer_to_poet'.")
    assert (await system.record(thread)).agent == "assistant"


async def test_the_prompts_options_go_with_the_turn_as_far_as_they_fit(system: System, thread: str) -> None:
    """Its limits and settings do; tools that the other agent does not have, and instructions for the first, do not."""
    system.model.script(hands_over(TO_CASHIER), Reply(step=2, text="Pay!", when="Rhyme"))
    await begun(system, thread)
    options = PromptOptions(
        tools=["look", TO_CASHIER.name], instructions="Be the desk.", settings={"temperature": 0.25}, max_steps=2
    )
    assert await system.ask(thread, "Rhyme!", id="a", options=options) == "Pay!"
    first, second = system.model.requests
    assert first.body["messages"][0]["content"] == "Be the desk."
    assert second.body["messages"][0]["content"] == "You cash."
    assert second.body["temperature"] == 0.25
    assert "tools" not in second.body


async def test_a_thread_that_is_opened_again_stays_with_the_agent_that_took_over(system: System, thread: str) -> None:
    """Also in the middle of the turn: the steps that are done are not done again."""
    system.model.script(hands_over(TO_POET), Reply(step=2, text="a b c", when="Rhyme", hang_after_chunks=2))
    await begun(system, thread)
    await system.submit(thread, "Rhyme!", id="a")
    await system.streaming(thread, "a b")
    await system.workflow(thread).terminate()
    system.model.script(Reply(step=2, text="Time, dime.", when="Rhyme"), "Still me.")
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a")
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "poet"]
    await system.ask(thread, "And now?", id="b")
    assert system.asked()[0]["content"] == "Rhyme."


async def test_a_roll_keeps_the_agent_that_took_over(rolling: System, thread: str) -> None:
    rolling.model.script(
        hands_over(TO_CASHIER),
        *(Reply(step=n, when="Rhyme", tool_calls=[ToolCall(name="pay", arguments={"amount": n})]) for n in range(2, 9)),
        Reply(step=9, text="Paid.", when="Rhyme"),
        "Mine.",
    )
    await begun(rolling, thread)
    assert await rolling.ask(thread, "Rhyme!", id="a") == "Paid."
    assert await rolling.ask(thread, "And now?", id="b") == "Mine."
    assert len(await rolling.runs(thread)) > 1
    assert {row.agent for row in await rolling.answers(thread, "b")} == {"cash.ier"}


async def test_a_turn_that_was_stopped_goes_on_with_the_agent_that_had_taken_over(system: System, thread: str) -> None:
    system.model.script(hands_over(TO_POET), Reply(step=2, text="a b c", when="Rhyme", hang_after_chunks=2))
    await begun(system, thread)
    await system.submit(thread, "Rhyme!", id="a")
    await system.streaming(thread, "a b")
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    await system.idle(thread)
    system.model.script(Reply(text="Time, dime."), Reply(text="Time, dime.", after_tool=True))
    await system.threads.resume(thread, prompt_id="a")
    await system.idle(thread)
    answers = await system.answers(thread, "a")
    assert (answers[-1].agent, answers[-1].text) == ("poet", "Time, dime.")


async def test_a_hand_off_counts_though_another_tool_of_the_step_was_stopped(system: System, thread: str) -> None:
    """The store has it already when the turn is interrupted."""
    system.model.script(hands_over(TO_POET, ToolCall(name="hold")), "Mine.")
    await begun(system, thread)
    await system.submit(thread, "Rhyme!", id="a")

    async def handed_over() -> bool:
        return (await system.record(thread)).agent == "poet"

    async def holding() -> bool:
        return ("hold", None) in system.bench.ran

    await system.until(handed_over)
    await system.until(holding)
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    assert (await system.threads.status(thread))["agent"] == "poet"
    await system.ask(thread, "And now?", id="b")
    assert system.asked()[0]["content"] == "Rhyme."


async def test_a_hand_off_that_was_approved_leaves_the_steps_other_calls_to_the_first_agent(
    system: System, thread: str
) -> None:
    """Also when the thread rolls between the two decisions."""
    desk = await system.catalog.agent("desk")
    policy = ApprovalPolicy(require=("transfer_to_poet", "look"))
    system.catalog._agents["desk"] = replace(desk, approvals=policy)
    system.model.script(hands_over(TO_POET, ToolCall(name="look", id="c2")), Reply(step=2, text="Fine.", when="Rhyme"))
    await begun(system, thread)
    await system.submit(thread, "Rhyme!", id="a")
    await approved(system, thread, "c1", of=2)
    await system.workflow(thread).signal("roll")
    await system.waiting(thread, 1)
    await approved(system, thread, "c2")
    await system.ended(thread, "a")
    assert [(row.name, row.text) for row in await results(system, thread)][1] == ("look", "I see around.")
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "poet"]
    assert (await system.threads.status(thread))["agent"] == "poet"


async def test_the_second_hand_off_holds_if_the_first_was_denied(system: System, thread: str) -> None:
    desk = await system.catalog.agent("desk")
    policy = ApprovalPolicy(require=("transfer_*",))
    system.catalog._agents["desk"] = replace(desk, approvals=policy)
    system.model.script(hands_over(TO_POET, TO_CASHIER), Reply(step=2, text="Pay!", when="Rhyme"))
    await begun(system, thread)
    await system.submit(thread, "Rhyme!", id="a")
    await system.waiting(thread, 2)
    await system.threads.resolve(thread, Resolution(call_id="c1", decision="deny", reason="no poets"))
    await system.waiting(thread, 1)
    await approved(system, thread, "c2")
    await system.ended(thread, "a")
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "cash.ier"]


async def test_a_hand_off_that_waits_for_an_approval_does_not_keep_another_from_it(system: System, thread: str) -> None:
    """Once that has happened, the one that waited has come too late, whatever is decided about it."""
    desk = await system.catalog.agent("desk")
    system.catalog._agents["desk"] = replace(desk, approvals=ApprovalPolicy(require=(TO_POET.name,)))
    system.model.script(hands_over(TO_POET, TO_CASHIER), Reply(step=2, text="Pay!", when="Rhyme"))
    await begun(system, thread)
    await system.submit(thread, "Rhyme!", id="a")
    await system.waiting(thread, 1)

    async def handed_over() -> bool:
        return (await system.record(thread)).agent == "cash.ier"

    await system.until(handed_over)
    await approved(system, thread, "c1")
    await system.ended(thread, "a")
    assert [row.agent for row in await system.answers(thread, "a")] == ["desk", "cash.ier"]
    assert [row.text for row in await results(system, thread)] == [
        "The conversation was handed over to 'cash.ier' in this very step already.",
        "Agent 'cash.ier' has the conversation now and answers.",
    ]
