"""`call_model`: when a turn must end, and how."""

from __future__ import annotations

from dataclasses import replace

import pytest

from activities.rows import prompt_row
from domain.agent import Agent
from domain.errors import ModelUnavailableError
from domain.messages import ThreadRecord
from domain.prompts import Prompt
from domain.stopping import step_count
from tests.activities.fakes import PAUSE, FakeModel, Steps, completion, failure, look
from tests.agents import Workbench
from tests.system import WatchedStore

HELPER = Agent("mine", instructions="Use tools.", tools=Workbench().tools())


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


# --- limits of a turn


async def test_the_last_call_of_a_limited_turn_has_no_tools_and_says_why(steps: Steps) -> None:
    """The model took 3 tokens in each step."""
    agent = replace(HELPER, max_tokens=4)
    for step in (0, 1):
        await steps.ask(agent, completion("", [look(f"c{step}", f'{{"n": {step}}}')]), step=step)
        assert steps.asked[0].tool_choice == "auto"
        await steps.ran(step)
    result = await steps.later(agent, 2, completion("Enough."))
    [asked] = steps.asked
    assert asked.tool_choice == "none"
    assert asked.messages[0].text.startswith("Use tools.\n\nThis turn has used 6 of its 4 tokens. Do not call")
    assert [message.role for message in asked.messages].count("system") == 1
    assert (result.finish, result.plan) == ("token_limit", [])
    assert (await steps.prompt()).status == "answered"


async def test_a_model_that_calls_tools_at_a_limit_all_the_same_is_not_obeyed(steps: Steps) -> None:
    agent = replace(HELPER, max_tokens=1)
    await steps.ask(agent, completion("", [look()]))
    await steps.ran(0)
    result = await steps.later(agent, 1, completion("", [look("d")]))
    assert (result.finish, result.plan) == ("token_limit", [])
    assert (await steps.prompt()).status == "answered"


async def test_a_turn_ends_when_its_time_is_over_counted_from_its_first_call(steps: Steps) -> None:
    agent = replace(HELPER, max_seconds=10.0)
    await steps.ask(agent, completion("", [look()]))
    await steps.ran(0)
    steps.now += 9.9
    await steps.later(agent, 1, completion("", [look("d", '{"n": 1}')]))
    assert steps.asked[0].tool_choice == "auto"
    await steps.ran(1)
    steps.now += 0.1
    result = await steps.later(agent, 2, completion("Enough."))
    assert (steps.asked[0].tool_choice, result.finish) == ("none", "time_limit")


async def test_a_model_call_that_outlasts_the_turns_time_is_cut_and_its_text_kept(steps: Steps) -> None:
    result = await steps.ask(replace(HELPER, max_seconds=0.1), "So far", PAUSE, completion("never"))
    assert (result.finish, result.preview, result.plan) == ("time_limit", "So far", [])
    answer = await steps.answer()
    assert (answer.status, answer.text, answer.finish) == ("complete", "So far", "time_limit")
    assert "".join(data["text"] for data in steps.events.of(steps.thread, "message.delta")) == "So far"
    assert (await steps.prompt()).status == "answered"


async def test_a_model_that_is_not_available_is_waited_for_only_twice_the_turns_time(steps: Steps) -> None:
    steps.agents = [replace(HELPER, max_seconds=10.0)]
    request = steps.request(agent="mine")
    seen = []
    for number, elapsed_s in enumerate([0.0, 19.9, 0.1], 1):
        steps.now += elapsed_s
        down = FakeModel([ModelUnavailableError("Busy.")])
        seen.append(await failure(number, steps.call(down), request))
    assert [failed.non_retryable for failed in seen] == [False, False, True]
    assert seen[-1].message == "The turn may take 10 s (max_seconds) and took twice that: Busy."


async def test_a_turn_that_repeats_a_call_is_ended(steps: Steps) -> None:
    agent = replace(HELPER, max_repeats=3)
    for step in range(3):
        await steps.ask(agent, completion("", [look(f"c{step}")]), step=step)
        assert steps.asked[0].tool_choice == "auto"
        await steps.ran(step)
    result = await steps.later(agent, 3)
    assert (steps.asked[0].tool_choice, result.finish) == ("none", "loop")
    assert "The tool look was called 3 times" in steps.asked[0].messages[0].text


async def test_a_turn_in_which_every_tool_fails_is_ended(steps: Steps) -> None:
    agent = replace(HELPER, max_failing_steps=2)
    for step in range(2):
        await steps.ask(agent, completion("", [look(f"c{step}", f'{{"n": {step}}}')]), step=step)
        await steps.ran(step, "failed")
    result = await steps.later(agent, 2)
    assert (steps.asked[0].tool_choice, result.finish) == ("none", "loop")


async def test_a_retried_step_keeps_the_limit_it_ended_by(steps: Steps) -> None:
    agent = replace(HELPER, max_tokens=1)
    await steps.ask(agent, completion("", [look()]))
    await steps.ran(0)
    first = await steps.later(agent, 1)
    assert await steps.later(agent, 1, number=2) == first
    assert steps.asked == []


async def test_what_a_turn_did_before_it_was_gone_on_with_does_not_count(steps: Steps) -> None:
    """Else a turn that a limit ended could never be gone on with."""
    agent = replace(HELPER, max_tokens=1, max_steps=2, max_seconds=5.0)
    await steps.ask(agent, completion("", [look()]))
    await steps.ran(0)
    await steps.later(agent, 1)
    prompt = await steps.prompt()
    await steps.store.reopen(prompt.id, 10**18, {"status": "pending", "from_step": 2})
    steps.now += 100
    await steps.later(agent, 2, epoch=2 * 10**9)
    assert steps.asked[0].tool_choice == "auto"


# --- answers without a word


@pytest.mark.parametrize("finish", ["stop", "length"])
async def test_an_empty_answer_still_ends_its_row_and_its_turn(steps: Steps, finish: str) -> None:
    result = await steps.ask(HELPER, completion("", finish=finish))
    answer, prompt = await steps.answer(), await steps.prompt()
    assert (answer.status, answer.text, answer.finish) == ("complete", "", finish)
    assert (prompt.status, prompt.answer, result.finish) == ("answered", answer.id, finish)
    assert len(steps.events.of(steps.thread, "turn.finished")) == 1


async def test_an_answered_turn_makes_the_thread_active_again(steps: Steps) -> None:
    """A thread is `failed` while its last turn is one that failed."""
    await steps.store.insert_thread(ThreadRecord(thread=steps.thread, status="failed"))
    await steps.ask(HELPER)
    record = await steps.store.get_thread(steps.thread)
    assert record is not None
    assert record.status == "active"


# --- conditions


async def test_a_turn_that_stops_is_stopped_by_the_first_attempt_that_says_so(steps: Steps) -> None:
    """A condition may say something else an attempt later: what was decided and told stays."""
    said = iter([True, False])
    agent = replace(HELPER, stop=[lambda _: next(said)])
    first = await steps.ask(agent, completion("Looking.", [look()]))
    await steps.ran(0)
    result = await steps.later(agent, 1)
    assert (result.finish, result.message_id, result.preview, result.plan) == (
        "stopped",
        first.message_id,
        "Looking.",
        [],
    )
    assert steps.asked == []
    assert (await steps.prompt()).answer == first.message_id
    assert await steps.later(agent, 1, number=2) == result
    assert steps.asked == []
    assert next(said) is False
    assert len(steps.events.of(steps.thread, "message.finished")) == 2


async def test_an_attempt_that_went_on_is_not_stopped_by_the_next_one(steps: Steps) -> None:
    said = iter([False, True])
    agent = replace(HELPER, stop=[lambda _: next(said)])
    await steps.ask(agent, completion("", [look()]))
    await steps.ran(0)
    result = await steps.later(agent, 1, completion("On."))
    assert await steps.later(agent, 1, number=2) == result


async def test_a_prompt_that_joins_a_turn_just_as_it_stops_finds_it_whole(steps: Steps) -> None:
    agent = replace(HELPER, stop=[step_count(1)])
    await steps.ask(agent, completion("Looking.", [look()]))
    await steps.ran(0)
    stopped = await steps.later(agent, 1)
    joining = prompt_row(steps.thread, Prompt(id="q", content="More!"), None, 0.0)
    await steps.store.insert([joining])
    result = await steps.later(agent, 2, completion("More."), joined=["q"], expect=[stopped.message_id])
    assert (result.finish, result.preview) == ("stop", "More.")
    assert [message.text for message in steps.asked[0].messages] == ["Use tools.", "Hi", "Looking.", "I see.", "More!"]
    assert (await steps.prompt()).answer == result.message_id
