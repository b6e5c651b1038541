"""Prompts that wait can be taken back or changed; ended turns can be gone on with or answered anew."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from domain.messages import Message
from doubles.scripted_model import Reply, ReplyError, ToolCall
from tests.system import System, said

HALF = Reply(text="one two three", when="Count", hang_after_chunks=2)


async def waiting(system: System, thread: str) -> None:
    """Prompt `a` is being answered, `b` and `c` wait."""
    system.model.script(HALF, "Fine.")
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    await system.submit(thread, "Second", id="b")
    await system.submit(thread, "Third", id="c")


async def change(system: System, thread: str, name: str, value: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = await system.workflow(thread).execute_update(name, value or {})
    return answer


async def refused_change(system: System, thread: str, name: str, value: dict[str, Any]) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await change(system, thread, name, value)
    assert isinstance(caught.value.cause, ApplicationError)
    return f"{caught.value.cause.type}: {caught.value.cause.message}"


async def tries(system: System, thread: str, prompt_id: str) -> list[Message]:
    """All answers, of all branches, oldest first."""
    return sorted(await system.answers(thread, prompt_id), key=lambda row: (row.branch, row.step))


# --- withdraw


async def test_a_withdrawn_prompt_is_never_answered(system: System, thread: str) -> None:
    await waiting(system, thread)
    assert await change(system, thread, "withdraw", {"prompt_id": "b"}) == {
        "prompt_id": "b",
        "disposition": "withdrawn",
    }
    assert (await system.prompt(thread, "b")).status == "withdrawn"
    await system.threads.interrupt(thread)
    a, b, c = await system.ended(thread, "a", "b", "c")
    assert [row.status for row in (a, b, c)] == ["interrupted", "withdrawn", "answered"]
    assert (await system.threads.turn(thread, "b")).status == "withdrawn"
    assert "Second" not in [message["content"] for message in system.asked()]


async def test_a_prompt_is_withdrawn_by_signal_too_and_twice_is_once(system: System, thread: str) -> None:
    await waiting(system, thread)
    for _ in range(2):
        await system.workflow(thread).signal("withdraw", {"prompt_id": "b"})
    assert (await change(system, thread, "withdraw", {"prompt_id": "b"}))["disposition"] == "withdrawn"
    assert (await system.threads.status(thread))["waiting_ids"] == ["c"]
    assert [row for row in await system.rows(thread) if row.status == "refused"] == []


async def test_a_withdrawn_prompt_stays_withdrawn_after_a_termination(system: System, thread: str) -> None:
    await waiting(system, thread)
    await change(system, thread, "withdraw", {"prompt_id": "b"})
    await system.workflow(thread).terminate()
    system.model.script("Here.", cycle=True)
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a", "c")
    await system.submit(thread, "Second", id="b")
    await system.idle(thread)
    assert (await system.prompt(thread, "b")).status == "withdrawn"


@pytest.mark.parametrize(
    ("prompt_id", "why"),
    [("a", "it is running; interrupt its turn instead"), ("x", "it is unknown"), ("z", "it is answered")],
)
async def test_what_does_not_wait_cannot_be_withdrawn(system: System, thread: str, prompt_id: str, why: str) -> None:
    await system.ask(thread, "Hello", id="z")
    await waiting(system, thread)
    refusal = await refused_change(system, thread, "withdraw", {"prompt_id": prompt_id})
    assert refusal == f"UnknownPromptError: prompt {prompt_id} does not wait: {why}"


async def test_a_withdrawal_by_signal_of_what_does_not_wait_is_recorded(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="z")
    await system.idle(thread)
    await system.workflow(thread).signal("withdraw", {"prompt_id": "z"})
    [row] = await system.refused(thread)
    assert row.error == "prompt z does not wait: it is answered"


# --- edit


async def test_an_edited_prompt_says_what_it_was_changed_to(system: System, thread: str) -> None:
    await waiting(system, thread)
    await change(system, thread, "edit", {"prompt_id": "b", "content": "Number two"})
    assert (await system.prompt(thread, "b")).text == "Number two"
    await system.threads.interrupt(thread)
    await system.ended(thread, "a", "b", "c")
    assert [m["content"] for m in system.asked() if m["role"] == "user"] == ["Count!", "Number two", "Third"]


async def test_an_edited_prompt_is_still_known_by_what_was_sent_first(system: System, thread: str) -> None:
    await waiting(system, thread)
    await change(system, thread, "edit", {"prompt_id": "b", "content": "Number two"})
    assert (await system.submit(thread, "Second", id="b")).disposition == "duplicate"


async def test_the_last_of_two_edits_counts(system: System, thread: str) -> None:
    await waiting(system, thread)
    for content in ("two", "zwei"):
        await system.workflow(thread).signal("edit", {"prompt_id": "b", "content": content})
    await system.threads.interrupt(thread)
    [b] = await system.ended(thread, "b")
    assert b.text == "zwei"


async def test_an_edit_survives_a_termination(system: System, thread: str) -> None:
    await waiting(system, thread)
    await change(system, thread, "edit", {"prompt_id": "c", "content": "Number three"})
    await system.workflow(thread).terminate()
    system.model.script("Here.", cycle=True)
    await system.threads.ensure_running(thread)
    [c] = await system.ended(thread, "c")
    assert (c.text, c.status) == ("Number three", "answered")


async def test_a_large_edit_is_kept_by_reference(system: System, thread: str) -> None:
    await waiting(system, thread)
    await change(system, thread, "edit", {"prompt_id": "b", "content": "x" * 500_000})
    await system.threads.interrupt(thread)
    [b] = await system.ended(thread, "b")
    assert (b.text, b.status) == ("x" * 500_000, "answered")


async def test_an_edit_that_says_nothing_is_refused(system: System, thread: str) -> None:
    await waiting(system, thread)
    refusal = await refused_change(system, thread, "edit", {"prompt_id": "b", "content": " "})
    assert refusal == "InputRefusedError: edit: content is empty; send some text"
    assert (await system.prompt(thread, "b")).text == "Second"


async def test_a_prompt_that_has_started_cannot_be_edited(system: System, thread: str) -> None:
    await waiting(system, thread)
    refusal = await refused_change(system, thread, "edit", {"prompt_id": "a", "content": "Count to ten!"})
    assert refusal == "UnknownPromptError: prompt a does not wait: it is running; interrupt its turn instead"


# --- regenerate


async def test_a_regenerated_turn_is_answered_anew_and_the_conversation_has_the_new_answer(
    system: System, thread: str
) -> None:
    system.model.script(Reply(text="Black.", times=1), "White.")
    await system.ask(thread, "Which?", id="a")
    receipt = await change(system, thread, "regenerate", {"prompt_id": "a"})
    assert receipt == {"prompt_id": "a", "disposition": "started"}
    await system.idle(thread)
    a = await system.prompt(thread, "a")
    assert (a.status, a.branch, a.turn) == ("answered", 1, 1)
    assert [(row.branch, row.text) for row in await tries(system, thread, "a")] == [(0, "Black."), (1, "White.")]
    assert a.answer == (await tries(system, thread, "a"))[1].id
    await system.ask(thread, "Why?", id="b")
    assert [m["content"] for m in system.asked()[1:]] == ["Which?", "White.", "Why?"]
    assert (await system.prompt(thread, "b")).turn == 2


async def test_a_regenerated_turn_sees_nothing_later(system: System, thread: str) -> None:
    await system.ask(thread, "First", id="a")
    await system.ask(thread, "Second", id="b")
    await change(system, thread, "regenerate", {"turn": 1})
    await system.idle(thread)
    assert [m["content"] for m in system.asked()[1:]] == ["First"]


async def test_a_regeneration_is_done_once_for_each_id(system: System, thread: str) -> None:
    await system.ask(thread, "First", id="a")
    for _ in range(3):
        await change(system, thread, "regenerate", {"id": "r", "prompt_id": "a"})
        await system.idle(thread)
    assert len(await system.answers(thread, "a")) == 2
    await change(system, thread, "regenerate", {"id": "s", "prompt_id": "a"})
    await system.idle(thread)
    assert [row.branch for row in await tries(system, thread, "a")] == [0, 1, 2]


async def test_a_wish_that_comes_again_is_about_the_same_turn(system: System, thread: str) -> None:
    await system.ask(thread, "First", id="a")
    await system.ask(thread, "Second", id="b")
    for _ in range(3):
        await change(system, thread, "regenerate", {"id": "r"})
    await system.idle(thread)
    assert len(await tries(system, thread, "b")) == 2
    assert len(await tries(system, thread, "a")) == 1


async def test_a_regeneration_by_signal_takes_the_last_turn_and_another_agent(system: System, thread: str) -> None:
    await system.ask(thread, "First", id="a")
    await system.workflow(thread).signal("regenerate", {"agent": "poet"})

    async def again() -> bool:
        return len(await system.answers(thread, "a")) == 2

    await system.until(again)
    await system.idle(thread)
    assert [row.agent for row in await tries(system, thread, "a")] == ["assistant", "poet"]


async def test_a_failed_turn_can_be_regenerated(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, error=ReplyError(message="No."), times=1), "Better.")
    await system.submit(thread, "First", id="a")
    [a] = await system.ended(thread, "a")
    assert a.status == "failed"
    await change(system, thread, "regenerate")
    await system.idle(thread)
    a = await system.prompt(thread, "a")
    assert (a.status, a.error) == ("answered", None)
    assert (await system.record(thread)).status == "active"


async def test_a_regeneration_waits_for_the_running_turn(system: System, thread: str) -> None:
    await system.ask(thread, "First", id="z")
    await waiting(system, thread)
    receipt = await change(system, thread, "regenerate", {"prompt_id": "z"})
    assert receipt["disposition"] == "queued"
    await system.threads.interrupt(thread)
    await system.ended(thread, "b", "c", "z")
    await system.idle(thread)
    assert [row.branch for row in await tries(system, thread, "z")] == [0, 1]


async def test_a_regeneration_survives_a_termination(system: System, thread: str) -> None:
    await system.ask(thread, "Count!", id="a")
    system.model.script(HALF)
    await change(system, thread, "regenerate", {"prompt_id": "a"})
    await system.streaming(thread, "one two")
    await system.workflow(thread).terminate()
    system.model.script("Here.", cycle=True)
    await system.threads.ensure_running(thread)
    [a] = await system.ended(thread, "a")
    assert (a.status, a.branch, a.turn) == ("answered", 1, 1)
    assert [row.text for row in await tries(system, thread, "a")] == ["You said: Count!", "Here."]


async def test_a_regeneration_that_waits_survives_a_termination_with_the_turn_that_runs(
    system: System, thread: str
) -> None:
    await system.ask(thread, "First", id="z")
    await waiting(system, thread)
    await change(system, thread, "regenerate", {"prompt_id": "z"})
    await system.workflow(thread).terminate()
    system.model.script("Here.", cycle=True)
    await system.threads.ensure_running(thread)
    rows = await system.ended(thread, "z", "a", "b", "c")
    await system.idle(thread)
    assert [(row.status, row.turn, row.branch) for row in rows] == [
        ("answered", 1, 1),
        ("answered", 2, 0),
        ("answered", 3, 0),
        ("answered", 4, 0),
    ]
    assert [row.text for row in await tries(system, thread, "z")] == ["You said: First", "Here."]


async def test_the_last_turn_is_the_last_one_after_a_termination_too(system: System, thread: str) -> None:
    """The last checkpoint is of the last roll, and may be many turns old."""
    await system.ask(thread, "First", id="a")
    await system.workflow(thread).signal("roll")
    await system.until(lambda: _rolled(system, thread))
    await system.ask(thread, "Second", id="b")
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)
    assert (await change(system, thread, "regenerate"))["prompt_id"] == "b"
    await system.idle(thread)
    assert [len(await system.answers(thread, name)) for name in "ab"] == [1, 2]


async def test_a_turn_can_be_named_by_its_number_after_a_termination(system: System, thread: str) -> None:
    await system.ask(thread, "First", id="a")
    await system.ask(thread, "Second", id="b")
    await system.workflow(thread).terminate()
    await system.threads.ensure_running(thread)
    await system.idle(thread)
    report = await system.threads.turn(thread, "a")
    assert (report.status, report.turn, report.text) == ("answered", 1, "You said: First")
    assert (await change(system, thread, "regenerate", {"turn": 1}))["prompt_id"] == "a"


async def _rolled(system: System, thread: str) -> bool:
    return len(await system.runs(thread)) == 2


async def test_a_regeneration_can_be_interrupted_and_done_again(system: System, thread: str) -> None:
    await system.ask(thread, "Count!", id="a")
    system.model.script(HALF, "Fine.")
    await change(system, thread, "regenerate", {"prompt_id": "a"})
    await system.streaming(thread, "one two")
    await system.threads.interrupt(thread)
    [a] = await system.ended(thread, "a")
    assert a.status == "interrupted"
    system.model.script("Done.")
    await change(system, thread, "regenerate", {"prompt_id": "a"})
    await system.idle(thread)
    assert (await system.prompt(thread, "a")).status == "answered"
    assert [row.text.strip() for row in await tries(system, thread, "a")] == ["You said: Count!", "one two", "Done."]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"prompt_id": "x"}, "the thread has no prompt x"),
        ({"prompt_id": "a"}, "prompt a has not ended; interrupt its turn first, or wait"),
        (
            {"turn": 9},
            "turn 9 is not one of the last that ended, as far as the thread remembers; name the turn by its prompt_id",
        ),
    ],
)
async def test_what_has_not_ended_cannot_be_regenerated(
    system: System, thread: str, value: dict[str, Any], why: str
) -> None:
    await waiting(system, thread)
    assert await refused_change(system, thread, "regenerate", value) == f"UnknownPromptError: {why}"


# --- resume


async def test_an_interrupted_turn_goes_on_where_it_was_stopped(system: System, thread: str) -> None:
    system.model.script(HALF)
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    system.model.script("three four")
    await change(system, thread, "resume", {"prompt_id": "a"})
    await system.idle(thread)
    assert [m["content"].strip() for m in system.asked()[1:]] == ["Count!", "one two"]
    rows = await system.rows(thread)
    assert [(role, status, text.strip()) for role, status, text in said(rows)] == [
        ("user", "answered", "Count!"),
        ("assistant", "interrupted", "one two"),
        ("assistant", "complete", "three four"),
    ]


async def test_a_turn_that_met_its_step_limit_goes_on_with_its_tools(system: System, thread: str) -> None:
    look = Reply(when="Look", when_offered="look", tool_calls=[ToolCall(name="look")])
    system.model.script(look.model_copy(update={"step": 1}), Reply(after_tool=True, text="Not yet."))
    await system.submit(thread, "Look!", id="a", agent="hasty")
    await system.ended(thread, "a")
    system.model.script(look, Reply(after_tool=True, text="Found it."))
    await change(system, thread, "resume", {"turn": 1})
    await system.idle(thread)
    assert [row.text for row in await system.answers(thread, "a")] == ["", "Not yet.", "", "Found it."]
    assert system.bench.ran == [("look", "around"), ("look", "around")]


async def test_a_failed_turn_goes_on_after_the_failure(system: System, thread: str) -> None:
    system.model.script(
        Reply(when="Look", step=1, tool_calls=[ToolCall(name="look")]), Reply(status=400, after_tool=True)
    )
    await system.submit(thread, "Look!", id="a", agent="helper")
    [a] = await system.ended(thread, "a")
    assert a.status == "failed"
    system.model.script(Reply(after_tool=True, text="I see."))
    await change(system, thread, "resume", {"prompt_id": "a"})
    [a] = await system.ended(thread, "a")
    await system.idle(thread)
    assert (await system.answers(thread, "a"))[-1].text == "I see."
    assert system.bench.ran == [("look", "around")]
