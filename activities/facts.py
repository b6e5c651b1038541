"""The memory of facts: what is known is not stored again, what is replaced stays to be looked up.

A newer fact is written first, insert-only, with the names of those it replaces, then those are closed: whoever is cut off
between the two does the same again, and until then readers count them as replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from activities.facts_ports import FactStore, NoteStore
from activities.ports import Embedder, Lexicon
from domain.errors import ModelError, UnavailableError
from domain.facts import (
    Fact,
    FactFilter,
    FoundFact,
    Learned,
    NewFact,
    adds_nothing,
    digest_of,
    fact_id,
    fused,
    may_return,
    normalised,
)
from domain.memory import Holder, Notes, NotesChange
from domain.messages import Page
from domain.vectors import WORDS, Dense, Sparse, Vector

NEAREST = 20  # facts that a new one is held against
IN_LIST = 60  # hits of each kind, see domain.facts.fused
NEAR = 0.5  # cosine similarity from which a fact may be contradicted
LONGEST_CHAIN = 100
TRIES = 5

log = structlog.get_logger()


class Facts:
    """activities.facts_ports.FactMemory over the ports it is given."""

    def __init__(
        self,
        facts: FactStore,
        notes: NoteStore,
        embedder: Embedder,
        lexicon: Lexicon,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._facts = facts
        self._notes = notes
        self._embedder = embedder
        self._lexicon = lexicon
        self._clock = clock
        self._ready = False

    async def remember(self, new: NewFact) -> Learned:
        """Keep a fact unless it is known: all that a thread of its holder may see is looked at, also what was closed."""
        text, now = normalised(new.text), self._clock()
        dense = await self._embed(text)
        replaced = await self._replaced(new)
        near = await self._near(new, text, dense)
        known, source = _known(new.model_copy(update={"text": text}), near, {fact.id for fact in replaced}, now)
        if known is not None and known.message == new.message and new.message:  # a repetition may have to go on
            await self._close(known, await self._facts.get(known.supersedes))
        if known is not None:
            return Learned(fact=known, known=True, replaced=await self._end(known, replaced, new.said_at or now))
        fact = self._fact(new, text, source, replaced, now)
        fact.embedded = self._embedder.name if dense is not None else ""
        vectors: dict[str, Vector] = {WORDS: self._lexicon.document(text)}
        await self._facts.insert([fact], {fact.id: vectors | ({self._embedder.name: dense} if dense else {})})
        [kept] = await self._facts.get([fact.id])
        await self._close(kept, replaced)
        rivals = [old for old, score in near if old.status == "current" and score >= NEAR and old not in replaced]
        return Learned(fact=kept, replaced=kept.supersedes, near=rivals[:5])

    async def search(self, text: str, where: FactFilter, limit: int) -> list[FoundFact]:
        """Best first. Without an embedding, by words alone."""
        if not text.strip():
            return []
        dense, words = await self._embed(text, query=True), self._lexicon.query(text)
        by_meaning = await self._facts.search(self._embedder.name, dense, where, IN_LIST) if dense else []
        by_words = await self._facts.search(WORDS, words, where, IN_LIST) if _says_anything(words) else []
        return fused(by_meaning, by_words, limit)

    async def forget(self, fact_id: str, spaces: Sequence[str] | None = None) -> Fact | None:
        found = [fact for fact in await self._facts.get([fact_id]) if spaces is None or fact.space in spaces]
        if not found:
            return None
        now = self._clock()
        changes = {"status": "forgotten", "valid_to": now, "updated_at": now}
        return await self._facts.close(fact_id, changes)

    async def history(self, fact_id: str) -> list[Fact]:
        found: dict[str, Fact] = {}
        wanted = [fact_id]
        while wanted and len(found) < LONGEST_CHAIN:
            fresh = [fact for fact in await self._facts.get(wanted) if fact.id not in found]
            fresh += [fact for fact in await self._facts.successors([f.id for f in fresh]) if fact.id not in found]
            found |= {fact.id: fact for fact in fresh}
            links = {link for fact in fresh for link in [*fact.supersedes, fact.superseded_by] if link}
            wanted = [link for link in sorted(links) if link not in found]
        return sorted(await self._facts.get(list(found)), key=lambda fact: (fact.valid_from, fact.created_at))

    async def page(self, where: FactFilter, *, cursor: str | None, limit: int) -> Page[Fact]:
        return await self._facts.page(where, cursor=cursor, limit=limit)

    async def read_notes(self, holder: Holder) -> Notes:
        return await self._notes.notes(holder)

    async def change_notes(self, holder: Holder, change: NotesChange, writer: str) -> Notes:
        """Once for each writer, however often it is asked."""
        for _ in range(TRIES):
            notes = await self._notes.notes(holder)
            if writer in notes.writers:
                return notes
            notes = await self._notes.write(holder, notes, change.applied(notes), writer, self._clock())
            if writer in notes.writers:
                return notes
        raise UnavailableError("the document is changed by others all the time; try again")

    async def embed_some(self, limit: int) -> int:
        """Give facts the vectors of the model of now that they do not have; returns how many. Raises: ModelError."""
        await self._prepare()
        due = await self._facts.unembedded(self._embedder.name, limit)
        if due:
            embedded = await self._embedder.embed([fact.text[: self._embedder.longest] for fact in due])
            for fact, vector in zip(due, embedded.vectors, strict=True):
                await self._facts.place(fact.id, self._embedder.name, [vector])
        return len(due)

    async def _near(self, new: NewFact, text: str, dense: Dense | None) -> list[tuple[Fact, float]]:
        """Facts of whatever status that the holder may see, with their similarity: the nearest, and the same in words."""
        where = FactFilter(tenant=new.holder.tenant, spaces=new.holder.visible)
        same = where.model_copy(update={"digest": digest_of(text)})
        exact = (await self._facts.page(same, cursor=None, limit=NEAREST)).items
        near = await self._facts.search(self._embedder.name, dense, where, NEAREST) if dense else []
        return [(fact, 1.0) for fact in exact] + [(fact, score) for fact, score in near if fact not in exact]

    async def _replaced(self, new: NewFact) -> list[Fact]:
        """What the new one closes: in its own space only, and where that was replaced meanwhile, what replaced it.

        What says the same in the same words is closed only along with others.
        """
        space, digest, heads = new.holder.space(new.scope), digest_of(new.text), dict[str, Fact]()
        for fact in await self._facts.get(new.replaces):
            head = fact
            for _ in range(LONGEST_CHAIN):
                if head.superseded_by is None:
                    break
                head = next(iter(await self._facts.get([head.superseded_by])), head)
            if head.space == space and head.id != fact_id(space, new.message, digest):
                heads[head.id] = head
        return list(heads.values()) if any(head.digest != digest for head in heads.values()) else []

    def _fact(self, new: NewFact, text: str, source: str, replaced: Sequence[Fact], now: float) -> Fact:
        space, digest = new.holder.space(new.scope), digest_of(text)
        since = new.said_at if new.said_at is not None else now
        newer = next((old for old in replaced if old.valid_from > since), None)  # learned late: it is over already
        fact = Fact(
            id=fact_id(space, source, digest),
            tenant=new.holder.tenant,
            owner="" if new.scope == "tenant" else new.holder.owner,
            agent=new.holder.agent if new.scope == "agent" else "",
            scope=new.scope,
            space=space,
            text=text,
            digest=digest,
            message=new.message,
            thread=new.thread,
            turn=new.turn,
            confidence=new.confidence,
            valid_from=since,
            supersedes=[] if newer else [old.id for old in replaced if old.status == "current"],
            origin=new.origin,
            created_at=now,
            updated_at=now,
        )
        if newer is not None:
            fact.status, fact.superseded_by, fact.valid_to = "superseded", newer.id, newer.valid_from
        return fact

    async def _end(self, known: Fact, replaced: Sequence[Fact], at: float) -> list[str]:
        """What is known was said again, and that another fact is no longer so. Returns the ids of those that ended."""
        older = [old for old in replaced if old.id != known.id and old.status == "current" and old.valid_from <= at]
        ended = older if known.status == "current" else []
        for old in ended:
            changes = {"status": "superseded", "superseded_by": known.id, "valid_to": at, "updated_at": self._clock()}
            await self._facts.close(old.id, changes)
        return [old.id for old in ended]

    async def _close(self, newer: Fact, replaced: Sequence[Fact]) -> None:
        for old in replaced:
            if old.id in newer.supersedes:
                ended = {"status": "superseded", "superseded_by": newer.id, "valid_to": newer.valid_from}
                await self._facts.close(old.id, ended | {"updated_at": self._clock()})

    async def _embed(self, text: str, *, query: bool = False) -> Dense | None:
        """None if it cannot be had now: then words must do, and a chore makes up for it."""
        try:
            await self._prepare()
            embedded = await self._embedder.embed([text[: self._embedder.longest]], query=query)
        except (ModelError, UnavailableError) as error:
            log.warning("facts.not_embedded", error=str(error))
            return None
        return [embedded.vectors[0]]

    async def _prepare(self) -> None:
        if not self._ready:
            await self._facts.add_model(self._embedder.name, self._embedder.dimensions)
            self._ready = True


def _known(new: NewFact, near: Sequence[tuple[Fact, float]], replaced: set[str], now: float) -> tuple[Fact | None, str]:
    """The fact that says the same already, if it stands in the way of the new one, and what the new one's id hangs on."""
    source = new.message
    least = new.same_from
    same = [fact for fact, score in near if fact.id not in replaced and adds_nothing(new.text, fact.text, score, least)]
    for fact in same:
        mine = bool(new.message) and fact.message == new.message  # a repetition
        if fact.status == "current" or mine or not may_return(fact, new, now):
            return fact, source
        if not new.message:
            source = f"after {fact.id}"
    return None, source


def _says_anything(words: Sparse) -> bool:
    return len(words.indices) > 0
