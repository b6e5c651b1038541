"""Text as it comes, in pieces worth sending: the first at once, then what came within some 30 ms or 128 characters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

EVERY_S = 0.03
CHARS = 128


class DeltaWriter:
    """Publishes all the text it is given, in order; what is left goes out when it is left.

    A tail never waits for the next piece: a timer sends it.
    """

    def __init__(self, publish: Callable[[str], Awaitable[None]]) -> None:
        self._publish = publish
        self._text: list[str] = []
        self._chars = 0
        self._sent_at = float("-inf")
        self._timer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self.flush()

    async def add(self, text: str) -> None:
        self._text.append(text)
        self._chars += len(text)
        if self._chars >= CHARS or self._now() - self._sent_at >= EVERY_S:
            await self.flush()
        elif self._timer is None or self._timer.done():
            self._timer = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        await asyncio.sleep(max(0.0, self._sent_at + EVERY_S - self._now()))
        await asyncio.shield(self.flush())  # what has begun to go out is not lost when the writer is left

    async def flush(self) -> None:
        async with self._lock:  # pieces go out in the order they came
            text, self._text, self._chars = "".join(self._text), [], 0
            if text:
                self._sent_at = self._now()
                await self._publish(text)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
