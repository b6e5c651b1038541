"""Two lists of hits into one, by their ranks: scores of different kinds cannot be compared, places can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEAST_FLAT = 60  # how little the first places of a list differ; more if the list is longer
OF_IMPORTANCE = 0.2  # of a score, so much is taken off what has none


def fused(lists: Sequence[tuple[Sequence[str], float]]) -> dict[str, float]:
    """Ids with scores of 0 to 1, best first, of lists of ids and their weights, best first.

    Of equal weights, an id that is in all lists stands before each that is in fewer: 2 / (flat + length) > 1 / flat,
    since no list is longer than `flat`. Of equal scores the one that came first in an earlier list is first.
    """
    weighted = [(found, weight) for found, weight in lists if weight > 0]
    flat = max([LEAST_FLAT, *(len(found) for found, _ in weighted)])
    scores: dict[str, float] = {}
    for found, weight in weighted:
        for rank, item in enumerate(found):
            scores[item] = scores.get(item, 0.0) + weight / (flat + rank)
    most = sum(weight for _, weight in weighted) / flat
    return {item: scores[item] / most for item in sorted(scores, key=lambda item: -scores[item])}


def weighed(found: Sequence[tuple[str, float]], importance: Mapping[str, float]) -> list[str]:
    """Ids of hits with scores of one kind, best first, what is less important further down.

    By the scores and not by places, so that it decides between hits that are about as good, and a far better one stands
    first whatever its importance.
    """
    less = {item: OF_IMPORTANCE * (1 - importance.get(item, 1.0)) for item, _ in found}
    scores = {item: score - abs(score) * less[item] for item, score in found}
    return sorted(scores, key=lambda item: -scores[item])
