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

FRESH_S = 5.0
TURNS = 64  # whose rows are kept
MAX_CHARS = 200_000  # of a turn's rows; larger ones, and those with images, are read again


@dataclass(frozen=True)
class _Read:
    at: float
    rows: list[Message]


class Backlog:
    """Of the turns that this worker is at."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._reads: dict[tuple[object, ...], _Read] = {}

    async def before(self, step: Step) -> list[Message]:
        """The agent's `recent_messages` last rows of the turns before this one, oldest first."""
        request, count = step.request, step.agent.recent_messages
        if not count:
            return []
        turn = (request.thread, request.epoch, request.turn, request.branch, count)
        read = self._reads.pop(turn, None)
        if read is None or request.step == 0 or abs(self._clock() - read.at) > FRESH_S:
            read = _Read(self._clock(), await self._store.history(request.thread, ids.first_seq(request.turn), count))
        if _small(read.rows):
            self._reads[turn] = read
        while len(self._reads) > TURNS:
            del self._reads[next(iter(self._reads))]
        return list(read.rows)

    def forget(self, step: Step) -> None:
        """The turn has ended."""
        for turn in [
            turn for turn in self._reads if turn[:3] == (step.request.thread, step.request.epoch, step.request.turn)
        ]:
            del self._reads[turn]


def _small(rows: Sequence[Message]) -> bool:
    calls = (call for row in rows for call in row.tool_calls)
    chars = sum(len(row.text) for row in rows) + sum(len(call.arguments) for call in calls)
    return chars <= MAX_CHARS and not any(row.parts for row in rows)
