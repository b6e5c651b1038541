"""What a step's context has of earlier times, beside the running turn."""

from __future__ import annotations

from typing import Any

from activities.backlog import Backlog
from activities.ports import Summaries
from activities.step import Step
from domain.context import RECENT, Past, Summary


class PastReader:
    """Over what reads each part of it."""

    def __init__(self, backlog: Backlog, summaries: Summaries | None = None) -> None:
        self._backlog = backlog
        self._summaries = summaries

    async def of(self, step: Step) -> Past:
        """What a step may show, of which the budget decides how much it does."""
        return Past(await self._backlog.before(step), summary=await self._summary(step))

    async def _summary(self, step: Step) -> Summary | None:
        """Read only of threads that have one, as their record says."""
        if self._summaries is None or not step.agent.compaction or not step.agent.recent_messages:
            return None
        if step.record is None or not step.record.summary_through:
            return None
        found = await self._summaries.get(step.request.thread)
        return Summary(found.shown, found.through_turn) if found is not None else None


def outgrown(step: Step) -> dict[str, Any]:
    """What is noted of the thread if older turns did not fit into the context of this step: they are to be summarised.

    A window of fewer messages than the usual is what the agent wants, and no reason by itself.
    """
    shown, agent = step.context, step.agent
    if shown is None or shown.handled or not agent.compaction or not agent.recent_messages:
        return {}
    if agent.recent_messages < RECENT and not shown.overflowed:
        return {}
    summarised = step.record.summary_through if step.record is not None else 0
    through = shown.to_compact(step.request.turn, summarised + 1)
    return {"compaction": "due", "compact_through": through} if through is not None else {}
