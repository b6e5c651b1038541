"""Two lists of hits become one that is right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fusion import fused, weighed

LISTS = st.lists(st.sampled_from([str(n) for n in range(120)]), unique=True, max_size=100)


@given(LISTS, LISTS)
def test_a_hit_in_both_lists_stands_before_each_that_is_in_one(one: list[str], other: list[str]) -> None:
    found = list(fused([(one, 1.0), (other, 1.0)]))
    both = set(one) & set(other)
    assert set(found[: len(both)]) == both
    assert set(found) == set(one) | set(other)


@given(LISTS)
def test_one_list_keeps_its_order_and_its_best_has_the_whole_score(found: list[str]) -> None:
    scores = fused([(found, 2.0), ([], 0.0)])
    assert list(scores) == found
    assert all(0 < score <= 1 for score in scores.values())
    assert not found or scores[found[0]] == pytest.approx(1.0)


def test_a_weight_of_nothing_leaves_a_list_out() -> None:
    assert list(fused([(["a"], 0.0), (["b"], 1.0)])) == ["b"]
    assert fused([]) == {}


def test_a_heavier_list_counts_more() -> None:
    assert list(fused([(["a"], 1.0), (["b"], 3.0)])) == ["b", "a"]


def test_importance_is_mild() -> None:
    assert weighed([("a", 1.0), ("b", 0.9)], {"a": 0.0, "b": 1.0}) == ["b", "a"]
    assert weighed([("a", 1.0), ("b", 0.5)], {"a": 0.0}) == ["a", "b"]
    assert weighed([("a", -0.1), ("b", -0.11)], {"a": 0.0}) == ["b", "a"]
