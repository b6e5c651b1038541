"""What facts and working memory need from the world, and what they are to others. See activities.ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from domain.facts import Fact, FactFilter, FoundFact, Learned, NewFact
from domain.memory import Holder, Notes, NotesChange
from domain.messages import Message, Page
from domain.recall import Recalled, RecallQuery
from domain.vectors import Dense, Vector


class FactStore(Protocol):
    """Facts, inserted once; later writes close one that is current, and nothing else."""

    async def add_model(self, name: str, dimensions: int) -> None:
        """Make room for the vectors of an embedding model. Raises: StoreError if it has some of another size."""

    async def insert(self, facts: Sequence[Fact], vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        """Create those that do not exist yet, with their vectors by id and name."""

    async def get(self, fact_ids: Sequence[str]) -> list[Fact]:
        """Those that exist, in the order asked for; one that a newer fact names as superseded is."""

    async def close(self, fact_id: str, changes: dict[str, Any]) -> Fact | None:
        """Change one that is current; return it as it is now, None if there is none."""

    async def page(self, where: FactFilter, *, cursor: str | None, limit: int) -> Page[Fact]:
        """The newest first. Raises: InputRefusedError if the cursor is not one of ours."""

    async def search(self, vector: str, query: Vector, where: FactFilter, limit: int) -> list[tuple[Fact, float]]:
        """The nearest by one vector, best first."""

    async def successors(self, fact_ids: Sequence[str]) -> list[Fact]:
        """The facts that name one of these as superseded."""

    async def unembedded(self, model: str, limit: int) -> list[Fact]:
        """Those without a vector of the model."""

    async def place(self, fact_id: str, model: str, vector: Dense) -> None: ...


class NoteStore(Protocol):
    """Working memories, each changed by one writer after another."""

    async def notes(self, holder: Holder) -> Notes: ...

    async def write(self, holder: Holder, notes: Notes, text: str, writer: str, now: float) -> Notes:
        """Put the text in the place of what was read as `notes`, if that still stands; return what stands now.

        The writer won if it is in `writers`.
        """


class Lessons(Protocol):
    """Turns to be learned from: the prompts' rows."""

    async def due(self, now: float, limit: int) -> list[Message]: ...

    async def count_due(self) -> int: ...

    async def keep(self, message_id: str, lesson: dict[str, Any]) -> Message | None:
        """Note what was learned, once: whoever comes first. Returns the row as it is now."""

    async def settle(self, message_id: str, changes: dict[str, Any]) -> None:
        """Change how far it is, if it is not done yet."""


class FactMemory(Protocol):
    """Facts as all of the house use them, see activities.facts."""

    async def remember(self, new: NewFact) -> Learned:
        """Raises: InputRefusedError."""

    async def search(self, text: str, where: FactFilter, limit: int) -> list[FoundFact]: ...

    async def forget(self, fact_id: str, spaces: Sequence[str] | None = None) -> Fact | None:
        """The fact, which is no longer recalled; None if there is none in these spaces."""

    async def history(self, fact_id: str) -> list[Fact]:
        """The fact, what it replaced and what replaced it, the oldest first."""

    async def page(self, where: FactFilter, *, cursor: str | None, limit: int) -> Page[Fact]: ...

    async def read_notes(self, holder: Holder) -> Notes: ...

    async def change_notes(self, holder: Holder, change: NotesChange, writer: str) -> Notes:
        """Raises: InputRefusedError."""


class Recaller(Protocol):
    """Search in what was said."""

    async def recall(self, query: RecallQuery) -> Recalled: ...
