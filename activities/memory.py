"""What memory is made of, in one place: the index of messages, what embeds, and the chores that keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from activities.indexing import Indexing
from activities.keeping import Chore
from activities.ports import Embedder, Lexicon, MessageIndex
from activities.recalling import Recaller


@dataclass(frozen=True)
class Memory:
    """`embedder` is that of the settings; None: search is by words. `older` are those of vectors that are still searched."""

    index: MessageIndex
    lexicon: Lexicon
    embedder: Embedder | None = None
    older: Mapping[str, Embedder] = field(default_factory=dict)

    def embedder_of(self, name: str) -> Embedder | None:
        """That of the vectors of a name. Returns None if it cannot be had."""
        if self.embedder is not None and self.embedder.name == name:
            return self.embedder
        return self.older.get(name)

    @cached_property
    def recaller(self) -> Recaller:
        return Recaller(self.index, self.lexicon, self.embedder_of)

    @cached_property
    def chores(self) -> Sequence[Chore]:
        return [Indexing(self.index, self.lexicon, self.embedder, self.embedder_of)]
