"""What the store has of threads, and what happens on one now, for programs that hold both (the gateway, the chat)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from typing import Literal, Protocol

from domain import ids
from domain.events import Event
from domain.listing import ALL_THREADS, CallFilter, ThreadFilter
from domain.messages import Message, Page, ThreadRecord
from domain.wishes import TurnReport

STORE_EVERY_S = 2.0
PAGE = 100
ENDS = ("turn.finished", "prompt.joined", "prompt.refused")


class Rows(Protocol):
    """What is read of the store, see activities.ports.Store."""

    async def get(self, message_ids: Sequence[str]) -> list[Message]: ...

    async def page(self, thread: str, *, cursor: str | None, limit: int, newest_first: bool) -> Page[Message]: ...

    async def get_thread(self, thread: str) -> ThreadRecord | None: ...

    async def page_threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None, limit: int
    ) -> Page[ThreadRecord]: ...

    async def waiting_calls(self, where: CallFilter, *, cursor: str | None, limit: int) -> Page[Message]: ...


class Live(Protocol):
    """What is heard of the event log, see activities.ports.EventLog."""

    def follow(self, thread: str, after: str | None = None) -> AsyncGenerator[Event, None]: ...


class ThreadReader:
    """Threads and messages as the store has them, and live events that cannot lose the end of a turn."""

    def __init__(self, store: Rows, events: Live, *, look_every_s: float = STORE_EVERY_S) -> None:
        self._store = store
        self._events = events
        self._look_every_s = look_every_s

    async def thread(self, thread: str) -> ThreadRecord | None:
        return await self._store.get_thread(thread)

    async def threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None = None, limit: int = PAGE
    ) -> Page[ThreadRecord]:
        """Some threads by last activity, newest first. Raises: InputRefusedError if the cursor is not one of ours."""
        return await self._store.page_threads(where, cursor=cursor, limit=limit)

    async def all_threads(self, where: ThreadFilter = ALL_THREADS) -> AsyncIterator[ThreadRecord]:
        """Page after page."""
        cursor: str | None = None
        while True:
            page = await self.threads(where, cursor=cursor)
            for record in page.items:
                yield record
            if (cursor := page.next) is None:
                return

    async def waiting_calls(self, thread: str) -> list[Message]:
        """The calls of the thread's running turn that wait for somebody, at most 128 of a kind, the oldest first."""
        kinds: tuple[Literal["approval", "result"], ...] = ("approval", "result")
        pages = [
            await self._store.waiting_calls(CallFilter(waits=waits, thread=thread), cursor=None, limit=ids.MAX_CALLS)
            for waits in kinds
        ]
        return sorted((row for page in pages for row in page.items), key=lambda row: row.seq)

    async def messages(
        self, thread: str, *, cursor: str | None = None, limit: int = PAGE, newest_first: bool = False
    ) -> Page[Message]:
        """Some of a thread's messages in order. Raises: InputRefusedError if the cursor is not one of ours."""
        return await self._store.page(thread, cursor=cursor, limit=limit, newest_first=newest_first)

    async def prompt(self, thread: str, prompt_id: str) -> Message | None:
        """The prompt's row."""
        return next(iter(await self._store.get([ids.message_id(thread, prompt_id, "prompt")])), None)

    async def answer_to(self, thread: str, prompt_id: str) -> Message | None:
        """The last answer to the prompt of this id, as `answer`."""
        row = await self.prompt(thread, prompt_id)
        return await self.answer(row) if row is not None else None

    async def answer(self, prompt: Message) -> Message | None:
        """The last answer to a prompt, whole, if there is one; of a prompt that joined a turn, that turn's."""
        first = await self._first(prompt)
        rows = await self._store.get([first.answer]) if first.answer else []
        return rows[0] if rows else None

    async def answer_text(self, prompt: Message) -> str:
        """What it says."""
        answer = await self.answer(prompt)
        return answer.text if answer else ""

    async def turn(self, thread: str, prompt_id: str) -> TurnReport:
        """What became of a prompt so far, with the whole text of the answer."""
        row = await self.prompt(thread, prompt_id)
        if row is None:
            return TurnReport(prompt_id=prompt_id, status="unknown")
        status = row.status if row.final else "running" if row.turn is not None else "waiting"
        found = {"status": status, "turn": row.turn, "message_id": (await self._first(row)).answer, "error": row.error}
        return TurnReport.model_validate(found | {"prompt_id": prompt_id, "text": await self.answer_text(row)})

    async def end(self, thread: str, prompt_id: str) -> TurnReport:
        """What became of a prompt, once its turn, or the one that it joined, has ended. Waits for as long as that takes."""
        waited = {prompt_id}
        async with aclosing(self.follow(thread, unended=waited)) as feed:
            async for event in feed:
                if event.kind not in ENDS or event.data.get("prompt_id") not in waited:
                    continue
                row = await self.prompt(thread, prompt_id)
                if row is not None and row.final and (await self._first(row)).final:
                    return await self.turn(thread, prompt_id)
                if row is not None and row.joins is not None:
                    waited.add(row.joins)
        raise AssertionError("events are followed for ever")

    async def _first(self, row: Message) -> Message:
        """The row of the prompt that the turn is of."""
        return row if row.joins is None else await self.prompt(row.thread, row.joins) or row

    async def follow(
        self, thread: str, after: str | None = None, *, unended: Collection[str] = ()
    ) -> AsyncGenerator[Event, None]:
        """Events as they come, for ever, see domain.events; those after the event of the id `after`, if they are known.

        The end of a turn is told even if its event was lost, once: of each turn that was heard to begin, and of the
        prompts in `unended`, which may change meanwhile. Such an event has the id of the one before.
        """
        heard, told = set[str](), set[str]()
        last, looked_at = after or "", time.monotonic()
        async with aclosing(_ticking(self._events.follow(thread, after), self._look_every_s)) as feed:
            async for event in feed:
                if event is not None:
                    last = event.id
                    _note(event, heard, told)
                    yield event
                if (event is None or event.kind == "snapshot") or time.monotonic() - looked_at >= self._look_every_s:
                    looked_at = time.monotonic()
                    for row in await self._ended(thread, (heard | set(unended)) - told):
                        told.add(row.prompt_id)
                        yield _end_event(row, last)

    async def _ended(self, thread: str, prompt_ids: Collection[str]) -> list[Message]:
        rows = await self._store.get([ids.message_id(thread, prompt_id, "prompt") for prompt_id in prompt_ids])
        return [row for row in rows if row.final]


def _note(event: Event, heard: set[str], told: set[str]) -> None:
    prompt_id = event.data.get("prompt_id")
    if not isinstance(prompt_id, str):
        return
    if event.kind == "turn.started":  # also of a turn that is opened again after its end
        heard.add(prompt_id)
        told.discard(prompt_id)
    elif event.kind in ENDS:
        heard.discard(prompt_id)
        told.add(prompt_id)


def _end_event(row: Message, event_id: str) -> Event:
    data = {"turn": row.turn, "prompt_id": row.prompt_id, "status": row.status}
    return Event(id=event_id, kind="turn.finished", data=data | {"message_id": row.answer, "error": row.error})


async def _ticking(events: AsyncGenerator[Event, None], every_s: float) -> AsyncGenerator[Event | None, None]:
    """The events, and None where there is none for so long."""
    async with aclosing(events) as feed:
        coming = asyncio.ensure_future(anext(feed))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=every_s)
                if not done:
                    yield None
                    continue
                yield coming.result()
                coming = asyncio.ensure_future(anext(feed))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
