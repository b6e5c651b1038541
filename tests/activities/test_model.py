"""`call_model`: one step, its records, and who may write them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.rows import prompt_row
from domain import ids
from domain.errors import ModelRefusedError, ModelUnavailableError
from domain.messages import Message, ThreadRecord, ToolCall
from domain.model import Completion
from domain.prompts import Prompt
from domain.steps import StepResult, closing_fence, fence
from tests.activities.fakes import PAUSE, PROMPT, FakeModel, LaggingStore, Steps, attempt, completion, failure, run
from tests.system import WatchedStore


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


# --- what a step writes


async def test_a_step_saves_the_prompt_and_the_answer_and_ends_the_turn(steps: Steps) -> None:
    record = ThreadRecord(thread=steps.thread, tenant="acme", owner="ada", epoch=1)
    await steps.store.insert_thread(record)
    result = await run(1, steps.call(FakeModel(["Hel", "lo!", completion()])), steps.request())
    assert result == StepResult(message_id=steps.answer_id, preview="Hello!", usage=completion().usage)
    prompt, answer = await steps.prompt(), await steps.answer()
    assert (prompt.status, prompt.turn, prompt.seq, prompt.author) == ("answered", 1, ids.first_seq(1), "Ada")
    assert (answer.status, answer.text, answer.raw) == ("complete", "Hello!", {"text": "Hello!"})
    assert {(row.tenant, row.owner) for row in (prompt, answer)} == {("acme", "ada")}
    ended = await steps.store.get_thread(steps.thread)
    assert ended is not None
    assert (ended.turns, ended.preview) == (1, "Hi")
    assert [kind for _, kind, _ in steps.events.published if kind != "message.delta"] == [
        *("turn.started", "message.started", "message.finished", "turn.finished"),
    ]


async def test_a_step_that_plans_tools_does_not_end_the_turn(steps: Steps) -> None:
    calls = [ToolCall(call_id="c", name="pay", arguments="{}"), ToolCall(call_id="d", name="fly", arguments="")]
    result = await run(1, steps.call(FakeModel([completion("", calls)])), steps.request(agent="helper"))
    assert [(call.tool, call.effect) for call in result.plan] == [("pay", "write"), ("fly", "read")]
    assert (await steps.prompt()).status == "pending"
    assert (await steps.answer()).tool_calls == calls


async def test_more_calls_than_a_step_may_have_are_cut_off(steps: Steps) -> None:
    calls = [ToolCall(call_id=f"c{n}", name="look", arguments="{}") for n in range(ids.MAX_CALLS + 5)]
    result = await run(1, steps.call(FakeModel([completion("", calls)])), steps.request(agent="helper"))
    assert len(result.plan) == len((await steps.answer()).tool_calls) == ids.MAX_CALLS


async def test_what_the_answer_was_so_far_is_saved_about_once_a_second(steps: Steps) -> None:
    model = FakeModel(["Hel", PAUSE, "lo", PAUSE, completion()])
    call = asyncio.create_task(run(1, steps.call(model), steps.request()))
    await model.paused.wait()
    assert (await steps.answer()).text == ""
    model.paused.clear()
    await asyncio.sleep(1.05)
    model.go.set()
    await call
    assert (await steps.answer()).text == "Hello!"


# --- a step is done once


async def test_a_step_whose_answer_is_there_does_not_call_the_model_again(steps: Steps) -> None:
    first = await run(1, steps.call(FakeModel([completion()])), steps.request())
    again = FakeModel()
    assert await run(2, steps.call(again), steps.request()) == first
    assert again.requests == []
    assert steps.finished() == 1


async def test_a_turn_whose_end_was_not_recorded_is_ended_by_the_next_attempt(steps: Steps) -> None:
    """A crash between the answer and the end of the turn."""
    await run(1, steps.call(FakeModel([completion()])), steps.request())
    prompt_id = ids.message_id(steps.thread, "p", "prompt")
    other = Steps(steps.store, steps.thread + "x")
    await other.store.insert([prompt_row(other.thread, PROMPT, None, 1.0)])
    answered = (await steps.answer()).model_copy(update={"id": other.answer_id, "thread": other.thread})
    await other.store.insert([answered])
    await run(2, other.call(FakeModel()), other.request())
    assert (await other.prompt()).status == "answered"
    assert prompt_id != ids.message_id(other.thread, "p", "prompt")


async def test_a_retried_call_does_not_double_the_text(steps: Steps) -> None:
    cut = FakeModel(["Hel", ModelUnavailableError("cut off")])
    assert (await failure(1, steps.call(cut), steps.request())).type == "ModelUnavailableError"
    await run(2, steps.call(FakeModel(["Hel", "lo!", completion()])), steps.request())
    assert (await steps.answer()).text == "Hello!"
    started = [data["attempt"] for data in steps.events.of(steps.thread, "message.started")]
    assert started == [fence(1, 0, 1), fence(1, 0, 2)]


async def test_a_new_attempt_begins_with_an_empty_text(steps: Steps) -> None:
    """Or else who reads the row meanwhile would see the dead attempt's words."""
    await failure(1, steps.call(FakeModel(["Hel", ModelUnavailableError("cut off")])), steps.request())
    await steps.store.amend(steps.answer_id, fence(1, 0, 1), {"text": "Hel"})  # as saved once a second
    model = FakeModel([PAUSE, completion()])
    call = asyncio.create_task(run(2, steps.call(model), steps.request()))
    await model.paused.wait()
    assert (await steps.answer()).text == ""
    model.go.set()
    await call


async def test_of_two_attempts_side_by_side_the_later_wins(steps: Steps) -> None:
    """The first was stopped, and goes on when the second has ended."""
    slow, quick = FakeModel(["old", PAUSE, completion("old")]), FakeModel([completion("new")])
    first = asyncio.create_task(run(1, steps.call(slow), steps.request()))
    await slow.paused.wait()
    result = await run(2, steps.call(quick), steps.request())
    slow.go.set()
    assert (await first) == result, "it finds the answer final, and tells the same"
    answer = await steps.answer()
    assert (answer.text, answer.attempt) == ("new", fence(1, 0, 2))
    assert steps.finished() == 1


async def test_an_attempt_gives_up_when_a_later_one_holds_the_row(steps: Steps) -> None:
    slow, later = FakeModel(["old", PAUSE, completion("old")]), FakeModel(["new", PAUSE, completion("new")])
    first = asyncio.create_task(failure(1, steps.call(slow), steps.request()))
    await slow.paused.wait()
    second = asyncio.create_task(run(2, steps.call(later), steps.request()))
    await later.paused.wait()
    slow.go.set()
    assert (await first).type == "SupersededError"
    assert (await steps.answer()).status == "pending"
    later.go.set()
    await second
    assert (await steps.answer()).text == "new"
    assert steps.finished() == 1


async def test_an_attempt_that_comes_late_does_not_call_the_model(steps: Steps) -> None:
    later = FakeModel(["new", PAUSE, completion("new")])
    second = asyncio.create_task(run(2, steps.call(later), steps.request()))
    await later.paused.wait()
    zombie = FakeModel()
    assert (await failure(1, steps.call(zombie), steps.request())).type == "SupersededError"
    later.go.set()
    await second
    assert zombie.requests == []


async def test_a_process_that_was_stopped_writes_nothing_when_it_goes_on(steps: Steps) -> None:
    """Its answer lies in the socket, whole; but the server has given it up."""
    model = FakeModel(["Hel", PAUSE, completion()])
    call = asyncio.create_task(attempt(heartbeat_timeout_s=1.0).run(steps.call(model), steps.request()))
    await model.paused.wait()
    time.sleep(1.1)  # noqa: ASYNC251 - as SIGSTOP does
    model.go.set()
    with pytest.raises(ApplicationError) as lost:
        await call
    assert lost.value.type == "SupersededError"
    assert (await steps.answer()).status == "pending"
    assert steps.finished() == 0


async def test_an_attempt_that_begins_after_its_turn_was_closed_leaves_nothing_open(steps: Steps) -> None:
    """The closing found no answer that it could end."""
    await failure(1, steps.call(FakeModel([KeyError("bug")])), steps.request())
    ended = {"status": "interrupted", "error": "stopped"}
    await steps.store.amend((await steps.prompt()).id, closing_fence(1), ended)
    zombie, late = FakeModel(), steps.request(step=1, prompt=None)
    assert (await run(1, steps.call(zombie), late)).finish == "interrupted"
    [row] = await steps.store.get([ids.message_id(steps.thread, "p", "answer", step=1)])
    assert (row.status, row.error) == ("interrupted", "stopped")
    assert zombie.requests == []


async def test_a_later_run_of_the_thread_beats_every_attempt_of_the_earlier(steps: Steps) -> None:
    slow = FakeModel(["old", PAUSE, completion("old")])
    old = asyncio.create_task(run(900, steps.call(slow), steps.request(epoch=1)))
    await slow.paused.wait()
    await run(1, steps.call(FakeModel([completion("new")])), steps.request(epoch=2, prompt=None))
    slow.go.set()
    await old
    assert (await steps.answer()).text == "new"


async def test_a_deleted_answer_does_not_come_back(steps: Steps) -> None:
    """Nothing creates a row but the claim of a step that begins."""
    assert await steps.store.amend(steps.answer_id, fence(1, 0, 1), {"status": "complete", "text": "back"}) is None


# --- what a step must see


async def test_a_step_does_not_call_the_model_until_it_sees_what_it_expects(
    tmp_path_factory: pytest.TempPathFactory, thread: str
) -> None:
    """It retries instead of repairing: a history without the tool's result would be a lie."""
    store = LaggingStore(tmp_path_factory.mktemp("lagging"))
    steps = Steps(store, thread)
    calls = [ToolCall(call_id="c", name="look", arguments="{}")]
    planned = await run(1, steps.call(FakeModel([completion("", calls)])), steps.request(agent="helper"))
    tool_id = ids.message_id(thread, "p", "tool:0")
    second = steps.request(agent="helper", step=1, prompt=None, expect=[planned.message_id, tool_id])
    model = FakeModel([completion()])
    assert (await failure(1, steps.call(model), second)).type == "NotVisibleYetError"
    result = Message(
        id=tool_id,
        thread=thread,
        prompt_id="p",
        slot="tool:0",
        role="tool",
        turn=1,
        seq=ids.seq(1, 0, ids.TOOL_ORDINAL),
        status="complete",
        call_id="c",
        name="look",
        text="I see.",
    )
    await store.insert([result])
    store.hidden = {tool_id}
    assert (await failure(2, steps.call(model), second)).type == "NotVisibleYetError"
    assert model.requests == []
    await run(3, steps.call(model), second)
    assert [message.role for message in model.requests[0].messages] == ["system", "user", "assistant", "tool"]
    store.close()


async def test_a_prompt_that_does_not_show_yet_is_waited_for(steps: Steps) -> None:
    request = steps.request(prompt=None)
    assert (await failure(1, steps.call(FakeModel()), request)).type == "NotVisibleYetError"
    await steps.store.insert([prompt_row(steps.thread, PROMPT, None, 1.0)])
    await run(2, steps.call(FakeModel([completion()])), request)
    assert (await steps.prompt()).status == "answered"


async def test_the_context_keeps_to_its_budget(steps: Steps) -> None:
    await run(1, steps.call(FakeModel([completion("x" * 4_000)])), steps.request())
    small, large = FakeModel([completion()]), FakeModel([completion()])
    request = {"prompt": Prompt(id="q", content="And?"), "prompt_id": "q", "turn": 2}
    await run(1, steps.call(small, budget=500), steps.request(**request))
    request = {"prompt": Prompt(id="r", content="And?"), "prompt_id": "r", "turn": 3}
    await run(1, steps.call(large, budget=8_000), steps.request(**request))
    assert [len(model.requests[0].messages) for model in (small, large)] == [4, 6]
    assert "characters left out here" in small.requests[0].messages[2].text
    assert large.requests[0].messages[2].text == "x" * 4_000


# --- ids used before


async def test_a_prompt_answered_in_another_turn_is_a_duplicate(steps: Steps) -> None:
    await run(1, steps.call(FakeModel([completion()])), steps.request())
    model = FakeModel()
    assert (await run(1, steps.call(model), steps.request(turn=7))).finish == "duplicate"
    assert (await steps.prompt()).turn == 1
    assert model.requests == []


async def test_an_id_used_for_another_text_is_a_conflict(steps: Steps) -> None:
    await run(1, steps.call(FakeModel([completion()])), steps.request())
    other = Prompt(id="p", content="Something else")
    model = FakeModel()
    assert (await run(1, steps.call(model), steps.request(turn=7, prompt=other))).finish == "conflict"
    assert ((await steps.prompt()).text, model.requests) == ("Hi", [])


# --- what goes wrong


@pytest.mark.parametrize(
    ("script", "kind", "final"),
    [
        ([ModelRefusedError("No.")], "ModelRefusedError", True),
        ([ModelUnavailableError("Busy.", 3.0)], "ModelUnavailableError", False),
        (["half"], "ModelUnavailableError", False),
        ([KeyError("bug")], "KeyError", False),
    ],
)
async def test_a_failed_call_leaves_the_row_open(steps: Steps, script: list[Any], kind: str, final: bool) -> None:
    failed = await failure(1, steps.call(FakeModel(script)), steps.request())
    assert (failed.type, failed.non_retryable) == (kind, final)
    assert (await steps.answer()).status == "pending"
    assert steps.finished() == 0


async def test_a_step_that_was_closed_as_failed_is_not_asked_again(steps: Steps) -> None:
    await failure(1, steps.call(FakeModel([KeyError("bug")])), steps.request())
    await steps.store.amend(steps.answer_id, closing_fence(1), {"status": "failed", "error": "The provider said no."})
    model = FakeModel()
    failed = await failure(1, steps.call(model), steps.request(epoch=2, prompt=None))
    assert (failed.type, failed.message, failed.non_retryable) == ("ModelRefusedError", "The provider said no.", True)
    assert model.requests == []


async def test_a_completion_is_kept_as_the_provider_gave_it(steps: Steps) -> None:
    provided = Completion("a\x00b", [], "content_filter", "m", None, {"deep": [[[{"a": 1e300}]]]})
    result = await run(1, steps.call(FakeModel([provided])), steps.request())
    answer = await steps.answer()
    assert (result.finish, answer.finish, answer.text) == ("content_filter", "content_filter", "a\x00b")
    assert answer.raw == provided.raw
    assert answer.usage is None
