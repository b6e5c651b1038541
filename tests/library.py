"""Knowledge for tests: the store, the chores and the search, over an embedding model that the test can take away."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activities.chunk_vectors import ChunkEmbedding
from activities.ingesting import Ingesting
from activities.knowledge import HybridSearch
from activities.noticing import Callbacks
from activities.ports import Blobs, Embedder, Webhooks
from adapters import qdrant_points as points
from adapters.blobs import FolderBlobs
from adapters.documents import Documents
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import _Shard
from adapters.qdrant_knowledge import QdrantKnowledge
from adapters.qdrant_points import Where
from adapters.qdrant_store import Collection, Vectors
from domain.documents import read_document
from domain.errors import ModelUnavailableError
from domain.knowledge import Document, KnowledgeFound, KnowledgeQuery, KnowledgeScope
from domain.vectors import Embedded

DIMENSIONS = 512


class FakeEmbedder:
    """activities.ports.Embedder: texts with the same words are near each other. `away` it fails."""

    dimensions = DIMENSIONS
    longest = 2_000

    def __init__(self, name: str = "fake-64") -> None:
        self.name = name
        self.away = False
        self.texts: list[str] = []

    async def embed(
        self, texts: Sequence[str], *, query: bool = False, weights: Mapping[str, float] | None = None
    ) -> Embedded:
        if self.away:
            raise ModelUnavailableError("the embedding model does not answer")
        self.texts += texts
        return Embedded([_vector(text) for text in texts], tokens=sum(len(text.split()) for text in texts))


def _vector(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split():
        vector[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


class Killed(BaseException):
    """The process ended here."""


class Cutting:
    """A collection that ends the process before one of its writes; None: never."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.writes = 0
        self.cut_at: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def insert(
        self, payloads: Mapping[str, dict[str, Any]], vectors: Mapping[str, Vectors] | None = None
    ) -> None:
        self._count()
        await self._collection.insert(payloads, vectors)

    async def change(self, where: Where, payload: dict[str, Any]) -> None:
        self._count()
        await self._collection.change(where, payload)

    async def delete(self, where: Where) -> None:
        self._count()
        await self._collection.delete(where)

    async def place(self, vectors: Mapping[str, Vectors]) -> None:
        self._count()
        await self._collection.place(vectors)

    def _count(self) -> None:
        if self.writes == self.cut_at:
            raise Killed
        self.writes += 1


class Room:
    """A worker's knowledge on one folder; `lives` again after it was killed."""

    def __init__(self, folder: Path, embedder: Embedder | None = None, webhooks: Webhooks | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.shard = _Shard(folder, points.CHUNKS)  # a whole store has more, and is slow to make
        self.cutting = Cutting(self.shard)
        self.blobs: Blobs = FolderBlobs(folder / "blobs")
        self.embedder = embedder
        self.older: list[Embedder] = []
        self.webhooks = webhooks
        self.now = 1_000.0
        self.live()

    def live(self) -> None:
        """As a process that has just started."""
        lexicon = WordLexicon()
        self.cutting.cut_at = None
        self.store = QdrantKnowledge(self.cutting)
        self.chore = Ingesting(self.store, self.blobs, Documents(), lexicon, self.embedder, clock=lambda: self.now)
        self.vectors = ChunkEmbedding(self.store, self.embedder, [older.name for older in self.older])
        self.search = HybridSearch(self.store, lexicon, self.embedder, self.older)
        if self.webhooks is not None:
            self.callbacks = Callbacks(self.store, self.webhooks, clock=lambda: self.now)

    def close(self) -> None:
        self.shard.close()

    async def add(self, text: str | bytes, key: str = "k.md", **fields: Any) -> Document:
        """Handed in, as the gateway does it."""
        given = {"text": text} if isinstance(text, str) else {"content": base64.b64encode(text).decode()}
        namespace = fields.pop("namespace", "default")
        self.now += 1
        document, content = read_document(given | {"key": key} | fields, namespace, self.now)
        await self.blobs.put(content)
        return (await self.store.add(document))[0]

    async def work(self) -> int:
        """Until nothing is due; returns how often it was called."""
        calls = 0
        while await self.chore.work():
            calls += 1
        return calls

    async def read(self, text: str | bytes, key: str = "k.md", **fields: Any) -> Document:
        """Handed in and read."""
        added = await self.add(text, key, **fields)
        await self.work()
        return await self.document(added.id)

    async def document(self, document_id: str) -> Document:
        found = await self.store.document(document_id)
        assert found is not None
        return found

    async def ask(self, text: str, tenant: str = "", **fields: Any) -> KnowledgeFound:
        scope = KnowledgeScope(tenant=tenant, filters=fields.pop("filters", {}))
        return await self.search.search(KnowledgeQuery(text=text, scope=scope, **fields))

    async def texts(self, text: str, tenant: str = "", **fields: Any) -> list[str]:
        return [hit.chunk.text for hit in (await self.ask(text, tenant, **fields)).hits]
