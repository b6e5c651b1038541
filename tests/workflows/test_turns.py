"""A turn on a real server: what it costs in history, and how the model's failures end it."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from domain import ids
from domain.messages import PREVIEW_CHARS
from domain.messages import Usage as Tokens
from domain.prompts import Prompt, PromptOptions
from doubles.scripted_model import Reply, ReplyError, ToolCall, Usage
from tests.system import System, count

FAILED = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
WORKFLOW_TASK = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
}
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
TASK_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


async def settled(system: System, thread: str) -> list[HistoryEvent]:
    """The history, once nothing runs."""
    await system.idle(thread)
    return await system.history(thread)


def size(events: list[HistoryEvent]) -> int:
    return sum(event.ByteSize() for event in events)


# --- what a turn costs


async def test_a_turn_by_update_takes_11_events_and_2_kb_whatever_came_before(system: System, thread: str) -> None:
    system.model.script(Reply(text="word " * 400))
    await system.ask(thread, "The first one opens the thread.")
    costs = []
    for turn in range(12):
        before = await settled(system, thread)
        await system.ask(thread, f"This is prompt {turn:02}, as long as all others.")
        after = await settled(system, thread)
        costs.append((len(after) - len(before), size(after) - size(before)))
    assert {events for events, _ in costs} == {11}
    assert max(bytes_ for _, bytes_ in costs) < 2_500
    assert costs[-1][1] <= 1.02 * costs[0][1]


async def test_a_turn_by_signal_takes_10_events(system: System, thread: str) -> None:
    await system.ask(thread, "The first one opens the thread.")
    for turn in range(3):
        before = await settled(system, thread)
        await system.threads.handle(thread).signal("prompt", {"content": "Hello", "id": f"p{turn}"})
        await system.ended(thread, f"p{turn}")
        assert len(await settled(system, thread)) - len(before) == 10


async def test_a_turn_with_one_tool_takes_23_events_and_4_kb(system: System, thread: str) -> None:
    system.model.script(
        Reply(tool_calls=[ToolCall(name="look", arguments={"what": "up"})]), Reply(after_tool=True, text="word " * 400)
    )
    await system.ask(thread, "The first one opens the thread.", agent="helper")
    for _ in range(3):
        before = await settled(system, thread)
        await system.ask(thread, "Look up, please.", agent="helper")
        after = await settled(system, thread)
        assert len(after) - len(before) == 23
        assert size(after) - size(before) < 4_500


@pytest.mark.parametrize("calls", [2, 3, 5])
async def test_each_further_parallel_call_takes_3_events(system: System, thread: str, calls: int) -> None:
    """Those of its activity; and 3 more at worst, if the thread is woken for it alone since it ended by itself."""
    system.model.script(Reply(tool_calls=[ToolCall(name="look")] * calls), Reply(after_tool=True, text="Done."))
    await system.ask(thread, "The first one opens the thread.", agent="helper")
    before = await settled(system, thread)
    await system.ask(thread, "Look up, please.", agent="helper")
    turn = (await settled(system, thread))[len(before) :]
    woken = count(turn, TASK_COMPLETED) - 4  # besides for the prompt, the first answer, a result, the last answer
    assert len(turn) == 23 + 3 * (calls - 1) + 3 * woken
    assert woken <= calls - 1
    assert count(turn, SCHEDULED) == calls + 2


async def test_an_approved_call_takes_7_events_more(system: System, thread: str) -> None:
    """The workflow task that the decision wakes the thread for (3), the decision's update (2), and the status, to waiting
    and back (2): a list of who waits needs it. By signal it is one less.
    """
    system.model.script(Reply(tool_calls=[ToolCall(name="refund", arguments={"amount": 5})]), Reply(after_tool=True))
    for by_signal in (None, False, True):
        before = await settled(system, thread) if by_signal is not None else []
        receipt = await system.submit(thread, "Give it back, please.", agent="cashier")
        [call] = await system.waiting(thread)
        decision = {"call_id": call["call_id"], "decision": "approve", "digest": call["digest"]}
        if by_signal:
            await system.workflow(thread).signal("resolve", decision)
        else:
            await system.workflow(thread).execute_update("resolve", decision)
        await system.ended(thread, receipt.prompt_id)
        if by_signal is not None:
            assert len(await settled(system, thread)) - len(before) == 23 + (6 if by_signal else 7)


async def test_forty_rounds_of_large_tool_results_end_and_each_costs_the_same(system: System, thread: str) -> None:
    sizes = [262_144 + number for number in range(40)]
    calls = [Reply(tool_calls=[ToolCall(name="flood", arguments={"size": n})], step=i) for i, n in enumerate(sizes, 1)]
    system.model.script(*calls, Reply(step=41, text="Much."))
    receipt = await system.submit(thread, "Flood!", agent="helper", options=PromptOptions(max_steps=42))
    await system.ended(thread, receipt.prompt_id, timeout_s=30)
    assert (await system.answers(thread, receipt.prompt_id))[-1].text == "Much."
    events = await settled(system, thread)
    ends = [n for n, event in enumerate(events) if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED]
    rounds = [size(events[start:end]) for start, end in pairwise(ends[::2])]  # a model call and a tool are a round
    assert len(rounds) == 40
    assert max(rounds) < 1.5 * min(rounds)


async def test_no_answer_and_no_tool_result_is_in_the_history(system: System, thread: str) -> None:
    """Ids and previews only: by value, a thread dies of its own history."""
    secret, found = "x" * PREVIEW_CHARS + "SECRET", "NEEDLE" * 10
    system.model.script(
        Reply(tool_calls=[ToolCall(name="look", arguments={"what": found})]), Reply(after_tool=True, text=secret)
    )
    assert await system.ask(thread, "Look, please.", agent="helper") == secret
    await system.idle(thread)
    history = b"".join(event.SerializeToString() for event in await system.history(thread))
    assert b"Look, please." in history
    assert b"x" * (PREVIEW_CHARS - 1) in history
    assert b"SECRET" not in history
    assert b"NEEDLE" not in history


# --- what the model is shown


async def test_the_model_is_shown_the_conversation(system: System, thread: str) -> None:
    system.model.script("Hello Ada!", cycle=True)
    await system.ask(thread, "I am Ada.")
    await system.ask(thread, "Who am I?")
    assert [(message["role"], message["content"]) for message in system.asked()] == [
        ("system", "Be brief."),
        ("user", "I am Ada."),
        ("assistant", "Hello Ada!"),
        ("user", "Who am I?"),
    ]


async def test_the_answer_is_kept_with_all_the_provider_said_of_it(system: System, thread: str) -> None:
    usage = Usage(prompt_tokens=7, completion_tokens=9)
    system.model.script(Reply(text="Hi", usage=usage, extra={"mood": "good"}, finish_reason="length"))
    await system.ask(thread, "Hello", id="a")
    [answer] = await system.answers(thread, "a")
    [whole] = await system.store.get([answer.id])
    assert (whole.finish, whole.model, whole.usage) == (
        "length",
        "scripted",
        Tokens(prompt_tokens=7, completion_tokens=9),
    )
    assert whole.raw is not None
    assert whole.raw["message"]["mood"] == "good"


# --- what goes wrong for now


async def test_a_model_that_is_busy_is_asked_again_when_it_said(system: System, thread: str) -> None:
    busy = Reply(status=429, headers={"Retry-After": "1"}, times=1)
    system.model.script(busy, "Hello!")
    started = time.monotonic()
    assert await system.ask(thread, "Hi", id="a") == "Hello!"
    assert time.monotonic() - started >= 1.0
    first, second = system.model.requests
    assert first.body == second.body
    [answer] = await system.answers(thread, "a")
    assert system.finished(thread) == [answer.id]
    [retrying] = system.events.of(thread, "model.retrying")
    assert 1.0 <= retrying["retry_in_s"] <= 1.5


async def test_a_busy_model_costs_the_history_nothing(system: System, thread: str) -> None:
    system.model.script(Reply(status=429, headers={"Retry-After-Ms": "20"}, times=3), "Hello!")
    await system.ask(thread, "Hi", id="a")
    await system.idle(thread)
    history = await system.history(thread)
    assert (count(history, FAILED), count(history, SCHEDULED)) == (0, 1)


async def test_an_answer_that_was_cut_off_is_not_doubled_when_it_comes_again(system: System, thread: str) -> None:
    system.model.script(Reply(text="one two three", cut_after_chunks=2, times=1), "one two three")
    assert await system.ask(thread, "Count!", id="a") == "one two three"
    [answer] = await system.answers(thread, "a")
    attempts = {data["attempt"] for data in system.events.of(thread, "message.delta")}
    last = [data["text"] for data in system.events.of(thread, "message.delta") if data["attempt"] == max(attempts)]
    assert len(attempts) == 2
    assert "".join(last) == "one two three"
    assert answer.attempt == max(attempts)
    assert system.finished(thread) == [answer.id]


async def test_a_model_that_is_not_there_is_waited_for(system: System, thread: str) -> None:
    down = Reply(status=503, headers={"Retry-After-Ms": "50"}, times=4)
    system.model.script(down, "Back again")
    assert await system.ask(thread, "Hi") == "Back again"


# --- what goes wrong for good


async def test_a_final_refusal_fails_the_turn_in_the_providers_words(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, error=ReplyError(message="Too much for one model.")))
    await system.submit(thread, "Hi", id="a")
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "failed"
    assert "Too much for one model." in (prompt.error or "")
    [answer] = await system.answers(thread, "a")
    assert (answer.status, answer.error) == ("failed", prompt.error)
    assert len(system.model.requests) == 1
    [finished] = system.events.of(thread, "turn.finished")
    assert (finished["status"], finished["error"]) == ("failed", prompt.error)


async def test_a_refusal_in_words_that_are_no_unicode_ends_the_turn_all_the_same(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, error=ReplyError(message="Bad \ud83d words.")))
    await system.submit(thread, "Hi", id="a")
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "failed"
    assert "words." in (prompt.error or "")


async def test_a_very_long_refusal_ends_the_turn_all_the_same(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, error=ReplyError(message="x" * 3_000_000)))
    await system.submit(thread, "Hi", id="a")
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "failed"
    await system.idle(thread)
    assert size(await system.history(thread)) < 50_000


async def test_a_thread_goes_on_after_a_failed_turn_and_the_model_never_sees_it(system: System, thread: str) -> None:
    poison = Reply(status=400, error=ReplyError(message="Poison."), when="poison")
    system.model.script(poison, "Fine.")
    await system.ask(thread, "First")
    await system.submit(thread, "poison", id="bad")
    await system.ended(thread, "bad")
    assert await system.ask(thread, "Second") == "Fine."
    assert [message["content"] for message in system.asked()] == ["Be brief.", "First", "Fine.", "Second"]
    assert [row.turn for row in await system.rows(thread) if row.role == "user"] == [1, 2, 3]


async def test_an_agent_that_does_not_exist_fails_the_turn_only(system: System, thread: str) -> None:
    await system.submit(thread, "Hi", id="a", agent="nobody")
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "failed"
    assert (prompt.error or "").startswith("there is no agent 'nobody'; the agents are: assistant, ")
    assert await system.ask(thread, "Hi") == "You said: Hi"


async def test_a_prompt_that_failed_can_be_sent_again_under_a_new_id_only(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, times=1), "Fine.")
    await system.submit(thread, "Hi", id="a")
    await system.ended(thread, "a")
    assert (await system.submit(thread, "Hi", id="a")).disposition == "duplicate"
    assert await system.ask(thread, "Hi", id="b") == "Fine."


async def test_a_turn_whose_failure_was_half_recorded_fails_again(system: System, thread: str) -> None:
    """The answer's row had failed already, the prompt's had not, when everything was lost."""
    system.model.script(Reply(text="x", hang_after_chunks=1))
    await system.submit(thread, "Hi", id="a")
    await system.streaming(thread, "x")
    await system.workflow(thread).terminate()
    answer = ids.message_id(thread, "a", "answer")
    await system.store.amend(answer, 10**10, {"status": "failed", "error": "The provider said no."})
    system.model.script("Never asked")
    await system.threads.ensure_running(thread)
    [prompt] = await system.ended(thread, "a")
    assert (prompt.status, prompt.error) == ("failed", "The provider said no.")


# --- many at once


async def test_fifty_threads_at_once_are_all_answered(system: System, thread: str) -> None:
    system.model.script(Reply(text="You said: {user}", delay_s=0.01))
    threads = [f"{thread}-{number}" for number in range(50)]
    answers = await asyncio.gather(*(system.ask(name, f"I am {name}") for name in threads))
    assert answers == [f"You said: I am {name}" for name in threads]


async def test_a_worker_that_remembers_nothing_answers_as_well(system: System, thread: str) -> None:
    """Without a cache every task replays the whole history: code that is not deterministic fails here."""
    await system.stop_workers()
    await system.start_worker(max_cached_workflows=0)
    system.model.script(
        Reply(status=400, when="bad"),
        Reply(when="look", tool_calls=[ToolCall(name="look"), ToolCall(name="put")], times=1),
        Reply(after_tool=True, text="I looked."),
        "Fine.",
    )
    assert await system.ask(thread, "Hi") == "Fine."
    assert await system.ask(thread, "look", agent="helper") == "I looked."
    handle = system.workflow(thread)
    await handle.signal("prompt", 5)
    await asyncio.gather(*(system.threads.signal(thread, Prompt(id=f"p{n}", content="Hi")) for n in range(5)))
    await handle.signal("prompt", {"id": "bad", "content": "bad"})
    rows = await system.ended(thread, *(f"p{n}" for n in range(5)), "bad")
    assert [row.status for row in rows] == ["answered"] * 5 + ["failed"]
    await system.idle(thread)
    assert count(await system.history(thread), EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == 0


# --- found by a search later


async def test_what_is_said_is_due_for_the_index_unless_its_prompt_is_not_searchable(
    system: System, thread: str
) -> None:
    await system.ask(thread, "My card is 4711.", id="a", options=PromptOptions(searchable=False))
    await system.ask(thread, "Hello.", id="b")
    assert [row.index for row in await system.rows(thread)] == ["skipped", "skipped", "due", "due"]
