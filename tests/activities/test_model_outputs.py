"""`call_model`: answers that must be a value of a type."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel

from activities.model import ModelActivities
from domain.agent import Agent
from domain.errors import FormatRefusedError, ModelUnavailableError
from domain.messages import Usage
from domain.prompts import Prompt, PromptOptions
from tests.activities.fakes import PAUSE, PROMPT, Catalog, FakeModel, Steps, completion, failure, look, run
from tests.agents import Workbench
from tests.system import WatchedStore


class Fruit(BaseModel):
    name: str
    count: int = 1


AGENT = Agent("mine", instructions="Name one.", output=Fruit, tools=Workbench().tools())
APPLE = '{"name": "apple", "count": 2}'


@pytest.fixture
def steps(shared_store: WatchedStore, thread: str) -> Steps:
    return Steps(shared_store, thread)


def said(text: str, *pieces: str) -> list[Any]:
    return [*(pieces or (text,)), completion(text)]


def heard(steps: Steps) -> str:
    """What a live reader has in the end: each beginning replaces what came before."""
    text = ""
    for thread, kind, data in steps.events.published:
        if thread == steps.thread and kind == "message.started":
            text = ""
        elif thread == steps.thread and kind == "message.delta":
            text += data["text"]
    return text


async def test_an_answer_that_fits_is_kept_as_text_and_value(steps: Steps) -> None:
    result = await steps.ask(AGENT, *said(APPLE))
    row = await steps.answer()
    assert (result.finish, row.text, row.object, row.repair) == ("stop", APPLE, {"name": "apple", "count": 2}, None)
    [asked] = steps.asked
    assert asked.answer_format is not None
    assert (asked.answer_format.name, asked.answer_format.strict) == ("Fruit", True)
    assert [message.text for message in asked.messages] == ["Name one.", "Hi"]


async def test_an_answer_that_does_not_fit_is_asked_for_once_more_with_what_is_wrong(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel(said('{"name": "apple", "count": "many"}'), said(APPLE))
    await run(1, steps.call(model), steps.request(agent="mine"))
    row = await steps.answer()
    assert (row.text, row.object) == (APPLE, {"name": "apple", "count": 2})
    assert row.usage == Usage(prompt_tokens=2, completion_tokens=4)  # of both
    assert row.repair is not None
    assert row.repair["text"] == '{"name": "apple", "count": "many"}'
    *_, first, correction = model.requests[1].messages
    assert (first.role, first.text) == ("assistant", '{"name": "apple", "count": "many"}')
    assert "count: Input should be a valid integer" in correction.text
    assert '"required": ["name", "count"]' in correction.text
    assert model.requests[1].tool_choice == "none"
    assert heard(steps) == APPLE


async def test_an_answer_that_fits_neither_time_fails_by_name_and_is_kept(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel(said("No."), said("Never."))
    error = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (error.type, error.non_retryable) == ("OutputInvalidError", True)
    assert "it is no JSON" in error.message
    row = await steps.answer()
    assert (row.status, row.error_type, row.usage) == (
        "pending",  # `close_turn` ends it
        "OutputInvalidError",
        Usage(prompt_tokens=2, completion_tokens=4),
    )
    assert row.text.startswith("Never.")


async def test_an_answer_that_was_cut_says_so(steps: Steps) -> None:
    steps.agents = [AGENT]
    cut = completion('{"name": "app', finish="length")
    error = await failure(1, steps.call(FakeModel([cut], [cut])), steps.request(agent="mine"))
    assert "It was cut: length." in error.message


async def test_no_second_try_is_made_once_the_time_is_over(steps: Steps) -> None:
    steps.agents = [replace(AGENT, max_seconds=0.05)]
    model = FakeModel(['{"name', PAUSE])
    error = await failure(1, steps.call(model), steps.request(agent="mine"))
    assert (error.type, len(model.requests)) == ("OutputInvalidError", 1)


async def test_only_the_answer_after_the_tools_must_fit(steps: Steps) -> None:
    result = await steps.ask(AGENT, "Let me look.", completion("Let me look.", [look()]))
    assert len(result.plan) == 1
    await steps.ran(0)
    await steps.later(AGENT, 1, *said(APPLE))
    [row] = await steps.store.get([(await steps.prompt()).answer or ""])
    assert row.object == {"name": "apple", "count": 2}


async def test_a_repair_runs_no_tools(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel(said("Hm."), [completion(APPLE, [look()])])
    result = await run(1, steps.call(model), steps.request(agent="mine"))
    assert (result.finish, result.plan) == ("stop", [])


async def test_what_is_no_object_is_asked_for_as_one_and_kept_by_itself(steps: Steps) -> None:
    agent = Agent("mine", output=list[Fruit])
    await steps.ask(agent, *said(json.dumps({"value": [{"name": "fig"}]})))
    row = await steps.answer()
    assert (row.text, row.object) == ('[{"name": "fig"}]', [{"name": "fig"}])
    assert heard(steps) == row.text


async def test_the_output_of_a_prompt_counts_before_the_agents(steps: Steps) -> None:
    prompt = PROMPT.model_copy(update={"options": PromptOptions(output=["yes", "no"])})
    await steps.ask(AGENT, *said('{"value": "no"}'), prompt=prompt)
    assert (await steps.answer()).object == "no"


async def test_a_schema_that_is_none_fails_the_turn_in_a_sentence(steps: Steps) -> None:
    prompt = Prompt(id="p", content="Hi", options=PromptOptions(output={"type": "objct"}))
    steps.agents = [AGENT]
    model = FakeModel(said("{}"))
    error = await failure(1, steps.call(model), steps.request(agent="mine", prompt=prompt))
    assert error.type == "InputRefusedError"
    assert "not a JSON schema, at type" in error.message
    assert model.requests == []


# --- models that cannot be held to it


async def test_a_model_that_takes_no_schema_is_asked_for_json_and_then_only_told(steps: Steps) -> None:
    steps.agents = [AGENT]
    refused = [FormatRefusedError("no")]
    model = FakeModel(refused, refused, refused, said(f"Sure!\n```json\n{APPLE}\n```"))
    await run(1, steps.call(model), steps.request(agent="mine"))
    formats = [request.answer_format for request in model.requests]
    assert [form and (form.schema is not None, form.strict) for form in formats] == [
        (True, True),
        (True, False),
        (False, False),
        None,
    ]
    system = [request.messages[0].text for request in model.requests]
    assert system[:2] == ["Name one."] * 2
    for text in system[2:]:
        assert text.startswith("Name one.\n\nAnswer with one JSON object")
    row = await steps.answer()
    assert (row.text, row.repair) == (APPLE, None)
    assert heard(steps) == APPLE


async def test_what_a_model_would_not_take_is_not_asked_of_it_again(steps: Steps) -> None:
    steps.agents = [AGENT]
    refused = [FormatRefusedError("no")]
    model = FakeModel(refused, refused, said(APPLE), said(APPLE))
    activities = ModelActivities(steps.store, steps.events, model, Catalog(AGENT), budget_tokens=8_000)
    await run(1, activities.call_model, steps.request(agent="mine"))
    again = steps.request(agent="mine", prompt_id="q", turn=2, prompt=Prompt(id="q", content="Hi"))
    await run(1, activities.call_model, again)
    assert len(model.requests) == 4
    assert model.requests[3].answer_format == model.requests[2].answer_format


# --- live


async def test_parts_of_the_value_are_heard_as_they_come(steps: Steps) -> None:
    pieces = ['{"name": "a', "x" * 130, "y" * 130, '", "count": 2}']
    text = "".join(pieces)
    await steps.ask(AGENT, *pieces, completion(text))
    parts = [data["object"] for data in steps.events.of(steps.thread, "object.delta")]
    assert parts[0] == {"name": "a"}
    assert parts[-1] == json.loads(text)
    assert all(len(before["name"]) <= len(after["name"]) for before, after in pairwise(parts))
    assert {data["message_id"] for data in steps.events.of(steps.thread, "object.delta")} == {steps.answer_id}


async def test_the_parts_of_a_large_value_are_not_told_at_each_piece(steps: Steps) -> None:
    pieces = ['{"name": "', *["x" * 200] * 1_000, '"}']
    await steps.ask(AGENT, *pieces, completion("".join(pieces)))
    parts = steps.events.of(steps.thread, "object.delta")
    assert len(parts) < 100
    assert 40_000 < sum(len(data["object"].get("name", "")) for data in parts) < 30 * 50_000
    assert heard(steps) == (await steps.answer()).text


async def test_a_retry_after_a_lost_worker_asks_anew_and_repairs_anew(steps: Steps) -> None:
    steps.agents = [AGENT]
    model = FakeModel(said("No."), ['{"na', ModelUnavailableError("cut")])
    await failure(1, steps.call(model), steps.request(agent="mine"))
    await run(2, steps.call(FakeModel(said("No."), said(APPLE))), steps.request(agent="mine"))
    assert (await steps.answer()).object == {"name": "apple", "count": 2}
    assert heard(steps) == APPLE
    assert steps.finished() == 1


async def test_nothing_is_left_of_an_attempt_that_was_lost_just_as_it_failed(steps: Steps) -> None:
    steps.agents = [AGENT]
    await failure(1, steps.call(FakeModel(said("No."), said("No."))), steps.request(agent="mine"))
    await run(2, steps.call(FakeModel(said(APPLE))), steps.request(agent="mine"))
    row = await steps.answer()
    assert (row.status, row.text, row.error_type, row.error) == ("complete", APPLE, None, None)


async def test_a_final_answer_is_not_asked_for_again(steps: Steps) -> None:
    first = await steps.ask(AGENT, *said(APPLE))
    assert await steps.ask(AGENT, number=2) == first
    assert steps.asked == []
