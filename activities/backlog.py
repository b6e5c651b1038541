"""What a step's context holds of earlier turns, read once for the steps of a turn that follow each other at once.

The rows are final; what may still change of them (a prompt regenerated, a message taken out) is seen by the next turn, by a
step that comes `FRESH_S` later, and by any step on another worker, which reads for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from activities.ports import Store
from activities.step import Step
from domain import ids
from domain.messages import Message
from domain.steps import StepRequest

FRESH_S = 5.0
TURNS = 64  # whose rows are kept
MAX_CHARS = 200_000  # of a turn's rows; larger ones, and those with images, are read again

Turn = tuple[str, int, int]  # thread, epoch, turn


@dataclass(frozen=True)
class _Read:
    at: float
    branch: int
    limit: int
    rows: list[Message]

    def serves(self, branch: int, limit: int, now: float) -> bool:
        return (self.branch, self.limit) == (branch, limit) and abs(now - self.at) <= FRESH_S


class Backlog:
    """Of the turns that this worker is at."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._reads: dict[Turn, _Read] = {}

    async def before(self, step: Step) -> list[Message]:
        """The agent's `recent_messages` last rows of the turns before this one, oldest first."""
        request, limit = step.request, step.agent.recent_messages
        if not limit:
            return []
        now, read = self._clock(), self._reads.get(_turn(request))
        if request.step > 0 and read is not None and read.serves(request.branch, limit, now):
            return list(read.rows)
        self.forget(step)
        rows = await self._begun(await self._store.history(request.thread, ids.first_seq(request.turn), limit))
        if _small(rows):
            self._reads[_turn(request)] = _Read(now, request.branch, limit, list(rows))
        while len(self._reads) > TURNS:
            del self._reads[next(iter(self._reads))]
        return rows

    async def _begun(self, rows: list[Message]) -> list[Message]:
        """With the prompt of the turn that they are of, if they are of one that is longer than all that was read."""
        if not rows or any(row.slot == "prompt" and row.joins is None for row in rows):
            return rows
        prompt_id = rows[0].joins or rows[0].prompt_id
        return [*await self._store.get([ids.message_id(rows[0].thread, prompt_id, "prompt")]), *rows]

    def forget(self, step: Step) -> None:
        """Read anew next time: the turn has ended, say."""
        self._reads.pop(_turn(step.request), None)


def _turn(request: StepRequest) -> Turn:
    return request.thread, request.epoch, request.turn


def _small(rows: Sequence[Message]) -> bool:
    calls = (call for row in rows for call in row.tool_calls)
    chars = sum(len(row.text) for row in rows) + sum(len(call.arguments) for call in calls)
    return chars <= MAX_CHARS and not any(row.parts for row in rows)
