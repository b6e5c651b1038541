"""No reader ever has a gap or doubled text, whenever it comes, however slow it is, however often it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.streams_memory import KEPT_EVENTS, KEPT_THREADS, MemoryEvents
from domain.events import Event

MESSAGE = {"message_id": "m", "attempt": 1, "turn": 1}


@asynccontextmanager
async def following(
    events: MemoryEvents, thread: str = "t", after: str | None = None
) -> AsyncIterator[AsyncGenerator[Event, None]]:
    reader = events.follow(thread, after)
    try:
        yield reader
    finally:
        await reader.aclose()


async def take(reader: AsyncGenerator[Event, None], count: int) -> list[Event]:
    async with asyncio.timeout(5):
        return [await anext(reader) for _ in range(count)]


async def silent(reader: AsyncGenerator[Event, None]) -> bool:
    """Whether there is nothing to read now. Spends the reader."""
    task = asyncio.ensure_future(anext(reader))
    for _ in range(10):
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True
    return False


async def start(events: MemoryEvents, thread: str = "t") -> None:
    await events.publish(thread, "message.started", MESSAGE)


async def say(events: MemoryEvents, *texts: str, thread: str = "t", attempt: int = 1) -> None:
    for text in texts:
        await events.publish(thread, "message.delta", MESSAGE | {"attempt": attempt, "text": text})


class Screen:
    """What a reader shows, from what it hears: see domain.events."""

    def __init__(self) -> None:
        self.streaming: dict[str, tuple[int, str]] = {}
        self.last_id: str | None = None

    def hear(self, event: Event) -> None:
        self.last_id = event.id
        data: dict[str, Any] = event.data
        if event.kind == "snapshot":
            self.streaming = {m["message_id"]: (m["attempt"], m["text"]) for m in data["messages"]}
        elif event.kind == "message.started":
            self.streaming[data["message_id"]] = (data["attempt"], "")
        elif event.kind == "message.delta":
            attempt, text = self.streaming[data["message_id"]]
            if attempt == data["attempt"]:
                self.streaming[data["message_id"]] = (attempt, text + data["text"])
        elif event.kind == "message.finished":
            self.streaming.pop(data["message_id"])


async def test_a_new_reader_gets_a_snapshot_then_what_follows() -> None:
    events = MemoryEvents()
    await start(events)
    await say(events, "Hel", "lo")
    async with following(events) as reader:
        [snapshot] = await take(reader, 1)
        await say(events, " there")
        [delta] = await take(reader, 1)
    assert snapshot.kind == "snapshot"
    assert snapshot.data == {"messages": [MESSAGE | {"text": "Hello"}]}
    assert delta.data["text"] == " there"


async def test_the_first_snapshot_of_an_idle_thread_is_empty() -> None:
    async with following(MemoryEvents()) as reader:
        [snapshot] = await take(reader, 1)
        assert snapshot.data == {"messages": []}
        assert await silent(reader)


async def test_a_reader_that_comes_back_goes_on_after_its_last_event() -> None:
    events = MemoryEvents()
    async with following(events) as reader:
        await take(reader, 1)
        await start(events)
        await say(events, "a", "b")
        heard = await take(reader, 2)
    await say(events, "c")
    async with following(events, after=heard[-1].id) as reader:
        assert [event.data["text"] for event in await take(reader, 2)] == ["b", "c"]
        assert await silent(reader)


async def test_a_reader_that_comes_back_after_a_snapshot_goes_on_after_it() -> None:
    events = MemoryEvents()
    await start(events)
    async with following(events) as reader:
        [snapshot] = await take(reader, 1)
    await say(events, "a")
    async with following(events, after=snapshot.id) as reader:
        assert [event.kind for event in await take(reader, 1)] == ["message.delta"]


async def test_what_happens_while_a_reader_takes_its_snapshot_is_not_skipped() -> None:
    events = MemoryEvents()
    await start(events)
    async with following(events) as reader:
        await take(reader, 1)
        await say(events, "a", "b")  # the reader is still busy with the snapshot
        assert [event.data["text"] for event in await take(reader, 2)] == ["a", "b"]


@pytest.mark.parametrize(
    "after", ["", "x", "1", "other.1", "{epoch}.", "{epoch}.99", "{epoch}.-1", "{epoch}.1.1", "{epoch}.²"]
)
async def test_an_id_that_cannot_be_continued_gets_a_snapshot(after: str) -> None:
    events = MemoryEvents()
    await start(events)
    async with following(events) as reader:
        epoch = (await take(reader, 1))[0].id.partition(".")[0]
    async with following(events, after=after.replace("{epoch}", epoch)) as reader:
        assert (await take(reader, 1))[0].kind == "snapshot"


async def test_an_endless_number_is_no_error() -> None:
    events = MemoryEvents()
    async with following(events) as reader:
        epoch = (await take(reader, 1))[0].id.partition(".")[0]
    async with following(events, after=f"{epoch}.{'9' * 10_000}") as reader:
        assert (await take(reader, 1))[0].kind == "snapshot"


async def test_a_reader_that_was_away_too_long_gets_a_snapshot() -> None:
    events = MemoryEvents()
    await start(events)
    async with following(events) as reader:
        [snapshot] = await take(reader, 1)
    await say(events, *["x"] * (KEPT_EVENTS + 1))
    async with following(events, after=snapshot.id) as reader:
        [again] = await take(reader, 1)
    assert again.kind == "snapshot"
    assert again.data["messages"][0]["text"] == "x" * (KEPT_EVENTS + 1)


async def test_a_reader_that_is_too_slow_gets_a_snapshot_and_no_gap() -> None:
    events = MemoryEvents()
    screen = Screen()
    async with following(events) as reader:
        screen.hear((await take(reader, 1))[0])
        await start(events)
        screen.hear((await take(reader, 1))[0])
        await say(events, *"abc")
        screen.hear((await take(reader, 1))[0])
        await say(events, *["x"] * 3 * KEPT_EVENTS)
        while screen.streaming["m"][1] != "abc" + "x" * 3 * KEPT_EVENTS:
            screen.hear((await take(reader, 1))[0])


async def test_a_snapshot_does_not_change_after_it_was_given() -> None:
    events = MemoryEvents()
    await start(events)
    async with following(events) as reader:
        [snapshot] = await take(reader, 1)
        await say(events, "later")
    assert snapshot.data["messages"][0]["text"] == ""


async def test_a_retried_call_starts_its_text_anew() -> None:
    events = MemoryEvents()
    await start(events)
    await say(events, "half an ans")
    await events.publish("t", "message.started", MESSAGE | {"attempt": 2})
    await say(events, "the rest of the dead", attempt=1)
    await say(events, "whole answer", attempt=2)
    async with following(events) as reader:
        [snapshot] = await take(reader, 1)
    assert snapshot.data["messages"][0]["text"] == "whole answer"


@pytest.mark.parametrize(("kind", "data"), [("message.finished", MESSAGE), ("turn.finished", {"turn": 1})])
async def test_nothing_streams_after_its_end(kind: Any, data: dict[str, Any]) -> None:
    events = MemoryEvents()
    await start(events)
    await events.publish("t", kind, data)
    async with following(events) as reader:
        assert (await take(reader, 1))[0].data == {"messages": []}


async def test_threads_do_not_hear_each_other() -> None:
    events = MemoryEvents()
    async with following(events, "one") as one:
        await take(one, 1)
        await start(events, "other")
        assert await silent(one)


async def test_every_reader_hears_everything() -> None:
    events = MemoryEvents()
    async with following(events) as one, following(events) as other:
        await take(one, 1)
        await take(other, 1)
        await start(events)
        await say(events, "a")
        assert await take(one, 2) == await take(other, 2)


async def test_the_log_forgets_idle_threads_but_none_that_is_followed_or_streams() -> None:
    events = MemoryEvents()
    async with following(events, "followed") as reader:
        await take(reader, 1)
        await start(events, "streams")
        await events.publish("idle", "turn.finished", {"turn": 1})
        async with following(events, "idle") as idle:
            idle_id = (await take(idle, 1))[0].id
        for number in range(KEPT_THREADS + 10):
            await events.publish(f"t{number}", "turn.finished", {"turn": 1})
        await say(events, "still here", thread="followed")
        assert (await take(reader, 1))[0].data["text"] == "still here"
    async with following(events, "streams") as streams:
        assert len((await take(streams, 1))[0].data["messages"]) == 1
    async with following(events, "idle", after=idle_id) as back:
        [snapshot] = await take(back, 1)
    assert snapshot.kind == "snapshot"
    assert snapshot.id.partition(".")[0] != idle_id.partition(".")[0]


@given(st.lists(st.sampled_from(["delta", "delta", "retry", "finish", "start", "read", "leave", "flood"]), max_size=40))
@settings(max_examples=150, deadline=None)
async def test_a_reader_always_shows_what_streams(script: list[str]) -> None:
    """Whatever happens, in whatever order: once it has caught up, its text is the model's."""
    events, screen = MemoryEvents(), Screen()
    attempt, text, count = 0, "", 0
    reader = events.follow("t")
    for action in script:
        if action in {"start", "retry"}:
            attempt, text = attempt + 1, ""
            await events.publish("t", "message.started", MESSAGE | {"attempt": attempt})
        elif action == "finish" and attempt:
            attempt = 0
            await events.publish("t", "message.finished", MESSAGE)
        elif action in {"delta", "flood"} and attempt:
            for _ in range(KEPT_EVENTS + 1 if action == "flood" else 1):
                count += 1
                text += f"{count} "
                await say(events, f"{count} ", attempt=attempt)
        elif action == "leave":
            await reader.aclose()
            reader = events.follow("t", screen.last_id)
        elif action == "read" and screen.last_id != last_id(events):
            screen.hear((await take(reader, 1))[0])
    while screen.last_id != last_id(events):
        screen.hear((await take(reader, 1))[0])
    await reader.aclose()
    assert screen.streaming == ({"m": (attempt, text)} if attempt else {})


def last_id(events: MemoryEvents) -> str:
    return events._log("t").snapshot().id
