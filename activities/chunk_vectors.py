"""Vectors of chunks: made as documents are read, and by a chore for those that have none of the model."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from activities.ports import Embedder, KnowledgeStore
from domain.errors import ModelError
from domain.knowledge import Chunk
from domain.messages import preview
from domain.pieces import in_pieces
from domain.vectors import Vector

TEXTS_AT_ONCE = 64  # that are embedded by one call

log = structlog.get_logger()


class ChunkEmbedding:
    """activities.keeping.Chore: vectors for chunks that have none of the model, since it was away or is another one."""

    name = "knowledge vectors"

    def __init__(self, store: KnowledgeStore, embedder: Embedder | None, older: Sequence[str] = ()) -> None:
        """`older` name vectors that are searched until all chunks have those of the embedder, and are dropped then."""
        self._store = store
        self._embedder = embedder
        self._older = list(older)
        self._ready = False

    @property
    def model(self) -> str:
        return self._embedder.name if self._embedder else ""

    async def due(self) -> int:
        return await self._store.count_unembedded(self.model) if self._embedder else 0

    async def work(self) -> int:
        """Raises: ModelUnavailableError, ModelRefusedError."""
        if self._embedder is None:
            return 0
        chunks = await self._store.unembedded(self.model, TEXTS_AT_ONCE)
        if chunks:
            found, _ = await self._vectors(self._embedder, chunks)
            await self._store.embed(self.model, {chunk_id: named[self.model] for chunk_id, named in found.items()})
        while self._older and not chunks:
            await self._store.drop_model(self._older.pop())
        return len(chunks)

    async def try_vectors(self, chunks: Sequence[Chunk]) -> tuple[dict[str, dict[str, Vector]], int]:
        """Vectors by the chunks' ids, none if the model cannot be asked now, and the tokens that it counted."""
        if self._embedder is None:
            return {}, 0
        try:
            return await self._vectors(self._embedder, chunks)
        except ModelError as error:
            log.warning("knowledge.not_embedded", chunks=len(chunks), error=preview(str(error), 200))
            return {}, 0

    async def _vectors(self, embedder: Embedder, chunks: Sequence[Chunk]) -> tuple[dict[str, dict[str, Vector]], int]:
        if not self._ready:
            await self._store.add_model(embedder.name, embedder.dimensions)
            self._ready = True
        texts = in_pieces([chunk.indexed_text for chunk in chunks], embedder.longest)
        embedded = await embedder.embed(texts.flat)
        gathered = texts.gather(embedded.vectors)
        found: dict[str, dict[str, Vector]] = {
            chunk.id: {embedder.name: vectors} for chunk, vectors in zip(chunks, gathered, strict=True)
        }
        return found, embedded.tokens
