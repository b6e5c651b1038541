"""Ids are derived from what they stand for, for ever."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from domain import ids

parts = st.text(max_size=8)
small = st.integers(0, 20)


def test_ids_never_change() -> None:
    """Golden values: every stored row is found by these, so neither the namespace nor the parts may ever change."""
    assert str(ids.NAMESPACE) == "7c1a2f64-3f0e-5d0b-9a52-6d1f0e3b8a11"
    assert ids.message_id("t", "p", "prompt") == "ac669acc-067d-5da8-bb0d-b6cc00a291db"
    assert ids.message_id("t", "p", "answer", step=1) == "f9870202-050c-547d-b779-3941500770be"
    assert ids.message_id("t", "p", "tool:3", branch=2, step=1) == "2d050cdb-037b-587c-ac25-912120fd649c"
    assert ids.record_id("thread", "t") == "71a7bc4a-1d59-51c3-9125-c0c391e641f2"
    assert ids.opaque("tenant", "ada") == "49b5a2fed84eb3ab"
    assert ids.content_digest("Hello", None, None, {"b": 1, "a": [1.5]}) == "ae3e2fd12b84f36ab6b3"


@given(st.tuples(parts, parts, parts, small, small), st.tuples(parts, parts, parts, small, small))
def test_messages_of_different_places_have_different_ids(
    one: tuple[str, str, str, int, int], other: tuple[str, str, str, int, int]
) -> None:
    def message_id(thread: str, prompt: str, slot: str, branch: int, step: int) -> str:
        return ids.message_id(thread, prompt, slot, branch=branch, step=step)

    assert (message_id(*one) == message_id(*other)) is (one == other)


@given(parts, parts, parts)
def test_moving_a_character_from_one_part_to_the_next_gives_another_id(thread: str, prompt: str, slot: str) -> None:
    assert ids.message_id(thread + "x", prompt, slot) != ids.message_id(thread, "x" + prompt, slot)
    assert ids.record_id("thread", thread + "x", prompt) != ids.record_id("thread", thread, "x" + prompt)
    assert ids.opaque(thread + "x", prompt) != ids.opaque(thread, "x" + prompt)


@given(parts, parts)
def test_a_message_and_a_record_never_share_an_id(one: str, other: str) -> None:
    assert ids.message_id(one, other, "prompt") != ids.record_id(one, other, "prompt")


@given(parts)
def test_every_id_is_a_uuid(text: str) -> None:
    """Qdrant takes no other names for points."""
    assert uuid.UUID(ids.message_id(text, text, text)).version == 5
    assert uuid.UUID(ids.record_id(text, text)).version == 5


places = st.tuples(st.integers(1, 10**6), st.integers(0, ids.MAX_STEPS - 1), st.integers(0, 999))


@given(places, places)
def test_rows_sort_by_turn_then_step_then_place_in_the_step(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assert (ids.seq(*one) < ids.seq(*other)) is (one < other)


@given(places)
def test_a_waiting_prompt_sorts_behind_every_turn(place: tuple[int, int, int]) -> None:
    assert ids.seq(*place) < ids.WAITING_SEQ < 2**53


def test_the_last_tool_call_and_a_refusal_stay_within_their_turn() -> None:
    last = ids.seq(7, ids.MAX_STEPS - 1, ids.TOOL_ORDINAL + ids.MAX_CALLS - 1)
    assert last < ids.seq(7, ids.REFUSAL_STEP, 0) < ids.seq(7, ids.REFUSAL_STEP, 999) < ids.first_seq(8)
    assert ids.seq(7, 0, ids.TOOL_ORDINAL + ids.MAX_CALLS - 1) < ids.seq(7, 1, ids.ANSWER_ORDINAL)


def test_a_workflow_id_names_its_thread() -> None:
    assert ids.thread_of(ids.workflow_id("a/b")) == "a/b"
    assert [ids.thread_of(text) for text in ("thread/", "other/x", "x", "")] == [None] * 4


def test_two_prompts_say_the_same_whatever_the_order_of_their_metadata() -> None:
    assert ids.content_digest("a", {"x": 1, "y": 2}) == ids.content_digest("a", {"y": 2, "x": 1})
    assert ids.content_digest("a", {"x": 1}) != ids.content_digest("a", {"x": "1"})
