"""Learning: facts out of what was said in a turn, in the background.

What the model found, and what it judged that to be to what is known, is kept with the prompt before anything is done with it,
so that whoever is cut off and whoever goes on store the same facts. A model that fails is asked again later, and in the end not any more; no turn knows of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from activities.asking import ask_for
from activities.echoes import is_echo, recalled_in
from activities.facts_ports import FactMemory, Lessons
from activities.judging import Judge, NewFound
from activities.ports import Catalog, ChatModel, Store
from activities.rows import asker_of
from domain import ids
from domain.agent import Agent
from domain.chat import ChatMessage
from domain.errors import (
    HookError,
    InputRefusedError,
    ModelRefusedError,
    ModelUnavailableError,
    UnknownAgentError,
)
from domain.facts import MAX_FACT_CHARS, Fact, FactFilter, NewFact, digest_of, fact_id
from domain.memory import Holder, Memory
from domain.messages import Message, preview

BATCH = 5  # turns at a time
TURN_ROWS = 200
SAID_CHARS = 8_000  # of each side
SHOWN = 15  # facts that are known
MOST_FACTS = 10  # of one turn
LEAST_CONFIDENCE = 0.3
MAX_TRIES = 8
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 3_600.0

INSTRUCTIONS = """You keep the long-term memory of an assistant. From one exchange you note facts about the user and their \
world that will still matter in later conversations: who they are, what they like, have, plan and decided. Each fact is \
one sentence that can be read by itself, in the user's language, and begins with "User" where it is about the user. Leave \
out greetings, questions, what holds for today only, general knowledge, and everything that is known already, in whatever \
words. `replaces` lists the numbers of known facts that are no longer so because of the new one. `confidence` is 0 to 1. \
Most exchanges hold nothing: then the list is empty. Answer with JSON only: \
{"facts": [{"text": "...", "confidence": 0.9, "replaces": []}]}"""

log = structlog.get_logger()


class Found(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    confidence: float = Field(ge=0, le=1)
    replaces: list[int]


class FoundFacts(BaseModel):
    """What the model answers; `replaces` are numbers of the facts that it was shown, from 1."""

    model_config = ConfigDict(extra="forbid")

    facts: list[Found]


class LearnFacts:
    """activities.keeping.Chore over the ports it is given."""

    name = "learn facts"

    def __init__(
        self,
        store: Store,
        lessons: Lessons,
        facts: FactMemory,
        model: ChatModel,
        catalog: Catalog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._lessons = lessons
        self._facts = facts
        self._model = model
        self._catalog = catalog
        self._clock = clock
        self._judge = Judge(facts, model)

    async def work(self) -> int:
        rows = await self._lessons.due(self._clock(), BATCH)
        for row in rows:
            try:
                await self._learn(row)
            except ModelUnavailableError as error:
                await self._put_off(row, error, error.retry_after_s)
            except (ModelRefusedError, InputRefusedError, UnknownAgentError, HookError, ValueError) as error:
                await self._put_off(row, error)
        return len(rows)

    async def due(self) -> int:
        return await self._lessons.count_due()

    async def _learn(self, row: Message) -> None:
        agent = await self._agent(row)
        if agent.memory is None:
            await self._settle(row, "done")
            return
        rows = await self._turn(row)
        whole: Message | None = next(iter(await self._store.get([row.id])), None)
        if whole is None or whole.learn not in ("due", "ready"):
            return
        if whole.lesson is None:
            lesson = await self._ask(whole, rows, agent, agent.memory)
            whole = await self._lessons.keep(row.id, lesson)  # another worker's, if that was quicker
        if whole is not None and whole.lesson is not None:
            await self._apply(whole, rows, agent.memory, agent.name)
            await self._settle(row, "done")

    async def _agent(self, row: Message) -> Agent:
        record = await self._store.get_thread(row.thread)
        return await self._catalog.agent(row.agent or self._catalog.default, asker_of(row.thread, record))

    async def _turn(self, row: Message) -> list[Message]:
        """The rows of its turn, in order; of its last try."""
        before = await self._store.history(row.thread, ids.first_seq((row.turn or 0) + 1), TURN_ROWS)
        mine = [other for other in before if other.turn == row.turn and other.id != row.id]
        return [row, *(other for other in mine if other.role == "user" or other.branch == row.branch)]

    async def _ask(self, row: Message, rows: Sequence[Message], agent: Agent, memory: Memory) -> dict[str, Any]:
        """What is new, judged, with the ids of what it replaces. Raises: ModelError; ValueError if it is not what was asked."""
        holder, model = _holder(row, agent.name), memory.model or agent.models[0]
        space = holder.space(memory.scope)
        where = FactFilter(tenant=holder.tenant, spaces=[space], status="current")
        known = [hit.fact for hit in await self._facts.search(_said_by("user", rows), where, SHOWN)]
        answer, completion = await ask_for(FoundFacts, "facts", self._model, model, _question(known, rows))
        found = await self._news(answer.facts[:MOST_FACTS], known, rows)
        judged = await self._judge.judge(found, where, space, row.id, model)
        usage = completion.usage.model_dump() if completion.usage else None
        facts = [fact.model_dump() for fact in found]
        return {"facts": facts, "model": completion.model, "usage": usage, "judged": judged}

    async def _news(self, found: Sequence[Found], known: Sequence[Fact], rows: Sequence[Message]) -> list[NewFound]:
        """What stems from what was recalled in the turn, and not from the user, is none."""
        said, recalled = _said_by("user", rows), await recalled_in(rows, self._store)
        news: dict[str, NewFound] = {}
        for fact in found:
            if fact.confidence < LEAST_CONFIDENCE or not _is_fact(fact.text):
                continue
            if is_echo(fact.text, said, recalled):
                log.info("fact.echo", message_id=rows[0].id)
                continue
            replaced = [known[n - 1].id for n in dict.fromkeys(fact.replaces) if 1 <= n <= len(known)]
            new = NewFound(text=fact.text, confidence=fact.confidence, replaces=replaced)
            news.setdefault(digest_of(fact.text), new)
        return list(news.values())

    async def _apply(self, row: Message, rows: Sequence[Message], memory: Memory, agent: str) -> None:
        """Remember what is new."""
        holder, said = _holder(row, agent), _said_by("user", rows)
        for found in map(NewFound.model_validate, (row.lesson or {}).get("facts", [])):
            if found.same_as is not None:
                mine = fact_id(holder.space(memory.scope), row.id, digest_of(found.text))
                log.info("fact.known", fact_id=mine, known_id=found.same_as, message_id=row.id)
                continue
            new = NewFact(
                text=found.text,
                confidence=found.confidence,
                replaces=found.replaces,
                holder=holder,
                scope=memory.scope,
                origin="extracted",
                message=row.id,
                thread=row.thread,
                turn=row.turn,
                said_at=row.created_at,
                said=said,
            )
            learned = await self._facts.remember(new)
            log.info("fact.learned", fact_id=learned.fact.id, known=learned.known, replaced=len(learned.replaced))

    async def _put_off(self, row: Message, error: Exception, wait_s: float | None = None) -> None:
        tries, why = row.learn_tries + 1, preview(str(error))
        if tries >= MAX_TRIES:
            log.warning("learning.given_up", message_id=row.id, tries=tries, error=why)
            await self._settle(row, "failed", learn_tries=tries, lesson={"error": why, "tries": tries})
            return
        wait = max(wait_s or 0.0, min(FIRST_WAIT_S * 2 ** (tries - 1), LONGEST_WAIT_S))
        log.warning("learning.put_off", message_id=row.id, tries=tries, wait_s=wait, error=why)
        await self._lessons.settle(row.id, {"learn_tries": tries, "learn_at": self._clock() + wait})

    async def _settle(self, row: Message, how: str, **changes: Any) -> None:
        await self._lessons.settle(row.id, {"learn": how} | changes)


def _holder(row: Message, agent: str) -> Holder:
    return Holder(tenant=row.tenant, owner=row.owner, agent=agent)


def _said_by(role: str, rows: Sequence[Message]) -> str:
    """Without what tools gave back: recalled text is among it."""
    texts = [row.text for row in rows if row.role == role and row.text.strip()]
    return "\n".join(texts)[:SAID_CHARS]


def _question(known: Sequence[Fact], rows: Sequence[Message]) -> list[ChatMessage]:
    shown = "\n".join(f"{number}. {fact.text}" for number, fact in enumerate(known, start=1)) or "nothing yet"
    asked = f"Known already:\n{shown}\n\nThe exchange:\nUser: {_said_by('user', rows)}\n"
    asked += f"Assistant: {_said_by('assistant', rows)}"
    return [ChatMessage("system", INSTRUCTIONS), ChatMessage("user", asked)]


def _is_fact(text: str) -> bool:
    text = text.strip()
    return 1 < len(text.split()) and len(text) <= MAX_FACT_CHARS and not text.endswith("?")
