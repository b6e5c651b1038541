"""What is done about memory in the background: chores, whose backlog is the store itself."""

from __future__ import annotations

from typing import Protocol


class Chore(Protocol):
    """One kind of background work. Nothing about it is kept but in the store, so that any worker can go on with it.

    It may be cut off at any moment and begun again by another: what it does is safe to repeat.
    """

    @property
    def name(self) -> str: ...

    async def work(self) -> int:
        """Do some of what is due, for at most a few seconds; return how much was done, 0 if nothing is due.

        Raises: UnavailableError, ModelUnavailableError if it cannot be done now.
        """

    async def due(self) -> int:
        """How much there is to do."""
