"""Calls that wait while somebody chats: asked about one after the other, answered in a word or two."""

from __future__ import annotations

import json
from typing import Any

from domain.approvals import Resolution, read_resolution
from domain.errors import UnknownCallError
from domain.events import Event
from domain.messages import Message, preview, printable

YES, NO = ("y", "yes", "ok", "approve"), ("n", "no", "deny")
SHOWN_CHARS = 300
Asked = tuple[str, str]  # thread and call


class Decisions:
    """The calls that wait on one thread, and on those of agents that it asks, the oldest first."""

    def __init__(self, thread: str, by: str) -> None:
        self._thread = thread
        self._by = by
        self._waiting: dict[Asked, dict[str, Any]] = {}

    @property
    def first(self) -> Asked | None:
        """The one to be asked about; None if nothing waits."""
        return next(iter(self._waiting), None)

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    def hear(self, event: Event, thread: str | None = None) -> bool:
        """Take note of an event, of another thread if one is named; returns whether another call waits now, or one less."""
        thread = thread or self._thread
        before = list(self._waiting)
        if event.kind == "tool.waiting":
            self._waiting[thread, event.data["call_id"]] = event.data
        elif event.kind in ("tool.resolved", "tool.finished"):
            self._waiting.pop((thread, event.data["call_id"]), None)
        elif event.kind == "turn.finished":
            self.forget(thread)
        return list(self._waiting) != before

    def forget(self, thread: str) -> None:
        """Nobody waits there any longer."""
        self._waiting = {key: data for key, data in self._waiting.items() if key[0] != thread}

    def add(self, *rows: Message) -> bool:
        """Calls that waited before we listened; returns whether there is news among them."""
        before = len(self._waiting)
        for row in rows:
            data = {"tool": row.name, "arguments": row.arguments, "waits": row.waits, "digest": row.args_digest}
            self._waiting[row.thread, row.call_id or ""] = data | {"agent": row.agent}
        return len(self._waiting) > before

    def question(self) -> str:
        """What is asked about the first of them."""
        (thread, _), data = next(iter(self._waiting.items()))
        who = "" if thread == self._thread else f"{data.get('agent') or thread}: "
        call = printable(f"{who}{data['tool']} {preview(data['arguments'] or '', SHOWN_CHARS)}")
        return f"{call} — run it? (yes, or no and why)" if data["waits"] == "approval" else f"{call} — its result?"

    def rest(self) -> str | None:
        """The arguments of the first of them as a whole, if the question has only their start."""
        data = next(iter(self._waiting.values()))
        arguments = data["arguments"] or ""
        return arguments if len(arguments) > SHOWN_CHARS else None

    def decide(self, asked: Asked, text: str) -> tuple[str, Resolution]:
        """The thread and what was answered about a call, which is then no longer asked about.

        Anything but a yes is a no, and what stands behind it the reason.
        Raises: InputRefusedError; UnknownCallError if somebody else was quicker.
        """
        (thread, call_id), data = asked, self._waiting.get(asked)
        if data is None:
            raise UnknownCallError(f"call {call_id} waits no more")
        decided = read_resolution(
            {"call_id": call_id, "digest": data["digest"], "by": self._by} | _decision(data, text)
        )
        del self._waiting[asked]
        return thread, decided


def _decision(data: dict[str, Any], text: str) -> dict[str, Any]:
    text = text.strip()
    if data["waits"] != "approval":
        return {"decision": "result", "result": _json_or_text(text)}
    if text.lower() in YES:
        return {"decision": "approve"}
    word, _, rest = text.partition(" ")
    reason = rest.strip() if word.lower().rstrip(",:") in NO else text
    return {"decision": "deny"} | ({"reason": reason} if reason else {})


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
