"""Reading documents: the chore that turns those that are pending into chunks that are found.

Its backlog is the documents that are pending. It may be cut off anywhere: a chunk's id says of which document, place and
text it is, so what was written is not written again, and a document comes into force by one write behind its last chunk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from activities.chunk_vectors import TEXTS_AT_ONCE, ChunkEmbedding
from activities.ports import Blobs, DocumentReader, Embedder, KnowledgeStore, Lexicon
from domain import chunking
from domain.errors import DocumentUnreadableError
from domain.knowledge import Chunk, Document, chunk_id
from domain.messages import preview
from domain.vectors import WORDS, Vector

DOCUMENTS_AT_ONCE = 32
CHUNKS_AT_ONCE = 512  # written by one call of `work`
SWEPT_AT_ONCE = 1_000

log = structlog.get_logger()


@dataclass
class Reading:
    """A document that is being read: all of its chunks, and those that are written by this call."""

    document: Document
    chunks: Sequence[Chunk]
    now: Sequence[Chunk]
    left: int  # to be written by later calls


class Ingesting:
    """activities.keeping.Chore. Without an embedder, or while it is away, chunks are found by their words alone."""

    name = "knowledge"

    def __init__(
        self,
        store: KnowledgeStore,
        blobs: Blobs,
        reader: DocumentReader,
        lexicon: Lexicon,
        embedder: Embedder | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._reader = reader
        self._lexicon = lexicon
        self._embedding = ChunkEmbedding(store, embedder)
        self._clock = clock
        self._cut: tuple[str, Sequence[Chunk]] | None = None  # of the last document that took more than one call

    async def due(self) -> int:
        return await self._store.count_pending()

    async def work(self) -> int:
        """Read some documents, or some of a large one; returns how many chunks were written and documents ended."""
        pending = await self._store.pending(DOCUMENTS_AT_ONCE)
        if not pending:
            return await self._store.sweep(SWEPT_AT_ONCE)
        readings: list[Reading] = []
        done, room = 0, CHUNKS_AT_ONCE
        for document in pending:
            reading = await self._begin(document, room)
            if reading is None:
                done += 1
                continue
            readings.append(reading)
            room -= len(reading.now)
            if room <= 0:
                break
        tokens = await self._write(readings)
        for reading in readings:
            done += len(reading.now) + await self._end(reading, tokens)
        return done

    async def _begin(self, document: Document, room: int) -> Reading | None:
        """Returns None if it cannot be read, and is noted as failed."""
        try:
            chunks = await self._chunks(document)
        except DocumentUnreadableError as error:
            await self._fail(document, str(error))
            return None
        there = await self._store.chunk_ids(document.id)
        if strange := there - {chunk.id for chunk in chunks}:  # cut by another release
            await self._store.drop(sorted(strange))
        missing = [chunk for chunk in chunks if chunk.id not in there]
        if len(missing) > room:
            self._cut = (document.id, chunks)
        return Reading(document, chunks, missing[:room], max(0, len(missing) - room))

    async def _chunks(self, document: Document) -> Sequence[Chunk]:
        """Raises: DocumentUnreadableError."""
        if self._cut is not None and self._cut[0] == document.id:
            return self._cut[1]
        content = await self._blobs.get(document.digest)
        if content is None:
            raise DocumentUnreadableError("its content is not kept any longer: add it again")
        sections = await self._reader.read(document.media, content)
        cut = await asyncio.to_thread(chunking.cut, sections)
        if not cut:
            raise DocumentUnreadableError("it has no text")
        if len(cut) > chunking.MOST_CHUNKS:
            raise DocumentUnreadableError(
                f"it has {len(cut)} chunks, and {chunking.MOST_CHUNKS} are the most: split it"
            )
        title = document.title or chunking.title_of(cut, document.key)
        return [_chunk(document, title, place, section) for place, section in enumerate(cut)]

    async def _write(self, readings: Sequence[Reading]) -> dict[str, int]:
        """Write what is missing; returns the tokens of each document."""
        chunks = [chunk for reading in readings for chunk in reading.now]
        tokens: dict[str, int] = {}
        for start in range(0, len(chunks), TEXTS_AT_ONCE):
            some = chunks[start : start + TEXTS_AT_ONCE]
            found, counted = await self._embedding.try_vectors(some)
            words: list[dict[str, Vector]] = [{WORDS: self._lexicon.document(c.indexed_text)} for c in some]
            vectors = [word | found.get(chunk.id, {}) for word, chunk in zip(words, some, strict=True)]
            model = self._embedding.model
            named = [c.model_copy(update={"embedded": model}) if c.id in found else c for c in some]
            await self._store.put(named, vectors)
            for chunk in some:  # of a batch, each its share
                tokens[chunk.document] = tokens.get(chunk.document, 0) + counted // len(some)
        return tokens

    async def _end(self, reading: Reading, tokens: dict[str, int]) -> int:
        """Put it in force if all of it is written; returns 1 if so."""
        document, total = reading.document, len(reading.chunks)
        changes: dict[str, Any] = {
            "chunks": total,
            "done": total - reading.left,
            "tokens": document.tokens + tokens.get(document.id, 0),
            "updated_at": self._clock(),
        }
        if reading.left:
            await self._store.note(document.id, changes)
            return 0
        changes |= {"title": reading.chunks[0].title, "error": None} | self._told(document)
        row = await self._store.finish(document, changes)
        self._cut = None
        log.info("document.ended", document=document.id, status=row.status if row else "deleted", chunks=total)
        return 1

    async def _fail(self, document: Document, why: str) -> None:
        failed = {"status": "failed", "error": preview(why, 500), "updated_at": self._clock()}
        await self._store.drop(sorted(await self._store.chunk_ids(document.id)))
        await self._store.note(document.id, failed | self._told(document))
        log.warning("document.failed", document=document.id, key=preview(document.key, 100), error=why)

    def _told(self, document: Document) -> dict[str, Any]:
        return {"notice": "due", "notice_at": self._clock()} if document.callback else {}


def _chunk(document: Document, title: str, place: int, section: chunking.Section) -> Chunk:
    return Chunk(
        id=chunk_id(document.id, place, section.text, section.headings),
        document=document.id,
        place=place,
        text=section.text,
        headings=list(section.headings),
        page=section.page,
        title=title,
        created_at=document.created_at,
        **document.model_dump(include={"tenant", "namespace", "key", "source", "importance", "filters", "order"}),
    )
