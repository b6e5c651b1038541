"""Text goes out in order, at once at first, and none of it stays behind."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.deltas import CHARS, EVERY_S, DeltaWriter


class Sink:
    def __init__(self, delay_s: float = 0.0) -> None:
        self.sent: list[str] = []
        self.heard = asyncio.Event()
        self._delay_s = delay_s

    async def publish(self, text: str) -> None:
        await asyncio.sleep(self._delay_s)
        self.sent.append(text)
        self.heard.set()


async def test_the_first_piece_goes_out_at_once() -> None:
    sink = Sink()
    async with DeltaWriter(sink.publish) as deltas:
        await deltas.add("first")
        assert sink.sent == ["first"]


async def test_pieces_that_come_together_go_out_together() -> None:
    sink = Sink()
    async with DeltaWriter(sink.publish) as deltas:
        for word in ("one ", "two ", "three"):
            await deltas.add(word)
    assert sink.sent == ["one ", "two three"]


async def test_a_tail_does_not_wait_for_the_next_piece() -> None:
    sink = Sink()
    async with DeltaWriter(sink.publish) as deltas:
        await deltas.add("one ")
        await deltas.add("two")
        sink.heard.clear()
        await asyncio.wait_for(sink.heard.wait(), 20 * EVERY_S)
        assert sink.sent == ["one ", "two"]


async def test_much_text_does_not_wait() -> None:
    sink = Sink()
    async with DeltaWriter(sink.publish) as deltas:
        await deltas.add("one ")
        await deltas.add("x" * CHARS)
        assert sink.sent == ["one ", "x" * CHARS]


async def test_a_tail_that_is_going_out_when_the_call_ends_is_not_lost() -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    sent = []

    async def publish(text: str) -> None:
        if text == "two":
            begun.set()
            await go.wait()
        sent.append(text)

    async with DeltaWriter(publish) as deltas:
        await deltas.add("one ")
        await deltas.add("two")
        await asyncio.wait_for(begun.wait(), 5)
        asyncio.get_running_loop().call_later(0.01, go.set)
    assert sent == ["one ", "two"]


async def test_what_is_left_goes_out_when_the_call_fails() -> None:
    sink = Sink()
    with pytest.raises(KeyError):
        async with DeltaWriter(sink.publish) as deltas:
            await deltas.add("one ")
            await deltas.add("two")
            raise KeyError
    assert "".join(sink.sent) == "one two"


@given(
    st.lists(st.tuples(st.text(max_size=2 * CHARS), st.sampled_from([0.0, 0.0, EVERY_S / 2])), max_size=8),
    st.sampled_from([0.0, EVERY_S / 3]),
)
@settings(max_examples=25, deadline=None)
async def test_all_text_goes_out_once_and_in_order(pieces: list[tuple[str, float]], delay_s: float) -> None:
    """Also to a log that takes its time."""
    sink = Sink(delay_s)
    async with DeltaWriter(sink.publish) as deltas:
        for text, pause_s in pieces:
            await deltas.add(text)
            await asyncio.sleep(pause_s)
    assert "".join(sink.sent) == "".join(text for text, _ in pieces)
