"""What a step's context has of earlier times, beside the running turn."""

from __future__ import annotations

from activities.backlog import Backlog
from activities.step import Step
from domain.context import Past


class PastReader:
    """Over what reads each part of it."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    async def of(self, step: Step) -> Past:
        """What a step may show, of which the budget decides how much it does."""
        return Past(await self._backlog.before(step))
