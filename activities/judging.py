"""Judging: whether a new fact says in other words what is known, or ends what was so until now.

A new fact is lost only if the model names a fact that is near to it and says the same. Whatever else the model answers, or if
it refuses, the new facts stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from activities.asking import ask_for
from activities.facts_ports import FactMemory
from activities.ports import ChatModel
from domain.chat import ChatMessage
from domain.errors import ModelRefusedError
from domain.facts import MAX_REPLACED, Fact, FactFilter, digest_of, fact_id, words

SEARCHED = 15
NEIGHBOURS = 5  # of a new fact
LIKE = 0.35  # cosine similarity from which two facts may be of one subject

INSTRUCTIONS = """You keep the long-term memory of an assistant. You are given facts under numbers: what is known, and what \
is new. Say of each new fact what it is to those that have lower numbers. `same_as` is the number of one that says the same \
in other words, so that nothing is learned from the new one; 0 if none does. What is of another person, relation, thing, time, \
place, name or number, or adds something, is not the same; nor is what you are not sure of. `replaces` lists the numbers of \
those that can no longer be true because the new one is, and of all others that say the same, if several do; what may be true \
beside it stays. Answer with JSON only: \
{"verdicts": [{"new": 3, "same_as": 0, "replaces": []}]}"""

log = structlog.get_logger()


class NewFound(BaseModel):
    """A new fact as it stands in a lesson. `replaces` are ids of facts; `same_as` that of one that makes it needless."""

    model_config = ConfigDict(extra="ignore")

    text: str
    confidence: float
    replaces: list[str] = Field(default_factory=list)
    same_as: str | None = None


class Verdict(BaseModel):
    """Facts by the numbers under which they were shown."""

    model_config = ConfigDict(extra="forbid")

    new: int
    same_as: int
    replaces: list[int]


class Verdicts(BaseModel):
    """What the model answers."""

    model_config = ConfigDict(extra="forbid")

    verdicts: list[Verdict]


@dataclass
class Question:
    """What is asked: `known` and behind them `news`, numbered through from 1. `near` are what is near to each of these."""

    source: str  # the message from which the new facts are
    space: str  # where they are to be kept
    known: list[Fact] = field(default_factory=list)
    news: list[NewFound] = field(default_factory=list)
    near: list[list[Fact]] = field(default_factory=list)

    @property
    def text(self) -> str:
        texts = [fact.text for fact in self.known] + [new.text for new in self.news]
        lines = [f"{number}. {' '.join(text.split())}" for number, text in enumerate(texts, start=1)]
        return "\n".join(["Known:", *lines[: len(self.known)], "", "New:", *lines[len(self.known) :]])

    def id_of(self, new: NewFound) -> str:
        """Of the fact that it becomes, or stands for."""
        return new.same_as or fact_id(self.space, self.source, digest_of(new.text))

    def settle(self, verdicts: Sequence[Verdict]) -> None:
        """Note in the new facts what they are. Numbers that nobody can mean count for nothing."""
        said = {verdict.new: verdict for verdict in reversed(verdicts)}
        ids = {number: fact.id for number, fact in enumerate(self.known, start=1)}
        for number, (new, near) in enumerate(zip(self.news, self.near, strict=True), start=len(self.known) + 1):
            verdict = said.get(number, Verdict(new=number, same_as=0, replaces=[]))
            close = {fact.id for fact in near}
            may_mean = {n: known for n, known in ids.items() if n > len(self.known) or known in close}
            same = _exact(new, near) or may_mean.get(verdict.same_as)
            _note(new, same, [may_mean[n] for n in verdict.replaces if n in may_mean])
            ids[number] = self.id_of(new)


class Judge:
    """A model that is asked once for all that is new in a turn, and not at all if nothing like it is known."""

    def __init__(self, facts: FactMemory, model: ChatModel) -> None:
        self._facts = facts
        self._model = model

    async def judge(
        self, found: Sequence[NewFound], where: FactFilter, space: str, source: str, model: str | None
    ) -> dict[str, Any] | None:
        """Note in the facts what they are to those that are known; return the model's name and usage, None if not asked.

        Raises: ModelUnavailableError.
        """
        question = await self._question(found, where, Question(source, space))
        if not question.news:
            return None
        messages = [ChatMessage("system", INSTRUCTIONS), ChatMessage("user", question.text)]
        try:
            answer, completion = await ask_for(Verdicts, "verdicts", self._model, model, messages)
        except (ModelRefusedError, ValueError) as error:
            log.warning("facts.not_judged", message_id=source, error=str(error))
            return None
        question.settle(answer.verdicts)
        return {"model": completion.model, "usage": completion.usage.model_dump() if completion.usage else None}

    async def _question(self, found: Sequence[NewFound], where: FactFilter, question: Question) -> Question:
        """The new facts that have some near to them, of what is known or among themselves; the same words need no judge."""
        near = [await self._near(new.text, where) for new in found]
        known: dict[str, Fact] = {}
        for new, facts in zip(found, near, strict=True):
            exact = _exact(new, facts)
            _note(new, exact, [])
            alike = exact is None and any(other is not new and words(other.text) & words(new.text) for other in found)
            if alike or any(fact.id != exact for fact in facts):
                known |= {fact.id: fact for fact in facts}
                question.news.append(new)
                question.near.append(facts)
        question.known = list(known.values())
        return question

    async def _near(self, text: str, where: FactFilter) -> list[Fact]:
        hits = await self._facts.search(text, where, SEARCHED)
        like = [hit.fact for hit in hits if (hit.dense or 0.0) >= LIKE or words(hit.fact.text) & words(text)]
        return like[:NEIGHBOURS]


def _exact(new: NewFound, facts: Sequence[Fact]) -> str | None:
    """The id of the one in the same words."""
    return next((fact.id for fact in facts if fact.digest == digest_of(new.text)), None)


def _note(new: NewFound, same: str | None, ended: Sequence[str]) -> None:
    """What says the same as one fact and ends another, or another double, takes the place of both."""
    others = list(dict.fromkeys(other for other in (*ended, *new.replaces) if other != same))
    new.same_as = None if others else same
    new.replaces = [*([same] if same and others else []), *others][:MAX_REPLACED]
