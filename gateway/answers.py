"""How the end of a turn is learned: from live events, and from the store where those are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from activities.ports import EventLog, Store
from domain import ids
from domain.events import Event
from domain.messages import Message

STORE_EVERY_S = 2.0


async def ended(store: Store, events: EventLog, thread: str, prompt_id: str) -> Message:
    """The prompt's row, once its turn has ended. Waits for as long as that takes."""
    row_id = ids.message_id(thread, prompt_id, "prompt")
    async with aclosing(ticking(events, thread)) as feed:
        async for event in feed:
            mine = event is not None and event.data.get("prompt_id") == prompt_id
            if event is not None and not (mine and event.kind in ("turn.finished", "prompt.refused")):
                continue
            row = next(iter(await store.get([row_id])), None)
            if row is not None and row.final:
                return row
    raise AssertionError("events are followed for ever")


async def ticking(events: EventLog, thread: str) -> AsyncGenerator[Event | None, None]:
    """A thread's events, and None every two seconds, since what is live may be lost."""
    async with aclosing(events.follow(thread)) as feed:
        coming = asyncio.ensure_future(anext(feed))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=STORE_EVERY_S)
                if not done:
                    yield None
                    continue
                yield coming.result()
                coming = asyncio.ensure_future(anext(feed))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def answer_text(store: Store, prompt: Message) -> str:
    """The text of the last answer to a prompt that is answered."""
    rows = await store.get([prompt.answer]) if prompt.answer else []
    return rows[0].text if rows else ""
