"""New facts as a model judges them against those that are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.errors import FormatRefusedError, ModelRefusedError, ModelUnavailableError
from domain.facts import FactFilter
from tests.activities import test_learning
from tests.activities.fakes import completion
from tests.activities.test_learning import Desk, found, verdict

store, desk = test_learning.store, test_learning.desk
DOG, SAME_DOG = "User has a dog named Rex", "The user's dog is called Rex"


async def test_a_fact_that_the_judge_finds_known_is_not_stored(desk: Desk) -> None:
    await desk.memory.add(DOG)
    await desk.said("My dog is Rex", "I know!")
    await desk.learn(found(SAME_DOG), verdict(2, same_as=1))
    assert await desk.memory.texts() == [DOG]


async def test_both_ids_of_a_known_fact_stand_in_the_log(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    known, _ = await desk.memory.add(DOG)
    await desk.said("My dog is Rex", "I know!")
    await desk.learn(found(SAME_DOG), verdict(2, same_as=1))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "fact.known" in line]
    assert f"known_id={known}" in line
    assert " fact_id=" in line


async def test_a_fact_that_the_judge_finds_replaced_is_superseded_and_can_be_looked_up(desk: Desk) -> None:
    old, _ = await desk.memory.add("User drinks coffee every morning")
    await desk.said("I gave up coffee, now I drink tea every morning", "Fine!")
    await desk.learn(found("User drinks tea every morning"), verdict(2, replaces=[1]))
    assert await desk.memory.texts(status="current") == ["User drinks tea every morning"]
    before, after = await desk.memory.facts.history(old)
    assert (before.status, before.superseded_by, before.valid_to) == ("superseded", after.id, after.valid_from)


async def test_what_is_near_and_not_the_same_is_stored(desk: Desk) -> None:
    await desk.memory.add("User's sister is called Mia")
    await desk.said("My daughter is called Mia", "Nice!")
    await desk.learn(found("User's daughter is called Mia"), verdict(2))
    assert await desk.memory.texts() == ["User's daughter is called Mia", "User's sister is called Mia"]


async def test_the_judge_is_asked_once_for_all_facts_of_a_turn_and_shown_what_is_near(desk: Desk) -> None:
    for known in (DOG, "User lives in Berlin", "User plays chess"):
        await desk.memory.add(known)
    await desk.said("Rex is ill, and I live in Munich now", "Oh!")
    await desk.learn(found("User's dog Rex is ill", "User lives in Munich"), verdict(4, replaces=[2]))
    _, request = desk.model.requests
    known_lines, _, new_lines = request.messages[-1].text.partition("New:")
    assert DOG in known_lines
    assert "User lives in Berlin" in known_lines
    assert [line.partition(". ")[2] for line in new_lines.split("\n")[1:]] == [
        "User's dog Rex is ill",
        "User lives in Munich",
    ]


async def test_without_anything_near_there_is_no_second_request(desk: Desk) -> None:
    await desk.memory.add("User plays chess")
    await desk.said("I live in Berlin", "Nice!")
    await desk.learn(found("User lives in Berlin"))
    assert len(desk.model.requests) == 1


async def test_the_same_words_need_no_judge(desk: Desk) -> None:
    await desk.memory.add(DOG)
    await desk.said("I have a dog named Rex", "I know!")
    await desk.learn(found("user has a dog named Rex."))
    assert len(desk.model.requests) == 1
    assert await desk.memory.texts() == [DOG]


async def test_of_two_facts_of_a_turn_that_say_the_same_one_is_stored(desk: Desk) -> None:
    await desk.said("My dog is Rex", "Nice!")
    await desk.learn(found(DOG, SAME_DOG), verdict(2, same_as=1))
    assert await desk.memory.texts() == [DOG]


async def test_what_says_the_same_as_two_facts_takes_the_place_of_both(desk: Desk) -> None:
    await desk.memory.add(DOG)
    await desk.memory.add(SAME_DOG)
    await desk.said("My dog's name is Rex", "I know!")
    await desk.learn(found("The dog of the user has the name of Rex"), verdict(3, same_as=1, replaces=[2]))
    assert await desk.memory.texts(status="current") == ["The dog of the user has the name of Rex"]
    assert await desk.memory.texts(status="superseded") == sorted([DOG, SAME_DOG])


async def test_what_is_said_again_in_the_same_words_ends_what_it_contradicts(desk: Desk) -> None:
    old, _ = await desk.memory.add("User lives in Berlin")
    first, _ = await desk.memory.add("User lives in Munich")
    await desk.said("I live in Munich", "I know!")
    await desk.learn(found("User lives in Munich"), verdict(3, same_as=0, replaces=[1, 2]))
    assert await desk.memory.texts(status="current") == ["User lives in Munich"]
    assert {fact.id for fact in await desk.memory.facts.history(old)} > {old, first}


@pytest.mark.parametrize(
    "trouble",
    [
        ModelRefusedError("never"),
        completion("They are the same, I think"),
        completion(json.dumps({"verdicts": []})),
        verdict(2, same_as=7),
        verdict(1, same_as=2),
        verdict(2, same_as=2, replaces=[2, 0, -1]),
    ],
    ids=["refused", "prose", "nothing", "unknown", "backwards", "itself"],
)
async def test_a_judge_that_fails_or_talks_nonsense_loses_no_fact(desk: Desk, trouble: Any) -> None:
    await desk.memory.add(DOG)
    prompt = await desk.said("My dog is Rex", "I know!")
    await desk.learn(found(SAME_DOG), trouble)
    assert await desk.memory.texts(status="current") == sorted([DOG, SAME_DOG])
    assert (await desk.row(prompt)).learn == "done"


async def test_a_fact_is_not_lost_to_one_that_is_near_to_another_new_fact_only(desk: Desk) -> None:
    await desk.memory.add(DOG)
    await desk.said("Rex is ill, and I play chess", "Oh!")
    await desk.learn(found("User's dog Rex is ill", "User plays chess with the dog next door"), verdict(3, same_as=1))
    assert len(await desk.memory.texts(status="current")) >= 2


async def test_while_the_judge_is_away_the_turn_waits(desk: Desk) -> None:
    await desk.memory.add(DOG)
    prompt = await desk.said("My dog is Rex", "I know!")
    await desk.learn(found(SAME_DOG), ModelUnavailableError("away"))
    row = await desk.row(prompt)
    assert (row.learn, row.learn_tries, row.lesson) == ("due", 1, None)
    desk.memory.now = row.learn_at or 0.0
    await desk.learn(found(SAME_DOG), verdict(2, same_as=1))
    assert (await desk.row(prompt)).learn == "done"
    assert await desk.memory.texts() == [DOG]


async def test_a_judge_that_knows_no_form_is_asked_without_it(desk: Desk) -> None:
    await desk.memory.add(DOG)
    await desk.said("My dog is Rex", "I know!")
    await desk.learn(found(SAME_DOG), FormatRefusedError("no"), verdict(2, same_as=1))
    assert [request.answer_format is None for request in desk.model.requests] == [False, False, True]
    assert await desk.memory.texts() == [DOG]


async def test_a_chore_killed_after_the_verdict_goes_on_by_the_same_verdict(desk: Desk) -> None:
    """The model is not asked again: the verdict stands in the lesson."""
    await desk.memory.add("User lives in Berlin")
    prompt = await desk.said("I have moved to Munich, with my dog Rex", "Nice!")
    facts = found("User lives in Munich", "User has moved to Munich", DOG)
    said = [{"new": 2, "same_as": 0, "replaces": [1]}, {"new": 3, "same_as": 2, "replaces": []}]
    with pytest.raises(KeyboardInterrupt):
        await desk.learn(facts, completion(json.dumps({"verdicts": said})), facts=desk.dying())
    assert (await desk.row(prompt)).learn == "ready"
    await desk.learn()
    assert await desk.memory.texts(status="current") == [DOG, "User lives in Munich"]
    assert await desk.memory.texts(status="superseded") == ["User lives in Berlin"]


async def test_only_facts_of_the_same_owner_are_shown_to_the_judge(desk: Desk) -> None:
    await desk.memory.add(DOG)
    desk.memory.holder = desk.memory.holder.model_copy(update={"owner": "eve"})
    await desk.said("My dog is Rex", "Nice!")
    await desk.learn(found(SAME_DOG))
    assert len(desk.model.requests) == 1
    where = FactFilter(tenant=desk.memory.holder.tenant, owner="eve")
    assert [fact.text for fact in (await desk.memory.facts.page(where, cursor=None, limit=9)).items] == [SAME_DOG]
