"""The pieces of an answer as live readers hear them: its text, what the model thinks, the arguments of its calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from activities.deltas import DeltaWriter
from activities.ports import EventLog
from activities.step import Step
from domain.events import EventKind
from domain.model import Piece, ReasoningDelta, TextDelta, ToolDelta
from domain.output import Output, partial_value

# Each is told whole and kept for readers, so all of them together are bounded: in characters of the text,
SMALL = 2_000  # up to which each piece is followed by the object so far,
LARGE = 50_000  # up to which it is when it has grown by this much; from there on only the text goes on.
GROWTH = 1.05


class LiveAnswer:
    """Publishes pieces in their order, those of one kind that come together as one."""

    def __init__(self, events: EventLog, step: Step) -> None:
        self._events = events
        self._step = step
        self._kind: object = None
        self._writer: DeltaWriter | None = None
        self._partial = _Partial(step.agent.output) if step.agent.output else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            await self._writer.__aexit__(kind, error, trace)

    async def add(self, piece: Piece) -> None:
        kind = (type(piece), piece.index) if isinstance(piece, ToolDelta) else type(piece)
        if self._writer is None or kind != self._kind:
            if self._writer is not None:
                await self._writer.__aexit__(None, None, None)
            self._kind, self._writer = kind, DeltaWriter(self._publisher(piece))
        await self._writer.add(piece.text)

    def _publisher(self, piece: Piece) -> Callable[[str], Awaitable[None]]:
        if isinstance(piece, TextDelta):
            return self._publish_text
        if isinstance(piece, ReasoningDelta):
            return lambda text: self._publish("reasoning.delta", text=text)
        call = {"index": piece.index, "call_id": piece.call_id, "tool": piece.tool}
        return lambda text: self._publish("tool.delta", **call, text=text)

    async def _publish_text(self, text: str) -> None:
        await self._publish("message.delta", text=text)
        if self._partial is not None and (found := self._partial.add(text)):
            await self._publish("object.delta", object=found[0])

    async def _publish(self, kind: EventKind, /, **data: Any) -> None:
        about = {"message_id": self._step.answer_id, "attempt": self._step.attempt}
        await self._events.publish(self._step.request.thread, kind, about | data)


class _Partial:
    """The object so far, told when it has changed and grown enough."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._text = ""
        self._told_at = 0
        self._last: tuple[Any] | None = None

    def add(self, text: str) -> tuple[Any] | None:
        self._text += text
        size = len(self._text)
        if size > LARGE or (size > SMALL and size < self._told_at * GROWTH):
            return None
        try:
            found = (partial_value(self._output, self._text),)
        except LookupError:
            return None
        if found == self._last:
            return None
        self._told_at, self._last = size, found
        return found
