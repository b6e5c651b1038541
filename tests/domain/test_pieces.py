"""Long texts in pieces: where they are cut, and that nothing is lost or shifted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.pieces import in_pieces, pieces

TEXTS = st.text(st.sampled_from("ab é.!?\n\t,。猫\u0301\u200d👍🏽"), max_size=200)
LONGEST = st.integers(1, 40)


@pytest.mark.parametrize(
    ("text", "longest", "cut"),
    [
        ("Short enough.", 20, ["Short enough."]),
        ("  around it \n", 9, ["around it"]),
        ("One two.\n\nThree. Four", 16, ["One two.", "Three. Four"]),
        ("One two. Three four five", 16, ["One two.", "Three four five"]),
        ("One line\nanother line of it", 18, ["One line", "another line of it"]),
        ("She said “no.” Then left.", 17, ["She said “no.”", "Then left."]),
        ("今日は雨です。明日は晴れです。", 10, ["今日は雨です。", "明日は晴れです。"]),
        ("one two three", 9, ["one two", "three"]),
        ("exactly ten", 7, ["exactly", "ten"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("ab. cdefghijklm", 10, ["ab. cdefgh", "ijklm"]),  # a sentence that would leave the piece mostly empty
        ("abce\u0301f", 4, ["abc", "e\u0301f"]),
        ("ab👍🏽c", 3, ["ab", "👍🏽c"]),
        ("ab👩\u200d🔬c", 4, ["ab", "👩\u200d🔬c"]),
        ("", 5, []),
        (" \n\t\u3000", 5, []),
    ],
)
def test_a_text_is_cut_where_its_meaning_is(text: str, longest: int, cut: list[str]) -> None:
    assert pieces(text, longest) == cut


def test_what_is_behind_the_most_pieces_is_left_out() -> None:
    assert pieces("one two three four", 5, most=2) == ["one", "two"]
    assert len(pieces("word " * 1000, 5, most=None)) == 1000


def test_pieces_may_share_some_words() -> None:
    assert pieces("one two three four five", 13, overlap=6) == ["one two three", "three four", "four five"]


@pytest.mark.parametrize(("longest", "overlap"), [(0, 0), (-1, 0), (10, 6), (10, -1)])
def test_sizes_that_cannot_be_kept_are_refused(longest: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="pieces of"):
        pieces("text", longest, overlap=overlap)


@given(TEXTS, LONGEST)
def test_nothing_but_space_is_lost_and_no_piece_is_blank_or_too_long(text: str, longest: int) -> None:
    cut = pieces(text, longest, most=None)
    assert re.sub(r"\s", "", "".join(cut)) == re.sub(r"\s", "", text)
    assert all(piece.strip() == piece and 0 < len(piece) <= longest for piece in cut)


@given(st.lists(st.sampled_from([" ", ". ", "\n\n", ", "]), max_size=60), st.integers(8, 40), st.data())
def test_pieces_that_share_words_have_all_words_in_order(borders: list[str], longest: int, data: st.DataObject) -> None:
    text = "".join(f"w{number}{border}" for number, border in enumerate(borders))
    cut = pieces(text, longest, most=None, overlap=data.draw(st.integers(0, longest // 2)))
    words = [word for piece in cut for word in re.findall(r"w\d+", piece)]
    assert list(dict.fromkeys(words)) == [f"w{number}" for number in range(len(borders))]
    assert all(0 < len(piece) <= longest for piece in cut)


@given(st.lists(TEXTS, max_size=8), LONGEST)
def test_a_blank_text_shifts_no_result_to_another(texts: list[str], longest: int) -> None:
    cut = in_pieces(texts, longest)
    gathered = cut.gather([piece.upper() for piece in cut.flat])
    assert gathered == [[piece.upper() for piece in pieces(text, longest)] for text in texts]


def test_results_of_another_number_are_given_to_nobody() -> None:
    with pytest.raises(ValueError, match="1 results for 2 pieces"):
        in_pieces(["one", " ", "two"], 10).gather([[1.0]])
