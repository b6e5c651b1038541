"""A person takes a thread over, answers in the agent's place, and hands it back."""

from __future__ import annotations

import asyncio

import pytest

from domain.approvals import Resolution
from domain.errors import InputRefusedError, PromptConflictError, ThreadBusyError, UnknownPromptError
from domain.prompts import ReplyTo
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, said, started_with

HALF = Reply(text="a b c", when="Count", hang_after_chunks=2)


async def taken_over(system: System, thread: str, by: str = "ada") -> None:
    """A thread on which one turn was answered, then taken over."""
    await system.ask(thread, "Hi", id="first")
    await system.idle(thread)
    receipt = await system.threads.take_over(thread, by)
    assert (receipt.operator, receipt.disposition) == (by, "taken_over")


async def waits(system: System, thread: str, *prompt_ids: str) -> None:
    """In the store too."""

    async def listed() -> bool:
        rows = {row.prompt_id: row.status for row in await system.rows(thread) if row.role == "user"}
        return all(rows.get(prompt_id) == "pending" for prompt_id in prompt_ids)

    await system.until(listed)


async def test_a_prompt_waits_for_the_operator_and_no_model_is_called(system: System, thread: str) -> None:
    await taken_over(system, thread)
    receipt = await system.submit(thread, "Anybody?", id="a")
    assert receipt.disposition == "queued"
    await waits(system, thread, "a")
    status = await system.threads.status(thread)
    assert (status["operator"], status["waiting_ids"], status["running"]) == ("ada", ["a"], None)
    assert len(system.model.requests) == 1


async def test_what_the_operator_says_answers_the_prompt_that_waits(system: System, thread: str) -> None:
    await taken_over(system, thread)
    asking = asyncio.create_task(system.workflow(thread).execute_update("ask", {"id": "a", "content": "Anybody?"}))
    await waits(system, thread, "a")
    receipt = await system.threads.say(thread, "Yes, Ada here.", "ada")
    assert (receipt.prompt_id, receipt.disposition) == ("a", "said")
    report = await asking
    assert (report["status"], report["text"], report["turn"]) == ("answered", "Yes, Ada here.", 2)
    [answer] = await system.answers(thread, "a")
    assert (answer.author, answer.metadata, answer.model, answer.agent) == ("ada", {"provider": "human"}, None, None)
    assert said(await system.rows(thread))[2:] == [
        ("user", "answered", "Anybody?"),
        ("assistant", "complete", "Yes, Ada here."),
    ]
    assert (await system.record(thread)).turns == 2
    kinds = [kind for its_thread, kind, _ in system.events.published if its_thread == thread][-4:]
    assert kinds == ["message.started", "message.delta", "message.finished", "turn.finished"]


async def test_after_the_hand_back_the_agent_answers_what_waits_and_knows_what_was_said(
    system: System, thread: str
) -> None:
    await taken_over(system, thread)
    await system.submit(thread, "Anybody?", id="a")
    await system.submit(thread, "Hello?", id="b")
    await waits(system, thread, "a", "b")
    await system.threads.say(thread, "Yes, Ada here.", "ada", prompt_id="a")
    await system.threads.say(thread, "One moment.", "ada", prompt_id="b")
    await system.threads.say(thread, "I looked it up.", "ada")
    await system.submit(thread, "And now?", id="c")
    receipt = await system.threads.hand_back(thread, "ada")
    assert (receipt.operator, receipt.disposition) == (None, "handed_back")
    await system.ended(thread, "c")
    assert [message["content"] for message in system.asked()[1:]] == [
        *("Hi", "You said: Hi", "Anybody?", "Yes, Ada here.", "Hello?", "One moment.", "I looked it up.", "And now?")
    ]
    assert [row.turn for row in await system.rows(thread)] == [1, 1, 2, 2, 3, 3, 4, 5, 5]
    assert (await system.threads.status(thread))["operator"] is None


async def test_who_has_the_thread_is_in_its_record_and_told_to_readers(system: System, thread: str) -> None:
    await taken_over(system, thread)
    assert (await system.record(thread)).operator == "ada"
    await system.threads.hand_back(thread, "ada")
    assert (await system.record(thread)).operator == ""
    assert [(data["before"], data["operator"]) for data in system.events.of(thread, "operator.changed")] == [
        (None, "ada"),
        ("ada", None),
    ]


async def test_the_turn_that_runs_goes_on_to_its_end(system: System, thread: str) -> None:
    system.model.script(
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")]), Reply(after_tool=True, text="Fine.")
    )
    await system.submit(thread, "Hold!", id="a", agent="helper")

    async def holds() -> bool:
        return bool(system.bench.ran)

    await system.until(holds)
    await system.threads.take_over(thread, "ada")
    await system.workflow(thread).signal("say", {"content": "I am here.", "by": "ada"})
    await system.submit(thread, "And?", id="b")
    system.bench.release()

    async def was_said() -> bool:
        return len(await system.rows(thread)) == 6

    await system.until(was_said)
    await waits(system, thread, "b")
    assert said(await system.rows(thread))[3:] == [
        ("assistant", "complete", "Fine."),
        ("assistant", "complete", "I am here."),
        ("user", "pending", "And?"),
    ]


async def test_the_turn_that_runs_is_stopped_if_that_is_wished(system: System, thread: str) -> None:
    system.model.script(HALF)
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "a b")
    await system.threads.take_over(thread, "ada", interrupt=True)
    [prompt] = await system.ended(thread, "a")
    assert (prompt.status, prompt.error) == ("interrupted", "ada took the thread over")


async def test_to_take_over_twice_changes_nothing(system: System, thread: str) -> None:
    await taken_over(system, thread)
    assert (await system.threads.take_over(thread, "ada")).disposition == "unchanged"
    with pytest.raises(InputRefusedError, match="'ada' has the thread; wait for the hand-back, or take it with force"):
        await system.threads.take_over(thread, "bob")
    assert (await system.threads.take_over(thread, "bob", force=True)).operator == "bob"
    with pytest.raises(InputRefusedError, match="'bob' has the thread, not 'ada'"):
        await system.threads.say(thread, "Still me.", "ada")
    with pytest.raises(InputRefusedError, match="'bob' has the thread, not 'ada'"):
        await system.threads.hand_back(thread, "ada")
    assert (await system.threads.hand_back(thread, "bob")).disposition == "handed_back"
    assert (await system.threads.hand_back(thread, "bob")).disposition == "unchanged"


async def test_two_who_take_over_at_once_do_not_both_have_it(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    results = await asyncio.gather(
        *(system.threads.take_over(thread, by) for by in ("ada", "bob")), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, InputRefusedError)]
    assert len(refused) == 1
    assert (await system.record(thread)).operator == (await system.threads.status(thread))["operator"]


async def test_who_has_not_taken_over_cannot_speak(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    with pytest.raises(InputRefusedError, match="the thread is the agent's; 'ada' has to take it over first"):
        await system.threads.say(thread, "Hello", "ada")
    await system.workflow(thread).signal("say", {"content": "Hello", "by": "ada"})
    await system.workflow(thread).signal("take_over", {"who": "ada"})
    assert {row.error for row in await system.refused(thread, 2)} == {
        "the thread is the agent's; 'ada' has to take it over first",
        "take-over: by is missing; 'who' is not a field; the fields are by, interrupt, force",
    }


@pytest.mark.parametrize("content", ["", " ", "x" * 33_000])
async def test_what_cannot_be_said_is_refused(system: System, thread: str, content: str) -> None:
    await taken_over(system, thread)
    with pytest.raises(InputRefusedError, match="message: content"):
        await system.threads.say(thread, content, "ada")


async def test_the_same_words_twice_are_said_once(system: System, thread: str) -> None:
    await taken_over(system, thread)
    assert (await system.threads.say(thread, "Hello", "ada", id="s")).disposition == "said"
    assert (await system.threads.say(thread, "Hello", "ada", id="s")).disposition == "duplicate"
    with pytest.raises(PromptConflictError):
        await system.threads.say(thread, "Other words", "ada", id="s")
    assert [row.text for row in await system.answers(thread, "s")] == ["Hello"]


async def test_only_a_prompt_that_waits_can_be_answered(system: System, thread: str) -> None:
    await taken_over(system, thread)
    with pytest.raises(UnknownPromptError, match="prompt first does not wait for an answer: it is answered"):
        await system.threads.say(thread, "Hello", "ada", prompt_id="first")
    await system.submit(thread, "Anybody?", id="a")
    await waits(system, thread, "a")
    await system.threads.withdraw(thread, "a")
    assert (await system.threads.say(thread, "Hello", "ada")).prompt_id != "a"


async def test_a_prompt_that_is_not_to_wait_is_refused(system: System, thread: str) -> None:
    await taken_over(system, thread)
    with pytest.raises(ThreadBusyError):
        await system.submit(thread, "Now!", mode="reject")


async def test_who_is_to_be_told_hears_what_the_operator_said(system: System, thread: str) -> None:
    await taken_over(system, thread)
    other = f"{thread}-other"
    await system.start(other, {})
    reply_to = ReplyTo(workflow_id=f"thread/{other}", signal="prompt")
    await system.submit(thread, "Anybody?", id="a", reply_to=reply_to)
    await system.threads.say(thread, "Yes.", "ada")

    async def delivered() -> bool:
        return (await system.prompt(thread, "a")).delivery is not None

    await system.until(delivered)


async def test_what_a_person_said_may_be_answered_anew_by_either(system: System, thread: str) -> None:
    await taken_over(system, thread)
    await system.submit(thread, "Anybody?", id="a")
    await system.threads.say(thread, "Yes.", "ada")
    await system.threads.hand_back(thread, "ada")
    await system.threads.regenerate(thread, prompt_id="a")
    await system.idle(thread)
    await system.threads.take_over(thread, "ada")
    await system.threads.regenerate(thread, prompt_id="a")
    assert (await system.threads.say(thread, "Again.", "ada")).prompt_id == "a"
    await system.threads.hand_back(thread, "ada")
    await system.threads.resume(thread, prompt_id="a")
    await system.idle(thread)
    answers = sorted((row.branch, row.step, row.text) for row in await system.answers(thread, "a"))
    anew = "You said: Anybody?"
    assert answers == [(0, 0, "Yes."), (1, 0, anew), (2, 0, "Again."), (2, 1, anew)]


async def test_a_call_that_waits_for_an_approval_goes_on_waiting(system: System, thread: str) -> None:
    """The turn that runs is still the agent's."""
    system.model.script(
        Reply(when="Refund", step=1, tool_calls=[ToolCall(name="refund", arguments={"amount": 1}, id="c1")]),
        Reply(after_tool=True, text="Done."),
    )
    await system.submit(thread, "Refund!", id="a", agent="cashier")
    await system.waiting(thread)
    await system.threads.take_over(thread, "ada")
    await system.workflow(thread).signal("say", {"content": "I look into it.", "by": "ada"})
    await system.workflow(thread).signal("roll")
    [call] = await system.waiting(thread)
    await system.threads.resolve(thread, Resolution(call_id="c1", decision="approve", digest=call["digest"]))
    await system.ended(thread, "a")

    async def last() -> bool:
        return (await system.rows(thread))[-1].text == "I look into it."

    await system.until(last)
    assert (await system.answers(thread, "a"))[-1].text == "Done."


async def test_everything_by_signal(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="first")
    handle = system.workflow(thread)
    await handle.signal("take_over", {"by": "ada"})
    await handle.signal("prompt", {"id": "a", "content": "Anybody?"})
    await handle.signal("say", {"content": "Yes.", "by": "ada", "id": "s"})
    await handle.signal("hand_back", {"by": "ada"})
    await handle.signal("prompt", {"id": "b", "content": "And you?"})
    await system.ended(thread, "a", "b")
    assert [row.text for row in await system.answers(thread, "a")] == ["Yes."]
    assert [row.text for row in await system.answers(thread, "b")] == ["You said: And you?"]


async def test_an_operator_keeps_the_thread_through_rolls(rolling: System, thread: str) -> None:
    await taken_over(rolling, thread)
    for number in range(12):
        await rolling.submit(thread, f"{number}?", id=f"p{number}")
        if number % 2:
            await rolling.threads.say(thread, f"{number}!", "ada", prompt_id=f"p{number}")
        if number % 5 == 4:
            await rolling.workflow(thread).signal("roll")
    assert (await rolling.threads.status(thread))["operator"] == "ada"
    assert len(await rolling.runs(thread)) > 1
    await rolling.threads.hand_back(thread, "ada")
    await rolling.ended(thread, *(f"p{number}" for number in range(12)))
    for number in range(12):
        [answer] = await rolling.answers(thread, f"p{number}")
        assert answer.text == (f"{number}!" if number % 2 else f"You said: {number}?")


async def test_what_is_said_in_the_moment_of_a_roll_is_said_once(system: System, thread: str) -> None:
    await taken_over(system, thread)
    handle = system.workflow(thread)
    for number in range(4):
        await handle.signal("roll")
        await handle.signal("say", {"content": f"{number}", "by": "ada"})
    receipt = await system.threads.say(thread, "last", "ada")
    assert receipt.disposition in ("said", "accepted")

    async def all_said() -> bool:
        return [row.text for row in await system.rows(thread)][2:] == [*map(str, range(4)), "last"]

    await system.until(all_said)


async def test_an_operator_keeps_a_thread_that_was_terminated(system: System, thread: str) -> None:
    await taken_over(system, thread)
    await system.submit(thread, "Anybody?", id="a")
    await waits(system, thread, "a")
    await system.workflow(thread).terminate()
    receipt = await system.threads.say(thread, "Yes.", "ada")
    assert receipt.prompt_id == "a"
    assert [row.text for row in await system.answers(thread, "a")] == ["Yes."]
    assert (await system.threads.status(thread))["operator"] == "ada"


async def test_an_operator_keeps_a_thread_that_fell_asleep(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", start=started_with(idle_timeout_s=0.2))
    await system.threads.take_over(thread, "ada")
    await system.workflow(thread).result()
    await system.submit(thread, "Anybody?", id="a")
    assert (await system.threads.say(thread, "Yes.", "ada")).prompt_id == "a"
    assert len(system.model.requests) == 1


async def test_a_thread_that_is_cancelled_has_all_that_was_said(system: System, thread: str) -> None:
    system.model.script(HALF, "Hi")
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "a b")
    handle = system.workflow(thread)
    await handle.signal("take_over", {"by": "ada"})
    await handle.signal("say", {"content": "Hello", "by": "ada", "id": "s"})
    await handle.cancel()
    await asyncio.gather(handle.result(), return_exceptions=True)
    assert [row.text for row in await system.answers(thread, "s")] == ["Hello"]
    assert (await system.record(thread)).operator == "ada"
