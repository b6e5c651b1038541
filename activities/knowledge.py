"""Search over knowledge: by meaning and by words, the two put together by ranks.

The tenant and the namespace are part of every query that the store is asked, so that nobody finds what is not theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from activities.ports import Embedder, KnowledgeStore, Lexicon
from domain.errors import ModelError
from domain.fusion import fused, weighed
from domain.knowledge import LONGEST_QUERY, Chunk, KnowledgeFound, KnowledgeHit, KnowledgeQuery, spread
from domain.messages import preview
from domain.pieces import pieces
from domain.vectors import WORDS, Dense, Sparse

LEAST_DEPTH = 50  # hits of each kind that are put together
EMBED_S = 5.0  # for the query's vectors; then it is searched by words alone

log = structlog.get_logger()

Listed = Sequence[tuple[Chunk, float]]


class HybridSearch:
    """activities.ports.KnowledgeSearch over the ports it is given. Without an embedder, by words alone."""

    def __init__(
        self,
        store: KnowledgeStore,
        lexicon: Lexicon,
        embedder: Embedder | None = None,
        older: Sequence[Embedder] = (),
    ) -> None:
        """`older` are those of vectors that some chunks may still have instead."""
        self._store = store
        self._lexicon = lexicon
        self._embedder = embedder
        self._older = older

    async def search(self, query: KnowledgeQuery) -> KnowledgeFound:
        text = query.text.strip()[:LONGEST_QUERY]
        if not text or not (query.dense or query.words):
            return KnowledgeFound()
        vector, note = await self._vector(text, query) if query.dense else (None, "")
        depth = max(LEAST_DEPTH, 3 * query.limit)
        near, worded = await asyncio.gather(self._near(query, text, vector, depth), self._worded(query, text, depth))
        chunks = {chunk.id: chunk for chunk, _ in [*near, *worded]}
        scores = fused([(_ids(near), query.dense), (_ids(worded), query.words)])
        dense, lexical = {c.id: score for c, score in near}, {c.id: score for c, score in worded}
        if query.least_similarity and vector is not None and self._embedder is not None:
            rest = [chunk_id for chunk_id in scores if chunk_id not in dense]
            dense |= await self._store.similar(self._embedder.name, vector, rest)
        hits = [
            KnowledgeHit(chunk=chunks[found], score=score, dense=dense.get(found), lexical=lexical.get(found))
            for found, score in scores.items()
            if score >= query.least_score and _near_enough(query, vector, dense.get(found))
        ]
        best = await asyncio.gather(*(self._with_context(hit, query) for hit in spread(hits)[: query.limit]))
        return KnowledgeFound(
            hits=list(best), note=note, model=self._embedder.name if vector and self._embedder else None
        )

    async def _vector(self, text: str, query: KnowledgeQuery) -> tuple[Dense | None, str]:
        """The query's vectors, and what was wrong if there are none."""
        if self._embedder is None:
            return None, "searched by words alone: no embedding model is set up"
        try:
            async with asyncio.timeout(EMBED_S):
                parts, weights = pieces(text, self._embedder.longest, most=4), await self._weights(text, query)
                embedded = await self._embedder.embed(parts, query=True, weights=weights)
        except (ModelError, TimeoutError) as error:
            why = preview(str(error), 200) or f"no answer within {EMBED_S:g} s"
            log.warning("knowledge.by_words", error=why)
            return None, f"searched by words alone: {why}"
        return embedded.vectors, ""

    async def _weights(self, text: str, query: KnowledgeQuery) -> dict[str, float]:
        """What each word is worth among the documents; one that none has is as rare as can be."""
        words = self._lexicon.telling(text)
        worth = await self._store.worth(list(dict.fromkeys(number for _, number in words)), query.scope)
        rarest = max(worth.values(), default=1.0)
        return {word: worth.get(number, rarest) for word, number in words}

    async def _near(self, query: KnowledgeQuery, text: str, vector: Dense | None, depth: int) -> Listed:
        if vector is None or self._embedder is None:
            return []
        found = list(await self._store.search(self._embedder.name, vector, query.scope, depth))
        for embedder in self._older:
            known = {chunk.id for chunk, _ in found}
            found += [hit for hit in await self._near_by(embedder, query, text, depth) if hit[0].id not in known]
        return sorted(found, key=lambda hit: -hit[1])[:depth] if self._older else found

    async def _near_by(self, embedder: Embedder, query: KnowledgeQuery, text: str, depth: int) -> Listed:
        """By the vectors of an earlier model; none if it cannot be asked any more."""
        try:
            async with asyncio.timeout(EMBED_S):
                embedded = await embedder.embed(pieces(text, embedder.longest, most=4), query=True)
        except (ModelError, TimeoutError):
            return []
        return await self._store.search(embedder.name, embedded.vectors, query.scope, depth)

    async def _worded(self, query: KnowledgeQuery, text: str, depth: int) -> Listed:
        words: Sparse = self._lexicon.query(text)
        if not query.words or not words.indices:
            return []
        return await self._store.search(WORDS, words, query.scope, depth)

    async def _with_context(self, hit: KnowledgeHit, query: KnowledgeQuery) -> KnowledgeHit:
        place = hit.chunk.place
        before, after = await asyncio.gather(
            self._store.around(hit.chunk.document, max(0, place - query.before), place - 1),
            self._store.around(hit.chunk.document, place + 1, place + query.after),
        )
        around = {"before": [chunk.text for chunk in before], "after": [chunk.text for chunk in after]}
        return hit.model_copy(update=around)


def _ids(found: Listed) -> list[str]:
    importance = {chunk.id: chunk.importance for chunk, _ in found}
    return weighed([(chunk.id, score) for chunk, score in found], importance)


def _near_enough(query: KnowledgeQuery, vector: Dense | None, dense: float | None) -> bool:
    """Of a search by words alone all are: nobody knows better."""
    return vector is None or not query.least_similarity or (dense or 0.0) >= query.least_similarity
