"""Facts learned from turns, in the background."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from activities.facts import Facts
from activities.learning import MAX_TRIES, LearnFacts
from adapters import qdrant_points as points
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_facts import QdrantLessons
from domain import ids
from domain.agent import Agent
from domain.context_record import ContextRecord, RecalledNote
from domain.errors import FormatRefusedError, ModelUnavailableError
from domain.facts import FactFilter, Learned, NewFact
from domain.memory import Memory as Kept
from domain.messages import Message
from tests.activities import test_facts
from tests.activities.fakes import Catalog, FakeModel, completion

store = test_facts.store
AGENT = Agent("learner", memory=Kept(extract=True))


def found(*texts: str, replaces: Sequence[int] = ()) -> Any:
    facts = [{"text": text, "confidence": 0.9, "replaces": list(replaces)} for text in texts]
    return completion(json.dumps({"facts": facts}))


def verdict(new: int, same_as: int = 0, replaces: Sequence[int] = ()) -> Any:
    said = {"new": new, "same_as": same_as, "replaces": list(replaces)}
    return completion(json.dumps({"verdicts": [said]}))


class Dying(Facts):
    """Killed in the middle of a turn's facts."""

    async def remember(self, new: NewFact) -> Learned:
        if "Rex" in new.text:
            raise KeyboardInterrupt
        return await super().remember(new)


class Desk:
    """Turns of one thread, and what is learned from them."""

    def __init__(self, store: EdgeStore) -> None:
        self.store = store
        self.memory = test_facts.Memory(store, agent=AGENT.name)
        self.lessons = QdrantLessons(store.collection(points.MESSAGES))
        self.thread = uuid4().hex
        self.turn = 0
        self.model = FakeModel()

    async def said(self, user: str, assistant: str, recalled: str = "", shown: Sequence[Message] = ()) -> Message:
        """A turn, in which lines were `recalled` by the tool, or messages `shown` to the model."""
        self.turn += 1
        self.memory.now += 10
        prompt = self._row("prompt", user, ids.PROMPT_ORDINAL, learn="due", learn_at=0.0)
        record = ContextRecord(recalled=[RecalledNote(thread=row.thread, ids=[row.id]) for row in shown])
        rows = [prompt, self._row("answer", assistant, ids.ANSWER_ORDINAL, context=record.stored())]
        if recalled:
            rows.append(self._row("tool:0", recalled, ids.TOOL_ORDINAL, name="recall"))
        await self.store.insert(rows)
        return prompt

    def _row(self, slot: str, text: str, ordinal: int, **fields: Any) -> Message:
        role = {"prompt": "user", "answer": "assistant"}.get(slot, "tool")
        return Message(
            id=ids.message_id(self.thread, f"p{self.turn}", slot),
            thread=self.thread,
            prompt_id=f"p{self.turn}",
            slot=slot,
            role=role,
            tenant=self.memory.holder.tenant,
            owner=self.memory.holder.owner,
            agent=AGENT.name,
            turn=self.turn,
            seq=ids.seq(self.turn, 0, ordinal),
            status="answered" if role == "user" else "complete",
            text=text,
            created_at=self.memory.now,
            **fields,
        )

    async def learn(self, *script: Any, facts: Facts | None = None) -> None:
        self.model = FakeModel(*([item] for item in script))
        chore = LearnFacts(
            self.store, self.lessons, facts or self.memory.facts, self.model, Catalog(AGENT), lambda: self.memory.now
        )
        while await chore.work():
            pass

    def dying(self) -> Facts:
        return Dying(self.memory.facts._facts, self.memory.facts._notes, test_facts.embedder(), WordLexicon())

    async def row(self, prompt: Message) -> Message:
        [row] = await self.store.get([prompt.id])
        return row


@pytest.fixture
def desk(store: EdgeStore) -> Desk:
    return Desk(store)


async def test_a_turn_is_learned_from_once_and_a_fact_names_its_source(desk: Desk) -> None:
    prompt = await desk.said("I live in Berlin and have a dog, Rex", "Nice!")
    await desk.learn(found("User lives in Berlin", "User has a dog named Rex"))
    await desk.learn()
    assert await desk.memory.texts() == ["User has a dog named Rex", "User lives in Berlin"]
    assert (await desk.row(prompt)).learn == "done"
    found_fact = (await desk.memory.facts.search("Berlin", FactFilter(tenant=desk.memory.holder.tenant), 1))[0]
    fact = found_fact.fact
    assert (fact.message, fact.thread, fact.turn, fact.confidence) == (prompt.id, desk.thread, 1, 0.9)
    assert (fact.origin, fact.valid_from) == ("extracted", prompt.created_at)


async def test_the_model_is_shown_what_is_known_and_what_was_said_but_nothing_recalled(desk: Desk) -> None:
    await desk.memory.add("User has a dog named Rex")
    await desk.said("Rex is ill", "Poor dog!", recalled="- User once had a parrot [x]")
    await desk.learn(found())
    [request] = desk.model.requests
    shown = request.messages[-1].text
    assert "1. User has a dog named Rex" in shown
    assert "User: Rex is ill\nAssistant: Poor dog!" in shown
    assert "parrot" not in shown


async def test_a_contradiction_replaces_what_the_model_was_shown(desk: Desk) -> None:
    await desk.said("I live in Berlin", "Nice!")
    await desk.learn(found("User lives in Berlin"))
    await desk.said("I have moved: I live in Munich now", "Nice!")
    await desk.learn(found("User lives in Munich", replaces=[1, 7, -1]), verdict(2))
    assert await desk.memory.find("where does the user live") == ["User lives in Munich"]
    assert await desk.memory.texts(status="superseded") == ["User lives in Berlin"]


async def test_what_the_answer_repeats_of_what_was_recalled_is_not_learned(desk: Desk) -> None:
    await desk.said("What is my pet?", "You once had a parrot.", recalled="- 2020-01-01, user: I had a parrot once")
    await desk.learn(found("User had a parrot once"))
    assert await desk.memory.texts() == []


async def test_what_the_answer_repeats_of_messages_in_its_context_is_not_learned_unless_the_user_says_it(
    desk: Desk,
) -> None:
    old = await desk.said("When I was small I had a parrot. It could whistle.", "Lovely!")
    await desk.learn(found())
    await desk.said("What is my pet?", "You once had a parrot.", shown=[old])
    await desk.learn(found("User had a parrot once"))
    assert await desk.memory.texts() == []
    await desk.said("I had a parrot once", "I know.", shown=[old])
    await desk.learn(found("User had a parrot once"))
    assert await desk.memory.texts() == ["User had a parrot once"]


async def test_a_chore_killed_in_its_middle_stores_the_same_facts_when_it_goes_on(desk: Desk) -> None:
    """Also if the model would say it otherwise now: it is not asked again."""
    await desk.said("I live in Berlin and have a dog, Rex", "Nice!")
    with pytest.raises(KeyboardInterrupt):
        await desk.learn(found("User lives in Berlin", "User has a dog named Rex"), facts=desk.dying())
    assert await desk.memory.texts() == ["User lives in Berlin"]
    await desk.learn()
    assert await desk.memory.texts() == ["User has a dog named Rex", "User lives in Berlin"]


@pytest.mark.parametrize(
    "trouble", [ModelUnavailableError("away"), completion("I found nothing")], ids=["away", "prose"]
)
async def test_a_model_that_fails_is_asked_again_later_and_given_up_in_the_end(desk: Desk, trouble: Any) -> None:
    prompt = await desk.said("I live in Berlin", "Nice!")
    for tries in range(1, MAX_TRIES):
        await desk.learn(trouble)
        row = await desk.row(prompt)
        assert (row.learn, row.learn_tries) == ("due", tries)
        assert row.learn_at is not None
        assert row.learn_at > desk.memory.now
        desk.memory.now = row.learn_at
    await desk.learn(trouble)
    row = await desk.row(prompt)
    assert row.learn == "failed"
    assert row.lesson is not None
    assert row.lesson["tries"] == MAX_TRIES
    assert await desk.memory.texts() == []


async def test_a_model_that_knows_no_form_is_asked_without_it(desk: Desk) -> None:
    await desk.said("I live in Berlin", "Nice!")
    await desk.learn(FormatRefusedError("no"), found("User lives in Berlin"))
    assert [request.answer_format is None for request in desk.model.requests] == [False, True]
    assert await desk.memory.texts() == ["User lives in Berlin"]
