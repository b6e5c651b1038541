"""Texts that people and providers send, made fit to be shown and stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.messages import Message, mend_text, preview, sketch
from tests.strategies import any_text, valid_text


@given(valid_text, st.integers(1, 400))
def test_a_preview_is_one_line_within_its_length(text: str, chars: int) -> None:
    shown = preview(text, chars)
    assert len(shown) <= chars
    assert shown.splitlines() in ([], [shown])


def test_a_preview_shows_that_something_was_left_out() -> None:
    assert preview("one two three", 8) == "one two…"
    assert preview("one\n two\t", 8) == "one two"


@given(any_text)
def test_mended_text_can_always_be_stored(text: str) -> None:
    mended = mend_text(text)
    assert mended.encode().decode() == mended
    assert mend_text(mended) == mended


@given(valid_text)
def test_whole_characters_are_left_as_they_are(text: str) -> None:
    assert mend_text(text) == text


@given(valid_text)
def test_characters_that_a_stream_cut_in_two_are_whole_again(text: str) -> None:
    units = text.encode("utf-16-le")
    halves = "".join(chr(int.from_bytes(units[i : i + 2], "little")) for i in range(0, len(units), 2))
    assert mend_text(halves) == text


def test_half_a_character_becomes_the_replacement_character() -> None:
    assert mend_text("a\ud83d b\ude00") == "a\ufffd b\ufffd"


def test_fields_of_a_newer_release_are_kept() -> None:
    stored = {"id": "i", "thread": "t", "prompt_id": "p", "slot": "prompt", "role": "user", "mood": "new"}
    assert Message.model_validate(stored).model_dump()["mood"] == "new"


def test_only_a_pending_row_is_open() -> None:
    row = Message(id="i", thread="t", prompt_id="p", slot="prompt", role="user")
    statuses = ("pending", "answered", "complete", "failed", "refused")
    final = [row.model_copy(update={"status": status}).final for status in statuses]
    assert final == [False, True, True, True, True]


def test_a_sketch_shows_the_first_fields_of_an_object_and_the_kind_of_the_rest() -> None:
    fields = {"id": "d-1", "deep": {"x": 1}, "n": 3, "none": None} | {f"more{number}": number for number in range(9)}
    shown = sketch(fields)
    assert shown.startswith("{'id': 'd-1', 'deep': an object, 'n': 3, 'none': null, 'more0': 0, ")
    assert shown.endswith(", …}")


@given(
    st.recursive(st.none() | st.integers() | any_text, lambda inner: st.lists(inner) | st.dictionaries(any_text, inner))
)
def test_a_sketch_of_anything_can_be_stored_and_printed(value: object) -> None:
    assert "\x1b" not in preview(sketch(value)).encode("utf-8").decode()
