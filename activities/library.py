"""What knowledge is made of, in one place: the documents, the search over them, and the chores that keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from activities.chunk_vectors import ChunkEmbedding
from activities.ingesting import Ingesting
from activities.keeping import Chore
from activities.knowledge import HybridSearch
from activities.noticing import Callbacks
from activities.ports import Blobs, DocumentReader, Embedder, KnowledgeStore, Lexicon, Webhooks


@dataclass(frozen=True)
class Knowledge:
    """Without an `embedder` documents are found by words alone."""

    store: KnowledgeStore
    blobs: Blobs
    reader: DocumentReader
    webhooks: Webhooks
    lexicon: Lexicon
    embedder: Embedder | None = None
    older: Sequence[Embedder] = ()  # of vectors that some chunks may still have instead

    @cached_property
    def search(self) -> HybridSearch:
        return HybridSearch(self.store, self.lexicon, self.embedder, self.older)

    @cached_property
    def chores(self) -> Sequence[Chore]:
        return [
            Ingesting(self.store, self.blobs, self.reader, self.lexicon, self.embedder),
            ChunkEmbedding(self.store, self.embedder, [embedder.name for embedder in self.older]),
            Callbacks(self.store, self.webhooks),
        ]
