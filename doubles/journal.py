"""What the scripted model was asked, and what became of each request."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RecordedRequest:
    """One chat completion request. Times are seconds since 1970, so that they compare across processes."""

    number: int  # from 1, never used twice
    arrived_at: float
    raw_body: bytes  # kept unparsed: a tenth of the memory
    headers: dict[str, str]  # without authorization
    reply: int | None = None  # position in the script; None for the echo and for a refusal
    status: int | None = None  # None until the response headers are sent
    chunks_sent: int = 0
    first_chunk_at: float | None = None
    ended_at: float | None = None
    finished: bool = False  # the response was sent whole
    client_left: bool = False  # before that

    @property
    def body(self) -> Any:
        """The parsed body, or its text if it is not JSON."""
        try:
            return json.loads(self.raw_body)
        except ValueError:
            return self.raw_body.decode("utf-8", "replace")

    def as_json(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name != "raw_body"}
        return fields | {"body": self.body}


Condition = Callable[[RecordedRequest], bool]


@dataclass
class Journal:
    """The newest requests, oldest first."""

    keep: int
    _requests: deque[RecordedRequest] = field(init=False)
    _count: int = 0
    _waiting: list[tuple[Condition, asyncio.Future[RecordedRequest]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._requests = deque(maxlen=self.keep)

    def open(self, *, arrived_at: float, headers: dict[str, str], raw_body: bytes) -> RecordedRequest:
        self._count += 1
        request = RecordedRequest(self._count, arrived_at, raw_body, headers)
        self._requests.append(request)
        self.changed(request)
        return request

    def close(self, request: RecordedRequest, *, finished: bool = False, client_left: bool = False) -> None:
        request.ended_at = time.time()
        request.finished, request.client_left = finished, client_left
        self.changed(request)

    def since(self, number: int) -> list[RecordedRequest]:
        return [request for request in self._requests if request.number > number]

    def clear(self) -> None:
        """Forgets the requests; their numbers are not used again."""
        self._requests.clear()

    def changed(self, request: RecordedRequest) -> None:
        """Wakes who waits for this; to be called after every change."""
        for condition, future in self._waiting:
            if not future.done() and condition(request):
                future.set_result(request)

    async def until(self, condition: Condition) -> RecordedRequest:
        """The first request for which the condition holds, or comes to hold."""
        if found := next(filter(condition, self._requests), None):
            return found
        future = asyncio.get_running_loop().create_future()
        waiting = (condition, future)
        self._waiting.append(waiting)
        try:
            result: RecordedRequest = await future
            return result
        finally:
            self._waiting.remove(waiting)
