"""What facts and working memory are made of, in one place: what keeps them, what agents do with them, and their chores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from activities.fact_vectors import EmbedFacts, NoEmbedder
from activities.facts import Facts
from activities.facts_ports import FactStore, Lessons, NoteStore
from activities.keeping import Chore
from activities.learning import LearnFacts
from activities.memory import Memory
from activities.ports import Catalog, ChatModel, Store
from activities.remembering import Remembering


@dataclass(frozen=True)
class Notebook:
    """Found by the same words and the same embedding model as the messages of the memory."""

    store: FactStore
    notes: NoteStore
    lessons: Lessons
    memory: Memory

    @cached_property
    def facts(self) -> Facts:
        return Facts(self.store, self.notes, self.memory.embedder or NoEmbedder(), self.memory.lexicon)

    @cached_property
    def remembering(self) -> Remembering:
        return Remembering(self.facts, self.memory.recaller)

    def chores(self, messages: Store, model: ChatModel, catalog: Catalog) -> list[Chore]:
        """Turns are learned from by the model; what has no vector gets one, if there is a model for that."""
        chores: list[Chore] = [LearnFacts(messages, self.lessons, self.facts, model, catalog)]
        if self.memory.embedder is not None:
            chores.append(EmbedFacts(self.facts, self.store, self.memory.embedder))
        return chores
