"""A text that is too long keeps its ends, and says how much is left out and where all of it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.context import Options, Parts, Past, build_context
from domain.shortening import boundary, shorten
from domain.tokens import text_tokens
from tests.domain.contexts import exchange, prompt


def test_the_middle_is_left_out_and_told_of() -> None:
    text = "begin " + "x" * 5_000 + " end"
    shown = shorten(text, 300, text_tokens, "message 7")
    assert shown.startswith("begin ")
    assert shown.endswith(" end")
    left_out = len(text) - shown.count("x") - len("begin  end")
    assert f"\n[… {left_out:,} characters left out here; the whole is message 7 …]\n" in shown


def test_a_text_that_fits_stays_as_it_is() -> None:
    assert shorten("short", 300, text_tokens, "message 7") == "short"


@given(st.text(min_size=1, max_size=4_000), st.integers(60, 400))
def test_what_is_shown_keeps_to_its_tokens(text: str, most: int) -> None:
    assert text_tokens(shorten(text, most, text_tokens, "message 7")) <= most


@pytest.mark.parametrize("cluster", ["👩‍👩‍👧‍👦", "e\u0301", "🇮🇹", "👍🏽", "\r\n", "\ud83d\ude00"], ids=ascii)
def test_no_cut_falls_into_what_is_read_as_one_character(cluster: str) -> None:
    text = "a" + cluster * 3
    places = {boundary(text, at) for at in range(1, len(text))}
    assert places <= {1 + len(cluster) * number for number in range(4)}


@given(st.text(max_size=200), st.integers(0, 200))
def test_a_cut_never_stands_before_a_mark_of_the_character_before(text: str, at: int) -> None:
    place = boundary(text, min(at, len(text)))
    assert place == 0 or place >= len(text) or at - place >= 64 or unicodedata.category(text[place]) != "Mn"


def test_a_message_of_the_past_takes_no_more_than_its_share_and_is_recorded() -> None:
    history = exchange(1, "look: " + "x" * 50_000, "I see")
    context = build_context(Parts("", [prompt(2, "and?", "pending")], Past(history)), 4_000)
    assert context.record.shortened == [history[0].id]
    assert f"message {history[0].id}" in context.recent[0].text
    assert context.record.tokens["recent"] <= 1_100


def test_an_agent_may_say_how_long_a_message_is_shown() -> None:
    history = exchange(1, "x" * 10_000, "I see")
    parts = Parts("", [prompt(2, "and?", "pending")], Past(history))
    context = build_context(parts, 10**6, Options(longest=100))
    assert context.record.tokens["recent"] <= 130


def test_the_prompt_is_cut_only_if_it_does_not_fit_and_the_provider_refused_it_whole() -> None:
    long = "x" * 3_000  # a thousand tokens
    parts, refused = Parts("", [prompt(2, long, "pending")]), Options(shorten_running=True)
    assert build_context(parts, 900).prompt[0].text == long
    assert build_context(parts, 1_100, refused).prompt[0].text == long
    cut = build_context(parts, 900, refused)
    assert cut.record.shortened == [prompt(2, "").id]
    assert cut.record.tokens["prompt"] <= 300
