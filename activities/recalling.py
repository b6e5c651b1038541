"""Recall: the messages that a text reminds of, in the order of how well they fit.

Two searches, by words and by meaning, each within the scope; then domain.ranking. If there is no vector of the text (no
embedding model, or it does not answer), the words alone are searched, and the result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from activities.ports import Embedder, Lexicon, MessageIndex
from domain.errors import EverthreadError
from domain.indexing import ROLES, names_of
from domain.ranking import Candidate, Ranked, rank, rarity
from domain.recall import LONGEST_QUERY, Found, Hit, Recalled, RecallQuery, Scope
from domain.vectors import WORDS, Sparse

POOL = 200  # messages of each list
LED = 20  # of the best of each list, the neighbours count too
DISTANCES = (-2, -1, 1, 2)

log = structlog.get_logger()

# The embedder whose vectors have a name; None: it cannot be had now.
Embedders = Callable[[str], Embedder | None]


class Recaller:
    """Over the index, with the embedders of its vectors by name."""

    def __init__(
        self, index: MessageIndex, lexicon: Lexicon, embedders: Embedders, clock: Callable[[], float] = time.time
    ) -> None:
        self._index = index
        self._lexicon = lexicon
        self._embedders = embedders
        self._clock = clock

    async def recall(self, query: RecallQuery) -> Recalled:
        """The best hits, best first; none if the text has no words."""
        text = query.text[:LONGEST_QUERY]
        words = self._lexicon.telling(text)
        if not words:
            return Recalled()
        numbers = list(dict.fromkeys(number for _, number in words))
        worth = await self._index.worth(numbers, query.scope)
        unheard = rarity(await self._index.count(query.scope), 0)  # of what nobody has said yet
        weights = {word: worth.get(number, unheard) for word, number in words}
        by_meaning, model, note = await self._by_meaning(text, weights, query.scope)
        asked = Sparse(numbers, [1.0] * len(numbers))
        by_words = await self._index.search(WORDS, asked, query.scope, POOL)
        candidates = await self._candidates(text, by_words, by_meaning, query.scope)
        ranked = [one for one in rank(candidates, query.limit, self._clock()) if one.score >= query.least_score]
        return Recalled(hits=await self._hits(ranked, candidates), note=note, model=model)

    async def _by_meaning(
        self, text: str, weights: dict[str, float], scope: Scope
    ) -> tuple[list[Found], str | None, str]:
        """The list, whose vectors it is of, and why there is none."""
        state = await self._index.state()
        if state is None or state.active is None:
            return [], None, "no embedding model: searched by words alone"
        embedder = self._embedders(state.active)
        if embedder is None:
            return [], None, f"{state.active} cannot be asked: searched by words alone"
        try:
            embedded = await embedder.embed([text[: embedder.longest]], query=True, weights=weights)
        except EverthreadError as error:
            log.warning("recall.by_words_alone", model=state.active, error=str(error))
            return [], None, f"{state.active} did not answer: searched by words alone"
        return await self._index.search(state.active, [embedded.vectors[0]], scope, POOL), state.active, ""

    async def _candidates(
        self, text: str, by_words: Sequence[Found], by_meaning: Sequence[Found], scope: Scope
    ) -> list[Candidate]:
        lexical = {found.id: found.score for found in by_words}
        dense = {found.id: found.score for found in by_meaning}
        found = {one.id: one for one in [*by_words, *by_meaning]}
        known = {(one.thread, one.place) for one in found.values()}
        led = [one for one in [*by_words[:LED], *by_meaning[:LED]] if one.place is not None]
        beside = {(one.thread, one.place + distance) for one in led if one.place is not None for distance in DISTANCES}
        found |= {one.id: one for one in await self._index.beside(beside - known, scope)}
        named = _named(names_of(text), {one.speaker for one in found.values()})
        return [
            Candidate(
                one.id,
                one.thread,
                one.place,
                lexical.get(one.id, 0.0),
                dense.get(one.id),
                one.speaker in named,
                one.created_at,
            )
            for one in found.values()
        ]

    async def _hits(self, ranked: Sequence[Ranked], candidates: Sequence[Candidate]) -> list[Hit]:
        scores, known = {one.id: one.score for one in ranked}, {one.id: one for one in candidates}
        rows = await self._index.rows([one.id for one in ranked])
        found = ((row, known[row.id]) for row in rows)
        return [
            Hit(message=row, score=scores[row.id], dense=one.dense, lexical=one.lexical or None) for row, one in found
        ]


def _named(names: frozenset[str], speakers: Iterable[str]) -> set[str]:
    """The speakers whom the text names by any part of their name."""
    return {speaker for speaker in speakers if speaker not in ROLES and names & names_of(speaker)}
