"""What a step's context has of earlier times, beside the running turn."""

from __future__ import annotations

from collections.abc import Sequence

from activities.backlog import Backlog
from activities.memory import Memory
from activities.ports import MessageIndex
from activities.step import Step
from domain import ids
from domain.context import Past
from domain.messages import Message
from domain.quoting import Found
from domain.recall import Recalled, RecallQuery, Scope

MOST_ROWS = 400  # of the turns around all hits of a search


class PastReader:
    """Over what reads each part of it. Without memory nothing is recalled."""

    def __init__(self, backlog: Backlog, memory: Memory | None = None) -> None:
        self._backlog = backlog
        self._memory = memory

    async def of(self, step: Step) -> Past:
        """What a step may show, of which the budget decides how much it does."""
        history = await self._backlog.before(step)
        query = self._query(step, history)
        if query is None or self._memory is None:
            return Past(history)
        recalled = await self._memory.recaller.recall(query)
        found = await self._around(self._memory.index, recalled, query)
        return Past(history, found=found, search=recalled.note, model=recalled.model)

    def _query(self, step: Step, history: Sequence[Message]) -> RecallQuery | None:
        """What to search for. Nothing on a thread whose every row is read anyway, unless others are searched too."""
        wish, record, prompt = step.agent.recall, step.record, step.prompt
        if wish is None or record is None or prompt is None or not prompt.text.strip():
            return None
        if wish.scope == "thread" or not record.owner:
            if len(history) < step.agent.recent_messages:
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

    @staticmethod
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
