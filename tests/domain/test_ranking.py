"""The order of what a search found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ranking import Candidate, rank, rarity

NOW = 1_700_000_000.0
YEAR_S = 365 * 86_400.0


def candidate(name: str, place: int | None = None, *, lexical: float = 0.0, dense: float | None = None) -> Candidate:
    return Candidate(name, "t", place, lexical, dense, created_at=NOW - YEAR_S)


def order(candidates: list[Candidate], limit: int = 10) -> list[str]:
    return [one.id for one in rank(candidates, limit, NOW)]


def test_a_hit_in_both_lists_stands_before_one_in_either() -> None:
    """The reference puts it third: vectors a, b, c, d and text b."""
    vectors = [candidate(name, dense=dense) for name, dense in zip("acd", (0.62, 0.58, 0.56), strict=True)]
    assert order([*vectors, candidate("b", lexical=3.0, dense=0.6)])[0] == "b"


def test_the_order_is_that_of_the_scores_and_not_of_time() -> None:
    old = Candidate("best", "t", None, 5.0, 0.7, created_at=0.0)
    assert order([candidate("worse", lexical=1.0, dense=0.3), old]) == ["best", "worse"]


def test_the_limit_keeps_the_best() -> None:
    many = [candidate(str(number), lexical=float(number)) for number in range(20)]
    assert order(many, 3) == ["19", "18", "17"]


def test_a_short_answer_is_found_by_the_question_before_it() -> None:
    found = order([candidate("question", 4, lexical=4.0, dense=0.6), candidate("else", 9), candidate("answer", 5)])
    assert found == ["question", "answer", "else"]


def test_neighbours_are_of_the_same_thread() -> None:
    stranger = Candidate("stranger", "another", 5)
    found = {one.id: one.score for one in rank([candidate("hit", 4, lexical=4.0), stranger], 5, NOW)}
    assert found["stranger"] == 0


def test_what_the_named_person_said_comes_first() -> None:
    by_john = Candidate("john", "t", None, 2.0, 0.5, named=True)
    assert order([candidate("mary", lexical=2.2, dense=0.5), by_john])[0] == "john"


def test_of_equals_the_newer_comes_first() -> None:
    old, new = (Candidate(name, "t", None, 1.0, 0.5, created_at=at) for name, at in (("old", 0.0), ("new", NOW)))
    assert order([old, new]) == ["new", "old"]


def test_time_is_a_mild_prior_only() -> None:
    old, new = (
        Candidate("old", "t", None, 1.0, 0.5, created_at=0.0),
        Candidate("new", "t", None, 0.8, 0.5, created_at=NOW),
    )
    assert order([old, new]) == ["old", "new"]


def test_neighbours_of_what_is_shown_stand_back() -> None:
    beside = [candidate("hit", 1, lexical=3.0), candidate("beside", 2, lexical=2.0)]
    assert order([*beside, candidate("elsewhere", 50, lexical=2.9)]) == ["hit", "elsewhere", "beside"]


def test_nothing_found_is_nothing_shown() -> None:
    assert rank([], 5, NOW) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 30) | st.none(), st.floats(0, 50), st.floats(-1, 1) | st.none(), st.floats(0, 2e9)),
        max_size=40,
    )
)
def test_scores_fall_from_one_and_each_candidate_comes_once(
    drawn: list[tuple[int | None, float, float | None, float]],
) -> None:
    candidates = [
        Candidate(str(n), "t", place, lex, dense, created_at=at) for n, (place, lex, dense, at) in enumerate(drawn)
    ]
    ranked = rank(candidates, 100, NOW)
    scores = [one.score for one in ranked]
    assert sorted(one.id for one in ranked) == sorted(one.id for one in candidates)
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)


def test_a_rare_word_says_more_than_a_frequent_one() -> None:
    assert rarity(1_000, 0) > rarity(1_000, 10) > rarity(1_000, 900) > 0
    assert rarity(10, 50) == pytest.approx(rarity(10, 10))
