"""The event log in this process: a ring buffer a thread, and what streams right now, for those who come late."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from typing import Any

from domain.events import Event, EventKind

KEPT_EVENTS = 2_000  # a thread
KEPT_THREADS = 1_000
_GROWING: dict[EventKind, str] = {"message.delta": "text", "reasoning.delta": "reasoning"}


class MemoryEvents:
    """activities.ports.EventLog for one process. What is published is heard by followers of the same process only."""

    def __init__(self) -> None:
        self._logs: OrderedDict[str, _Log] = OrderedDict()

    async def publish(self, thread: str, kind: EventKind, data: dict[str, Any]) -> None:
        self._log(thread).append(kind, data)

    async def follow(self, thread: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        log = self._log(thread)
        log.followers += 1
        try:
            position = log.position(after)
            while True:
                if position is None or position < log.oldest:
                    position = log.count  # before the reader gets time to read, in which more may happen
                    yield log.snapshot()
                    continue
                for event in log.since(position):
                    position += 1
                    yield event
                    if position < log.oldest:
                        break
                if position == log.count:
                    await log.changed()
        finally:
            log.followers -= 1

    async def forget(self, thread: str) -> None:
        if thread in self._logs:
            self._logs[thread].forget()

    def _log(self, thread: str) -> _Log:
        log = self._logs.get(thread)
        if log is None:
            log = self._logs[thread] = _Log()
            self._forget_idle()
        self._logs.move_to_end(thread)
        return log

    def _forget_idle(self) -> None:
        """A forgotten log's readers get a snapshot of a new epoch when they come back."""
        for thread in list(self._logs)[: max(0, len(self._logs) - KEPT_THREADS)]:
            if not self._logs[thread].busy:
                del self._logs[thread]


class _Log:
    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex[:8]
        self.count = 0  # events so far; the newest has this number
        self.followers = 0
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._streaming: dict[str, dict[str, Any]] = {}
        self._change = asyncio.Event()

    @property
    def oldest(self) -> int:
        """The lowest position that can be continued without a gap."""
        return self.count - len(self._events)

    @property
    def busy(self) -> bool:
        return bool(self.followers or self._streaming)

    def append(self, kind: EventKind, data: dict[str, Any]) -> None:
        self.count += 1
        self._events.append(Event(id=f"{self.epoch}.{self.count}", kind=kind, data=data))
        self._fold(kind, data)
        self._change.set()
        self._change = asyncio.Event()

    def forget(self) -> None:
        """Whoever was behind gets a snapshot of a new epoch."""
        self.epoch = uuid.uuid4().hex[:8]
        self._events.clear()

    def position(self, after: str | None) -> int | None:
        """The number of the event an id names. Returns None if it is not of this log."""
        epoch, _, number = (after or "").partition(".")
        if epoch != self.epoch or not number.isdecimal() or len(number) > 18 or int(number) > self.count:
            return None
        return int(number)

    def since(self, position: int) -> list[Event]:
        return [self._events[index] for index in range(position - self.count, 0)]

    def snapshot(self) -> Event:
        messages = [dict(message) for message in self._streaming.values()]
        return Event(id=f"{self.epoch}.{self.count}", kind="snapshot", data={"messages": messages})

    async def changed(self) -> None:
        await self._change.wait()

    def _fold(self, kind: EventKind, data: dict[str, Any]) -> None:
        message_id = str(data.get("message_id"))
        if kind == "message.started":
            self._streaming[message_id] = data | {"text": ""}
        elif kind in _GROWING and message_id in self._streaming:
            message = self._streaming[message_id]
            if message["attempt"] == data["attempt"]:
                message[_GROWING[kind]] = message.get(_GROWING[kind], "") + data["text"]
        elif kind == "message.finished":
            self._streaming.pop(message_id, None)
        elif kind == "turn.finished":
            for ended in [key for key, value in self._streaming.items() if value.get("turn") == data.get("turn")]:
                del self._streaming[ended]
