"""`call_model`: several models, of which the first that is available answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from activities.away import AWAY_S
from domain.agent import Agent
from domain.errors import ContextTooLongError, ModelRefusedError, ModelUnavailableError, QuotaSpentError
from domain.hooks import StepChanges
from domain.prompts import Prompt, PromptOptions
from tests.activities.fakes import PAUSE, FakeModel, Steps, completion, failure, run
from tests.system import WatchedStore

AGENT = Agent("mine", model=["m1", "m2", "m3"])
AWAY = ModelUnavailableError("away")


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


def asked(model: FakeModel) -> list[str | None]:
    return [request.model for request in model.requests]


async def answered(steps: Steps, model: FakeModel, agent: Agent = AGENT, **request: object) -> str:
    steps.agents = [agent]
    result = await run(1, steps.call(model), steps.request(agent="mine", **request))
    return str(result.preview)


@pytest.mark.parametrize(
    "error",
    [AWAY, ModelUnavailableError("too many", 60.0), QuotaSpentError("the account is empty")],
    ids=["outage", "rate limit", "empty account"],
)
async def test_the_next_model_is_asked_at_once(steps: Steps, error: Exception) -> None:
    model = FakeModel([error], ["Hel", "lo!", completion("Hello!")])
    assert await answered(steps, model) == "Hello!"
    assert asked(model) == ["m1", "m2"]
    assert steps.events.of(steps.thread, "model.retrying") == []


async def test_the_first_model_is_asked_first_in_each_call(steps: Steps) -> None:
    assert await answered(steps, model := FakeModel([completion()])) == "Hello!"
    assert asked(model) == ["m1"]


async def test_once_something_of_an_answer_has_come_no_other_model_is_asked(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel(["Hel", AWAY])
    error = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (error.type, asked(model)) == ("ModelUnavailableError", ["m1"])


async def test_what_a_model_refuses_for_good_is_not_asked_of_another(steps: Steps) -> None:
    """A wrong name or key is to be mended, not to be passed over for ever."""
    steps.agents = [AGENT]
    model = FakeModel([ModelRefusedError("there is no such model")])
    error = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (error.type, asked(model)) == ("ModelRefusedError", ["m1"])


async def test_when_none_is_available_the_turn_comes_back_when_the_first_of_them_may_be(steps: Steps) -> None:
    steps.agents = [AGENT]
    waits = [ModelUnavailableError("slow down", 90.0), QuotaSpentError("empty"), ModelUnavailableError("busy", 5.0)]
    model = FakeModel(*([wait] for wait in waits))
    error = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (error.message, asked(model)) == ("busy", ["m1", "m2", "m3"])
    assert error.next_retry_delay is not None
    assert 5.0 <= error.next_retry_delay.total_seconds() <= 7.0


async def test_if_all_accounts_are_empty_the_turn_fails(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel(*[[QuotaSpentError("empty")]] * 3)
    error = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (error.type, error.non_retryable) == ("QuotaSpentError", True)


async def test_a_fallback_for_which_the_conversation_is_too_long_gets_less_of_it(steps: Steps) -> None:
    model = FakeModel([AWAY], [ContextTooLongError("long")], [completion()])
    assert await answered(steps, model) == "Hello!"
    assert asked(model) == ["m1", "m2", "m2"]


async def test_a_model_that_was_out_is_not_waited_for_in_each_call(steps: Steps) -> None:
    """A silent one would cost its whole time limit in every step."""
    steps.agents = [AGENT]
    model = FakeModel([AWAY], [completion()], [completion()], [completion()])
    call = steps.call(model)
    for turn, passed_s in ((1, 0.0), (2, AWAY_S - 1), (3, 2.0)):
        steps.now += passed_s
        prompt = Prompt(id=f"p{turn}", content="Hi")
        await run(1, call, steps.request(agent="mine", prompt_id=f"p{turn}", prompt=prompt, turn=turn))
    assert asked(model) == ["m1", "m2", "m2", "m1"]


async def test_if_all_were_out_they_are_asked_in_their_order(steps: Steps) -> None:
    model = FakeModel(*[[AWAY]] * 3, [completion()])
    steps.agents = [AGENT]
    call = steps.call(model)
    await failure(1, call, steps.request(agent="mine"))
    await run(2, call, steps.request(agent="mine"))
    assert asked(model) == ["m1", "m2", "m3", "m1"]


async def test_the_time_of_a_turn_is_that_of_all_models_together(steps: Steps) -> None:
    model = FakeModel([AWAY], ["So far", PAUSE])
    assert await answered(steps, model, replace(AGENT, max_seconds=0.05)) == "So far"
    row = await steps.answer()
    assert (row.finish, row.model) == ("time_limit", "m2")


async def test_a_prompt_and_a_hook_may_name_several_too(steps: Steps) -> None:
    prompt = Prompt(id="p", content="Hi", options=PromptOptions(model=["a", "b"]))
    assert await answered(steps, model := FakeModel([AWAY], [completion()]), prompt=prompt) == "Hello!"
    assert asked(model) == ["a", "b"]


async def test_a_hook_names_one_or_several(steps: Steps) -> None:
    agent = replace(AGENT, prepare_step=lambda _: StepChanges(model=["x", "y"]))
    assert await answered(steps, model := FakeModel([AWAY], [completion()]), agent) == "Hello!"
    assert asked(model) == ["x", "y"]
