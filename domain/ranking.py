"""Which of the messages that a search found are shown, and in what order. Pure.

Two lists come from the engine: by the words in common (BM25) and by meaning (cosine). Their scores are added, not their
ranks: how far the first is ahead says more than that it is first. A message in both lists thus stands before one in either.
Then scores flow between neighbours, since a short answer is understood from the question before it: each message gains
from the better of the two beside it, and half as much from the better of the two beyond.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

DENSE_WEIGHT = 2.0  # of the cosine; the best of the words' scores counts 1
SHARPNESS = 2.0  # power of the sum, before it flows: what is far ahead passes on more
BESIDE, BEYOND = 0.5, 0.25  # what passes from the better neighbour at distance 1, and at distance 2
NAMED = 2.0  # factor of a message by somebody whom the query names
CROWDING = 0.8  # factor of each neighbour of a message that was chosen: evidence is often spread
RECENT = 0.05  # what is new gains so much, and half of it after RECENT_DAYS
RECENT_DAYS = 30.0
_DAY_S = 86_400.0


@dataclass(slots=True)
class Candidate:
    """A message that may be shown. `place` counts the messages of its thread; 0 or more, None if it is not known."""

    id: str
    thread: str
    place: int | None
    lexical: float = 0.0  # the engine's BM25; 0 where it was no hit
    dense: float | None = None  # the engine's cosine; None where it was no hit
    named: bool = False  # the query names who said it
    created_at: float = 0.0


@dataclass(frozen=True)
class Ranked:
    """`score` is of 0 to 1, the best of a search being 1."""

    id: str
    score: float


def rarity(total: int, having: int) -> float:
    """How much a word says that `having` of `total` messages have: the IDF of BM25."""
    having = min(having, total)
    return math.log(1 + (total - having + 0.5) / (having + 0.5))


def rank(candidates: Sequence[Candidate], limit: int, now: float) -> list[Ranked]:
    """The best `limit` of the candidates, best first; of equals the newer first."""
    scores = _flowed(candidates, _fused(candidates))
    for index, candidate in enumerate(candidates):
        age_days = max(now - candidate.created_at, 0.0) / _DAY_S
        scores[index] *= (NAMED if candidate.named else 1.0) * (1 + RECENT * 0.5 ** (age_days / RECENT_DAYS))
    return _chosen(candidates, scores, limit)


def _fused(candidates: Sequence[Candidate]) -> list[float]:
    """The sums of both scores, the best being 1. What no list has by meaning counts as the least that it has."""
    best = max((candidate.lexical for candidate in candidates), default=0.0) or 1.0
    found = [candidate.dense for candidate in candidates if candidate.dense is not None]
    least = min(found, default=0.0)
    sums = [
        candidate.lexical / best + DENSE_WEIGHT * max(least if candidate.dense is None else candidate.dense, 0.0)
        for candidate in candidates
    ]
    highest = max(sums, default=0.0) or 1.0
    return [(value / highest) ** SHARPNESS for value in sums]


def _flowed(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[float]:
    at = _places(candidates, scores)
    flowed: list[float] = []
    for candidate, score in zip(candidates, scores, strict=True):
        if candidate.place is not None:
            around = at[candidate.thread]
            place = candidate.place
            score += BESIDE * max(around.get(place - 1, 0.0), around.get(place + 1, 0.0))  # noqa: PLW2901
            score += BEYOND * max(around.get(place - 2, 0.0), around.get(place + 2, 0.0))  # noqa: PLW2901
        flowed.append(score)
    return flowed


def _chosen(candidates: Sequence[Candidate], scores: list[float], limit: int) -> list[Ranked]:
    beside: dict[tuple[str, int], list[int]] = {}
    for index, candidate in enumerate(candidates):
        if candidate.place is not None:
            beside.setdefault((candidate.thread, candidate.place), []).append(index)
    waiting = [(-score, -candidates[index].created_at, index) for index, score in enumerate(scores)]
    heapq.heapify(waiting)
    chosen: list[tuple[int, float]] = []
    taken: set[int] = set()
    while waiting and len(chosen) < limit:
        negative, age, index = heapq.heappop(waiting)
        if index in taken:
            continue
        if -negative > scores[index]:  # it was crowded since
            heapq.heappush(waiting, (-scores[index], age, index))
            continue
        taken.add(index)
        chosen.append((index, scores[index]))
        for neighbour in _neighbours(candidates[index], beside):
            scores[neighbour] *= CROWDING
    best = max((score for _, score in chosen), default=0.0) or 1.0
    return [Ranked(candidates[index].id, score / best) for index, score in chosen]


def _neighbours(candidate: Candidate, beside: Mapping[tuple[str, int], list[int]]) -> Iterable[int]:
    if candidate.place is None:
        return
    for place in (candidate.place - 1, candidate.place + 1):
        yield from beside.get((candidate.thread, place), ())


def _places(candidates: Sequence[Candidate], scores: Sequence[float]) -> dict[str, dict[int, float]]:
    """The best score at each place, by thread."""
    found: dict[str, dict[int, float]] = {}
    for candidate, score in zip(candidates, scores, strict=True):
        around = found.setdefault(candidate.thread, {})
        if candidate.place is not None and score > around.get(candidate.place, 0.0):
            around[candidate.place] = score
    return found
