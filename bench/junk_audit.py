"""How much junk 30 days of chats leave in the memory of facts: doubles, recalled text stored again, contradictions, losses.

The model that extracts is scripted, and as bad as a small one: it says known facts again in other words, takes what the
assistant repeats for news, extracts recalled text wherever it sees some, and does not always name what it contradicts. The
model that judges knows what the sentences mean, and gives so many wrong verdicts; it is also run as one that says nothing.
Everything else is the product's: the chore, the memory, the embedded store, the bundled embedding model.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
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
from bench.ground import figure, say
from catalog.registry import Registry
from domain import ids
from domain.agent import Agent
from domain.context_record import ContextRecord, RecalledNote
from domain.facts import Fact, FactFilter
from domain.memory import Memory
from domain.messages import Message
from domain.model import Completion, ModelRequest, TextDelta

DAYS, TURNS_A_DAY = 30, 12
OWNERS = ("ada", "eve", "kim")
DAY_S = 86_400.0
AGENT = Agent("diarist", memory=Memory(extract=True))
WRONG_PERCENT = 5.0  # of the judge's verdicts

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
    # As near to some of the others as those are to themselves in other words, and not the same.
    "nightcap": (("User drinks {v} every evening", "Every evening the user drinks {v}"), ("coffee", "matcha", "cocoa")),
    "sister": (("User's sister is called {v}", "The user has a sister named {v}"), ("Mia", "Ida", "Lea")),
    "birth": (("User was born in {v}", "The user's place of birth is {v}"), ("Berlin", "Munich", "Oslo")),
    "office": (("User works in {v}", "The user's office is in {v}"), ("Berlin", "Munich", "Oslo", "Lima")),
    "style": (("User likes {v} answers", "The user prefers answers that are {v}"), ("short", "long")),
}
Meaning = tuple[str, str]  # subject and value
MEANINGS: dict[str, Meaning] = {
    saying.format(v=value): (subject, value)
    for subject, (sayings, values) in SUBJECTS.items()
    for saying in sayings
    for value in values
}


class BadModel:
    """activities.ports.ChatModel: extracts each known saying that it sees anywhere in what it is given, and judges facts.

    Of its verdicts `wrong` percent are: they name as the same, or as replaced, or as both, what chance picks, or nothing. With
    None it has none to give, and all that is new is kept.
    """

    def __init__(self, seed: int, wrong: float | None, counts: Counts) -> None:
        self._chance, self._errors = random.Random(seed), random.Random(seed)
        self._wrong, self._counts = wrong, counts

    async def stream(self, request: ModelRequest) -> AsyncGenerator[TextDelta | Completion, None]:
        form, text = request.answer_format, request.messages[-1].text
        answer = self._judge(text) if form is not None and form.name == "verdicts" else self._extract(text)
        yield Completion(json.dumps(answer), (), "stop", "bad", None, {})

    def _extract(self, text: str) -> dict[str, object]:
        known, _, exchange = text.partition("The exchange:")
        shown = {text: n for n, text in _numbered(known).items()}
        facts = [self._fact(meaning, shown) for text, meaning in MEANINGS.items() if text in exchange]
        if shown and self._chance.random() < 0.3:  # says again what it was shown
            facts.append(self._fact(MEANINGS[self._chance.choice(sorted(shown))], {}))
        return {"facts": facts}

    def _fact(self, meaning: Meaning, shown: dict[str, int]) -> dict[str, object]:
        subject, value = meaning
        rivals = [n for text, n in shown.items() if MEANINGS[text][0] == subject and MEANINGS[text][1] != value]
        text = self._chance.choice(SUBJECTS[subject][0]).format(v=value)
        return {"text": text, "confidence": 0.8, "replaces": rivals if self._chance.random() < 0.9 else []}

    def _judge(self, text: str) -> dict[str, object]:
        known, _, new = text.partition("New:")
        shown = {n: MEANINGS[text] for n, text in _numbered(known).items()}
        verdicts = []
        for number, meaning in ((n, MEANINGS[text]) for n, text in _numbered(new).items()):
            if self._wrong is not None:
                verdicts.append(self._verdict(number, meaning, shown))
            shown[number] = meaning
        return {"verdicts": verdicts}

    def _verdict(self, number: int, meaning: Meaning, shown: dict[int, Meaning]) -> dict[str, object]:
        same = next((n for n, other in shown.items() if other == meaning), 0)
        replaces = [n for n, other in shown.items() if other[0] == meaning[0] and n != same]
        self._counts.verdicts += 1
        if self._errors.random() * 100 < (self._wrong or 0.0):
            self._counts.wrong += 1
            other = self._errors.choice([n for n in (0, *shown) if n != same] or [0])
            ended = self._errors.choice([[], *([n] for n in shown if n != same)])
            same, replaces = self._errors.choice([(other, replaces), (same, ended), (other, ended)])
        return {"new": number, "same_as": same, "replaces": replaces}


def _numbered(text: str) -> dict[int, str]:
    parts = [line.split(". ", 1) for line in text.splitlines() if ". " in line]
    return {int(number): fact for number, fact in parts}


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
    lost: int = 0
    hidden: int = 0
    verdicts: int = 0
    wrong: int = 0
    said: dict[str, Meaning] = field(default_factory=dict)  # by the prompt, what its user said

    @property
    def near_percent(self) -> float:
        return 100.0 * (self.exact + self.near) / max(1, self.current)

    def add(self, facts: list[Fact], life: Life) -> None:
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
        self.foreign += sum(fact.owner != life.owner for fact in facts)
        self.lost += len(life.told - {MEANINGS[fact.text] for fact in facts if fact.status != "forgotten"})
        self.hidden += len({told for told in life.told if life.true[told[0]] == told[1]} - set(meant))


class Life:
    """One owner's 30 days: what is said is true on its day, and now and then it changes."""

    def __init__(self, store: EdgeStore, facts: Facts, owner: str, chance: random.Random) -> None:
        self._store, self._facts, self._chance = store, facts, chance
        self._reciting = random.Random(chance.random())  # what is said is the same, whatever is remembered
        self.owner = owner
        self.true = {subject: chance.choice(values) for subject, (_, values) in SUBJECTS.items()}
        self.told = set[Meaning]()
        self.turn = 0

    async def say(self, now: float, counts: Counts) -> None:
        self.turn += 1
        prompt = self._row("prompt", "", now, learn="due", learn_at=now)
        if self._chance.random() < 0.5:
            subject, saying = self._news(counts)
            prompt.text = f"By the way: {saying}."
            counts.said[prompt.id] = (subject, self.true[subject])
            self.told.add((subject, self.true[subject]))
            await self._store.insert([prompt, self._row("answer", "Noted.", now)])
            return
        prompt.text = "What do you know about me?"
        facts = await self._remembered()
        text = "\n".join(f"- You told me: {fact.text}." for fact in facts) or "Nothing yet."
        if self._chance.random() < 0.5:  # by the tool, or for the context
            rows = [self._row("answer", text, now), self._row("tool:0", f"Facts:\n{text}", now, name="recall")]
        else:
            note = RecalledNote(thread=self.owner, ids=[fact.message for fact in facts])
            rows = [self._row("answer", text, now, context=ContextRecord(recalled=[note]).stored())]
        await self._store.insert([prompt, *rows])

    def _news(self, counts: Counts) -> tuple[str, str]:
        subject = self._chance.choice(sorted(SUBJECTS))
        sayings, values = SUBJECTS[subject]
        if self._chance.random() < 0.15 and (others := [v for v in values if v != self.true[subject]]):
            self.true[subject] = self._chance.choice(others)
            counts.contradicted += any(told == subject for told, _ in self.told)
        return subject, self._chance.choice(sayings).format(v=self.true[subject])

    async def _remembered(self) -> list[Fact]:
        """Some of what is remembered of the owner, and what an earlier conversation has of it, true no longer perhaps."""
        where = FactFilter(tenant="acme", owner=self.owner)
        page = (await self._facts.page(where, cursor=None, limit=200)).items
        return self._reciting.sample(page, min(3, len(page)))

    def _row(self, slot: str, text: str, now: float, **fields: object) -> Message:
        role = {"prompt": "user", "answer": "assistant"}.get(slot, "tool")
        ordinal = {"user": ids.PROMPT_ORDINAL, "assistant": ids.ANSWER_ORDINAL}.get(role, ids.TOOL_ORDINAL)
        known = {
            "id": ids.message_id(self.owner, f"p{self.turn}", slot), "thread": self.owner, "prompt_id": f"p{self.turn}",
            "slot": slot, "role": role, "tenant": "acme", "owner": self.owner, "agent": AGENT.name, "turn": self.turn,
            "seq": ids.seq(self.turn, 0, ordinal), "text": text, "created_at": now,
            "status": "answered" if role == "user" else "complete",
        }  # fmt: skip
        return Message.model_validate(known | fields)


async def audit(
    folder: Path, *, days: int = DAYS, turns: int = TURNS_A_DAY, seed: int = 1, wrong: float | None = WRONG_PERCENT
) -> Counts:
    """What is stored after so many days of all owners. `wrong`: percent of the judge's verdicts; None: without a judge."""
    counts, now = Counts(), [1_000_000.0]
    store = EdgeStore(folder)
    kept, notes = QdrantFacts(store.collection(points.FACTS)), QdrantNotes(store.collection(points.RECORDS))
    facts = Facts(kept, notes, StaticEmbedder.load(), WordLexicon(), lambda: now[0])
    lessons = QdrantLessons(store.collection(points.MESSAGES))
    catalog = Registry([AGENT], AGENT.name)
    chore = LearnFacts(store, lessons, facts, BadModel(seed, wrong, counts), catalog, lambda: now[0])
    lives = [Life(store, facts, owner, random.Random(f"{seed} {owner}")) for owner in OWNERS]
    for _ in range(days):
        for _ in range(turns):
            now[0] += DAY_S / turns
            for life in lives:
                await life.say(now[0], counts)
            while await chore.work():
                now[0] += 1
    for life in lives:
        where = FactFilter(tenant="acme", owner=life.owner)
        counts.add((await facts.page(where, cursor=None, limit=10_000)).items, life)
    store.close()
    return counts


def report(counts: Counts, name: str) -> None:
    figure(f"{name}.facts_stored", counts.stored, "facts")
    figure(f"{name}.facts_current", counts.current, "facts")
    figure(f"{name}.exact_duplicates", counts.exact, "facts")
    figure(f"{name}.near_duplicates", counts.near, "facts")
    figure(f"{name}.duplicates_percent", counts.near_percent, "%")
    figure(f"{name}.recalled_stored_again", counts.recalled, "facts")
    figure(f"{name}.contradictions_said", counts.contradicted, "times")
    figure(f"{name}.superseded", counts.superseded, "facts")
    figure(f"{name}.superseded_auditable", counts.auditable, "facts")
    figure(f"{name}.contradictions_unresolved", counts.unresolved, "facts")
    figure(f"{name}.lost", counts.lost, "facts")
    figure(f"{name}.true_not_current", counts.hidden, "facts")


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    seed = int(os.environ.get("SEED", "1"))
    say(f"seed {seed}: {len(OWNERS)} owners, {DAYS * TURNS_A_DAY * len(OWNERS)} turns; both models are scripted.")
    say(f"The judge knows what each sentence means; of 100 verdicts {WRONG_PERCENT:g} are wrong:")
    say("they name what chance picks as the same, as replaced, or as both, of all that the judge is shown.")
    with tempfile.TemporaryDirectory() as folder:
        counts = await audit(Path(folder) / "judged", seed=seed)
        right = await audit(Path(folder) / "right", seed=seed, wrong=0.0)
        unjudged = await audit(Path(folder) / "unjudged", seed=seed, wrong=None)
    report(counts, "junk")
    figure("junk.verdicts", counts.verdicts, "verdicts")
    figure("junk.verdicts_wrong", counts.wrong, "verdicts")
    say("lost: said by the user, and neither current nor superseded. true_not_current: said last, and not current.")
    say("The same with a judge that is never wrong:")
    report(right, "junk.right")
    say("The same without a judge:")
    report(unjudged, "junk.unjudged")


if __name__ == "__main__":
    asyncio.run(main())
