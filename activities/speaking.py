"""What a tool says while it runs: progress for live readers, in order; messages for the thread, once for each."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import structlog
from pydantic_core import to_json, to_jsonable_python

from domain.messages import mend_text
from domain.tooling import MAX_SAID, MAX_SAID_CHARS, Progress

EVERY_S = 0.05  # between two batches of reports
BATCH = 32  # reports; older ones of a flood are not heard
MAX_MESSAGE_CHARS, MAX_DATA_BYTES, MAX_SO_FAR_CHARS = 1_000, 16_000, 10_000

log = structlog.get_logger()


class CallLine:
    """domain.tooling.Line of one attempt of a call, while it is entered; nothing said later is heard.

    `save` puts the n-th message into the thread and returns its id.
    """

    def __init__(
        self, publish: Callable[[dict[str, Any]], Awaitable[None]], save: Callable[[int, str], Awaitable[str]]
    ) -> None:
        self._publish = publish
        self._save = save
        self._waiting: deque[dict[str, Any]] = deque(maxlen=BATCH)
        self._woken = False
        self._said = 0
        self.stopped = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._turn_to_say = asyncio.Lock()
        self._wake = asyncio.Event()
        self._sender = asyncio.create_task(self._keep_sending())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped = True
        self._sender.cancel()
        with suppress(asyncio.CancelledError):
            await self._sender
        await self._send()

    def progress(self, report: Progress) -> None:
        told: dict[str, Any] = {}
        if report.message is not None:
            told["message"] = mend_text(str(report.message))[:MAX_MESSAGE_CHARS]
        if report.fraction is not None and math.isfinite(report.fraction):
            told["fraction"] = min(1.0, max(0.0, float(report.fraction)))
        if report.data is not None:
            told["data"] = _plain(report.data)
        self._tell(told)

    def so_far(self, text: str) -> bool:
        """A result that is not the last yet. Returns whether anybody wants the next one."""
        self._tell({"result": text[:MAX_SO_FAR_CHARS]})
        return not self.stopped

    async def say(self, text: str) -> str:
        if self.stopped:
            raise RuntimeError("the call has ended; say it while the tool runs")
        if not str(text).strip():
            raise ValueError("say: the message is blank; say something")
        if len(text) > MAX_SAID_CHARS:
            raise ValueError(
                f"say: the message has {len(text)} characters, more than {MAX_SAID_CHARS}; return it instead"
            )
        if self._said >= MAX_SAID:
            raise ValueError(f"say: one call may say {MAX_SAID} messages; use progress for more")
        number, self._said = self._said, self._said + 1
        async with self._turn_to_say:
            return await self._save(number, mend_text(str(text)))

    def say_sync(self, text: str) -> str:
        if threading.get_ident() == self._thread:
            raise RuntimeError("say_sync is for sync tools; here it is `await context.say(...)`")
        return asyncio.run_coroutine_threadsafe(self.say(text), self._loop).result()

    def _tell(self, told: dict[str, Any]) -> None:
        if self.stopped or not told:
            return
        self._waiting.append(told)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    async def _keep_sending(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._woken = False  # before what waits is read, so that nothing is left lying
            await self._send()
            await asyncio.sleep(EVERY_S)

    async def _send(self) -> None:
        while self._waiting:
            told = self._waiting.popleft()
            try:
                await self._publish(told)
            except Exception as error:  # noqa: BLE001 - a report may be lost, a result may not
                log.warning("progress.lost", error=repr(error))


def _plain(data: Any) -> Any:
    """The data as JSON has it; what is too large is told by its size."""
    try:
        plain = to_jsonable_python(data, fallback=str)
        size = len(to_json(plain))
    except (TypeError, ValueError, RecursionError):
        return mend_text(repr(data)[:MAX_MESSAGE_CHARS])
    return plain if size <= MAX_DATA_BYTES else {"bytes": size}
