"""Facts without a vector of the embedding model of now, since it was away or is a new one, get it in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activities.facts import Facts
from activities.facts_ports import FactStore
from activities.ports import Embedder
from domain.errors import ModelUnavailableError
from domain.vectors import Embedded

BATCH = 100


class EmbedFacts:
    """activities.keeping.Chore. Until it is done the words of such facts are searched."""

    name = "embed facts"

    def __init__(self, facts: Facts, store: FactStore, embedder: Embedder) -> None:
        self._facts = facts
        self._store = store
        self._embedder = embedder

    async def work(self) -> int:
        return await self._facts.embed_some(BATCH)

    async def due(self) -> int:
        return len(await self._store.unembedded(self._embedder.name, BATCH))


class NoEmbedder:
    """activities.ports.Embedder where no model embeds: facts are found by words alone."""

    name = "none"
    dimensions = 1
    longest = 1

    async def embed(
        self,
        texts: Sequence[str],  # noqa: ARG002 - the port's
        *,
        query: bool = False,  # noqa: ARG002
        weights: Mapping[str, float] | None = None,  # noqa: ARG002
    ) -> Embedded:
        raise ModelUnavailableError("no embedding model is set: see EVERTHREAD_EMBEDDING")
