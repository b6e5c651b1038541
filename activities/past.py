"""What a step's context has of earlier times, beside the running turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from activities.backlog import Backlog
from activities.memory import Memory
from activities.ports import MessageIndex, Summaries
from activities.remembering import Remembering
from activities.step import Step
from domain import ids
from domain.context import RECENT, Past, Section, Summary
from domain.messages import Message
from domain.quoting import Found
from domain.recall import Recalled, RecallQuery, Scope

MOST_ROWS = 400  # of the turns around all hits of a search
SHORT_CHARS = 10_000  # of a thread that fits into any context whole, so that there is nothing to be reminded of


class PastReader:
    """Over what reads each part of it. Without memory nothing is recalled, without summaries nothing is summed up."""

    def __init__(
        self,
        backlog: Backlog,
        memory: Memory | None = None,
        summaries: Summaries | None = None,
        remembering: Remembering | None = None,
    ) -> None:
        self._backlog = backlog
        self._memory = memory
        self._summaries = summaries
        self._remembering = remembering

    async def of(self, step: Step) -> Past:
        """What a step may show, of which the budget decides how much it does."""
        history, summary = await self._backlog.before(step), await self._summary(step)
        memory = [Section(name, text) for name, text in [*await self._remembered(step), *step.known]]
        query = _query(step, history)
        if query is None or self._memory is None:
            return Past(history, memory, summary)
        recalled = await self._memory.recaller.recall(query)
        found = await _around(self._memory.index, recalled, query)
        return Past(history, memory, summary, found, recalled.note, recalled.model)

    async def _remembered(self, step: Step) -> list[tuple[str, str]]:
        """What the agent always sees: its document, and the facts nearest to the prompt."""
        if self._remembering is None or step.agent.memory is None:
            return []
        asked = step.prompt.text if step.prompt is not None else ""
        return await self._remembering.parts(step.record, step.agent, asked)

    async def _summary(self, step: Step) -> Summary | None:
        """Read only of threads that have one, as their record says."""
        if self._summaries is None or not step.agent.compaction or not step.agent.recent_messages:
            return None
        if step.record is None or not step.record.summary_through:
            return None
        found = await self._summaries.get(step.request.thread)
        return Summary(found.shown, found.through_turn) if found is not None else None


def _query(step: Step, history: Sequence[Message]) -> RecallQuery | None:
    """What to search for. Nothing on a thread whose every row is read anyway, unless others are searched too."""
    wish, record, prompt = step.agent.recall, step.record, step.prompt
    if wish is None or record is None or prompt is None or not prompt.text.strip():
        return None
    if wish.scope == "thread" or not record.owner:
        if len(history) < step.agent.recent_messages and sum(len(row.text) for row in history) < SHORT_CHARS:
            return None
        scope = Scope(tenant=record.tenant, thread=record.thread, before_seq=ids.first_seq(step.request.turn))
    else:
        scope = Scope(tenant=record.tenant, owner=record.owner, before=prompt.created_at or None)
    return RecallQuery(
        text=prompt.text,
        scope=scope,
        limit=wish.limit,
        least_score=wish.least_score,
        before=wish.before,
        after=wish.after,
    )


async def _around(index: MessageIndex, recalled: Recalled, query: RecallQuery) -> list[Found]:
    """Each hit with its whole turn and those around it, best first."""
    hits = [hit for hit in recalled.hits if hit.message.turn is not None]
    wanted = {
        (hit.message.thread, turn)
        for hit in hits
        for turn in range((hit.message.turn or 0) - query.before, (hit.message.turn or 0) + query.after + 1)
    }
    rows = await index.turns(wanted, MOST_ROWS)
    return [
        Found(
            [
                row
                for row in rows
                if row.thread == hit.message.thread
                and -query.before <= (row.turn or 0) - (hit.message.turn or 0) <= query.after
            ],
            {hit.message.id: hit.score},
        )
        for hit in hits
    ]


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
