"""Reading threads: lists in pages, whole answers, and the end of a turn even if its event was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from client.reading import ThreadReader
from domain import ids
from domain.events import Event
from domain.listing import ThreadFilter
from domain.prompts import ThreadStart
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, new_thread

QUICK_S = 0.05


class DeafEvents:
    """A log whose events are all lost but those it is given."""

    def __init__(self, *events: Event) -> None:
        self._events = events

    async def follow(self, thread: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        for event in self._events:
            yield event
        await asyncio.Event().wait()


@pytest.fixture
def reader(system: System) -> ThreadReader:
    return ThreadReader(system.store, system.events)


def deaf(system: System, *events: Event) -> ThreadReader:
    return ThreadReader(system.store, DeafEvents(*events), look_every_s=QUICK_S)


async def first(reader: ThreadReader, thread: str, kind: str, *unended: str) -> Event:
    async with asyncio.timeout(20), aclosing(reader.follow(thread, unended=unended)) as feed:
        async for event in feed:
            if event.kind == kind:
                return event
    raise AssertionError


async def test_threads_are_listed_by_owner_page_after_page(system: System, reader: ThreadReader) -> None:
    owner = new_thread()
    threads = [new_thread() for _ in range(3)]
    for thread in threads:
        await system.ask(thread, "Hi", start=ThreadStart(owner=owner))
    mine = ThreadFilter(owner=owner)
    page = await reader.threads(mine, limit=2)
    rest = await reader.threads(mine, limit=2, cursor=page.next)
    assert [record.thread for record in [*page.items, *rest.items]] == threads[::-1]
    assert [record.thread async for record in reader.all_threads(mine)] == threads[::-1]


async def test_a_turn_is_told_with_its_whole_answer(system: System, reader: ThreadReader, thread: str) -> None:
    system.model.script("Long. " * 500)
    assert (await reader.turn(thread, "a")).status == "unknown"
    await system.submit(thread, "Hi", id="a")
    report = await asyncio.wait_for(reader.end(thread, "a"), 20)
    assert (report.status, report.turn, report.text) == ("answered", 1, "Long. " * 500)


async def test_the_end_of_a_turn_that_failed_is_told_with_its_reason(
    system: System, reader: ThreadReader, thread: str
) -> None:
    system.model.script(Reply(status=400))
    await system.submit(thread, "Hi", id="a")
    report = await asyncio.wait_for(reader.end(thread, "a"), 20)
    assert (report.status, report.text) == ("failed", "")
    assert report.error


@pytest.mark.parametrize("hears", [True, False])
async def test_a_prompt_that_joined_a_turn_is_told_with_that_turns_answer(
    system: System, reader: ThreadReader, thread: str, hears: bool
) -> None:
    hold = Reply(tool_calls=[ToolCall(name="hold")], times=1)
    system.model.script(hold, Reply(when="And me", text="To both of you.", delay_s=0.05))
    await system.submit(thread, "Hi", id="a", agent="helper")

    async def holding() -> bool:
        return bool(system.bench.ran)

    await system.until(holding)
    await system.submit(thread, "And me", id="b", mode="steer")
    ending = asyncio.create_task((reader if hears else deaf(system)).end(thread, "b"))
    system.bench.release()
    report = await asyncio.wait_for(ending, 20)
    assert (report.status, report.text) == ("joined", "To both of you.")
    [first] = await system.ended(thread, "a")
    assert report.message_id == first.answer


async def test_events_come_as_they_happen(system: System, reader: ThreadReader, thread: str) -> None:
    kinds: list[str] = []
    async with asyncio.timeout(20), aclosing(reader.follow(thread)) as feed:
        kinds.append((await anext(feed)).kind)
        await system.submit(thread, "Hi", id="a")
        while kinds[-1] != "turn.finished":
            kinds.append((await anext(feed)).kind)
    assert kinds[0] == "snapshot"
    assert kinds[1] == "turn.started"
    assert kinds[2:] == [kind for its_thread, kind, _ in system.events.published if its_thread == thread][1:]


async def test_the_end_of_a_turn_that_nobody_heard_is_told_from_the_store(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    event = await first(deaf(system), thread, "turn.finished", "a")
    answer = ids.message_id(thread, "a", "answer")
    assert event.data == {"turn": 1, "prompt_id": "a", "status": "answered", "message_id": answer, "error": None}


async def test_the_lost_end_of_a_turn_that_was_heard_to_begin_is_told(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    began = Event(id="e.1", kind="turn.started", data={"prompt_id": "a"})
    event = await first(deaf(system, began), thread, "turn.finished")
    assert (event.id, event.data["prompt_id"]) == ("e.1", "a")


async def test_an_end_is_told_once(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    ended = Event(id="e.1", kind="turn.finished", data={"prompt_id": "a", "status": "answered"})
    reader = deaf(system, ended)
    async with asyncio.timeout(5), aclosing(reader.follow(thread, unended=["a", "b"])) as feed:
        assert await anext(feed) is ended
        await system.ask(thread, "Ho", id="b")
        assert (await anext(feed)).data["prompt_id"] == "b"


async def test_a_prompt_may_be_waited_for_while_its_thread_is_followed(system: System, thread: str) -> None:
    unended: set[str] = set()
    async with asyncio.timeout(20), aclosing(deaf(system).follow(thread, unended=unended)) as feed:
        coming = asyncio.ensure_future(anext(feed))
        await system.ask(thread, "Hi", id="a")
        unended.add("a")
        assert (await coming).data["prompt_id"] == "a"
