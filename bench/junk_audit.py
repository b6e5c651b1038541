"""How much junk 30 days of chats leave in the memory of facts: doubles, recalled text stored again, contradictions.

The model that extracts is scripted, and as bad as a small one: it says known facts again in other words, takes what the
assistant repeats for news, extracts recalled text wherever it sees some, and does not always name what it contradicts.
Everything else is the product's: the chore, the memory, the embedded store, the bundled embedding model.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from activities.facts import Facts
from activities.learning import LearnFacts
from adapters import qdrant_points as points
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_facts import QdrantFacts, QdrantLessons, QdrantNotes
from adapters.static_embed import StaticEmbedder
from catalog.registry import Registry
from domain import ids
from domain.agent import Agent
from domain.facts import Fact, FactFilter
from domain.memory import Memory
from domain.messages import Message
from domain.model import Completion, ModelRequest, TextDelta

DAYS, TURNS_A_DAY = 30, 12
OWNERS = ("ada", "eve", "kim")
DAY_S = 86_400.0
AGENT = Agent("diarist", memory=Memory(extract=True))
NEAR_PERCENT = 2.0

# What users say of themselves: {v} is the value, which changes now and then. Sayings of one subject mean the same.
SUBJECTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "home": (("User lives in {v}", "The user's home is in {v}"), ("Berlin", "Munich", "Oslo", "Lima", "Porto")),
    "dog": (("User has a dog named {v}", "The user's dog is called {v}"), ("Rex", "Bello", "Luna")),
    "job": (("User works as a {v}", "The user's job is {v}"), ("nurse", "teacher", "pilot", "baker")),
    "car": (("User drives a {v}", "The user's car is a {v}"), ("blue Volvo", "red Fiat", "white Tesla")),
    "study": (("User is learning {v}", "The user studies {v}"), ("Spanish", "Polish", "Greek", "Danish")),
    "allergy": (("User is allergic to {v}", "The user has a {v} allergy"), ("peanuts", "pollen", "shellfish")),
    "daughter": (("User's daughter is called {v}", "The user has a daughter named {v}"), ("Mia", "Ida", "Lea")),
    "colour": (("User's favourite colour is {v}", "The user's favorite color is {v}"), ("green", "orange", "black")),
    "team": (("User supports the team of {v}", "The user is a fan of the team of {v}"), ("Leeds", "Ajax", "Lyon")),
    "drink": (("User drinks {v} every morning", "Every morning the user drinks {v}"), ("coffee", "matcha", "cocoa")),
}
Meaning = tuple[str, str]  # subject and value
MEANINGS: dict[str, Meaning] = {
    saying.format(v=value): (subject, value)
    for subject, (sayings, values) in SUBJECTS.items()
    for saying in sayings
    for value in values
}


class BadExtractor:
    """activities.ports.ChatModel: extracts each known saying that it sees anywhere in what it is given."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def stream(self, request: ModelRequest) -> AsyncGenerator[TextDelta | Completion, None]:
        known, _, exchange = request.messages[-1].text.partition("The exchange:")
        shown = {line.split(". ", 1)[1]: n for n, line in enumerate(known.splitlines()) if ". " in line}
        facts = [self._fact(meaning, shown) for text, meaning in MEANINGS.items() if text in exchange]
        if shown and self._chance.random() < 0.3:  # says again what it was shown
            facts.append(self._fact(MEANINGS[self._chance.choice(sorted(shown))], {}))
        yield Completion(json.dumps({"facts": facts}), (), "stop", "bad", None, {})

    def _fact(self, meaning: Meaning, shown: dict[str, int]) -> dict[str, object]:
        subject, value = meaning
        rivals = [n for text, n in shown.items() if MEANINGS[text][0] == subject and MEANINGS[text][1] != value]
        text = self._chance.choice(SUBJECTS[subject][0]).format(v=value)
        return {"text": text, "confidence": 0.8, "replaces": rivals if self._chance.random() < 0.9 else []}


@dataclass
class Counts:
    stored: int = 0
    current: int = 0
    exact: int = 0
    near: int = 0
    recalled: int = 0
    contradicted: int = 0
    superseded: int = 0
    auditable: int = 0
    unresolved: int = 0
    foreign: int = 0
    said: dict[str, Meaning] = field(default_factory=dict)  # by the prompt, what its user said

    @property
    def near_percent(self) -> float:
        return 100.0 * (self.exact + self.near) / max(1, self.current)

    def add(self, facts: list[Fact], owner: str) -> None:
        current = [fact for fact in facts if fact.status == "current"]
        meant = Counter(MEANINGS[fact.text] for fact in current)
        digests = Counter(fact.digest for fact in current)
        exact = sum(digests.values()) - len(digests)
        self.stored += len(facts)
        self.current += len(current)
        self.exact += exact
        self.near += sum(meant.values()) - len(meant) - exact
        self.recalled += sum(self.said.get(fact.message) != MEANINGS[fact.text] for fact in facts)
        ended = [fact for fact in facts if fact.status == "superseded"]
        self.superseded += len(ended)
        self.auditable += sum(fact.superseded_by is not None and fact.valid_to is not None for fact in ended)
        subjects = Counter(subject for subject, _ in meant)
        self.unresolved += sum(subjects.values()) - len(subjects)
        self.foreign += sum(fact.owner != owner for fact in facts)


class Life:
    """One owner's 30 days: what is said is true on its day, and now and then it changes."""

    def __init__(self, store: EdgeStore, facts: Facts, owner: str, chance: random.Random) -> None:
        self._store, self._facts, self._owner, self._chance = store, facts, owner, chance
        self._true = {subject: chance.choice(values) for subject, (_, values) in SUBJECTS.items()}
        self.turn = 0

    async def say(self, now: float, counts: Counts) -> None:
        subject = self._chance.choice(sorted(SUBJECTS))
        sayings, values = SUBJECTS[subject]
        self.turn += 1
        prompt = self._row("prompt", "", now, learn="due", learn_at=now)
        if self._chance.random() < 0.5:
            if self._chance.random() < 0.15 and (others := [v for v in values if v != self._true[subject]]):
                self._true[subject] = self._chance.choice(others)
                counts.contradicted += 1
            prompt.text = f"By the way: {self._chance.choice(sayings).format(v=self._true[subject])}."
            counts.said[prompt.id] = (subject, self._true[subject])
            answer = "Noted."
        else:
            prompt.text = "What do you know about me?"
            answer = await self._recite()
        recalled = self._row("tool:0", f"Facts:\n{answer}", now, name="recall")
        await self._store.insert([prompt, self._row("answer", answer, now), recalled])

    async def _recite(self) -> str:
        """What is remembered of the owner, and what an earlier conversation has of it, true no longer perhaps."""
        where = FactFilter(tenant="acme", owner=self._owner)
        page = (await self._facts.page(where, cursor=None, limit=200)).items
        chosen = self._chance.sample(page, min(3, len(page)))
        return "\n".join(f"- You told me: {fact.text}." for fact in chosen) or "Nothing yet."

    def _row(self, slot: str, text: str, now: float, **fields: object) -> Message:
        role = {"prompt": "user", "answer": "assistant"}.get(slot, "tool")
        ordinal = {"user": ids.PROMPT_ORDINAL, "assistant": ids.ANSWER_ORDINAL}.get(role, ids.TOOL_ORDINAL)
        known = {
            "id": ids.message_id(self._owner, f"p{self.turn}", slot), "thread": self._owner, "prompt_id": f"p{self.turn}",
            "slot": slot, "role": role, "tenant": "acme", "owner": self._owner, "agent": AGENT.name, "turn": self.turn,
            "seq": ids.seq(self.turn, 0, ordinal), "text": text, "created_at": now,
            "status": "answered" if role == "user" else "complete",
        }  # fmt: skip
        return Message.model_validate(known | fields)


async def audit(folder: Path, *, days: int = DAYS, turns: int = TURNS_A_DAY, seed: int = 1) -> Counts:
    """What is stored after so many days of all owners."""
    chance, counts, now = random.Random(seed), Counts(), [1_000_000.0]
    store = EdgeStore(folder)
    kept, notes = QdrantFacts(store.collection(points.FACTS)), QdrantNotes(store.collection(points.RECORDS))
    facts = Facts(kept, notes, StaticEmbedder.load(), WordLexicon(), lambda: now[0])
    lessons = QdrantLessons(store.collection(points.MESSAGES))
    catalog = Registry([AGENT], AGENT.name)
    chore = LearnFacts(store, lessons, facts, BadExtractor(chance), catalog, lambda: now[0])
    lives = [Life(store, facts, owner, chance) for owner in OWNERS]
    for _ in range(days):
        for _ in range(turns):
            now[0] += DAY_S / turns
            for life in lives:
                await life.say(now[0], counts)
            while await chore.work():
                now[0] += 1
    for owner in OWNERS:
        where = FactFilter(tenant="acme", owner=owner)
        counts.add((await facts.page(where, cursor=None, limit=10_000)).items, owner)
    store.close()
    return counts


async def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    seed = int(os.environ.get("SEED", "1"))
    with tempfile.TemporaryDirectory() as folder:
        counts = await audit(Path(folder) / "store", seed=seed)
    print(f"figure junk.turns={DAYS * TURNS_A_DAY * len(OWNERS)}")
    print(f"figure junk.facts_stored={counts.stored}")
    print(f"figure junk.facts_current={counts.current}")
    print(f"figure junk.exact_duplicates={counts.exact}")
    print(f"figure junk.near_duplicates={counts.near}")
    print(f"figure junk.duplicates_percent={counts.near_percent:.2f}")
    print(f"figure junk.recalled_stored_again={counts.recalled}")
    print(f"figure junk.contradictions_said={counts.contradicted}")
    print(f"figure junk.superseded={counts.superseded}")
    print(f"figure junk.superseded_auditable={counts.auditable}")
    print(f"figure junk.contradictions_unresolved={counts.unresolved}")
    good = counts.recalled == 0 and counts.near_percent < NEAR_PERCENT and counts.auditable == counts.superseded
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
