"""Calls that wait while somebody chats: asked about one after the other, answered in a word or two."""

from __future__ import annotations

import json
from typing import Any

from domain.approvals import Resolution, read_resolution
from domain.events import Event
from domain.messages import Message, preview, printable

YES, NO = ("y", "yes", "ok", "approve"), ("n", "no", "deny")
SHOWN_CHARS = 300


class Decisions:
    """The calls of one thread that wait, the oldest first."""

    def __init__(self, by: str) -> None:
        self._by = by
        self._waiting: dict[str, dict[str, Any]] = {}

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    def hear(self, event: Event) -> bool:
        """Take note of an event; returns whether something waits, or no longer does."""
        before = list(self._waiting)
        if event.kind == "tool.waiting":
            self._waiting[event.data["call_id"]] = event.data
        elif event.kind in ("tool.resolved", "tool.finished"):
            self._waiting.pop(event.data["call_id"], None)
        elif event.kind == "turn.finished":
            self._waiting.clear()
        return list(self._waiting) != before

    def add(self, row: Message) -> None:
        """A call that waited before we listened."""
        data = {"tool": row.name, "arguments": row.arguments, "waits": row.waits, "digest": row.args_digest}
        self._waiting[row.call_id or ""] = data

    def question(self) -> str:
        """What is asked about the first of them."""
        data = next(iter(self._waiting.values()))
        call = printable(f"{data['tool']} {preview(data['arguments'] or '', SHOWN_CHARS)}")
        return f"{call} — run it? (yes, or no and why)" if data["waits"] == "approval" else f"{call} — its result?"

    def decide(self, text: str) -> Resolution:
        """What was answered about the first of them, which is then no longer asked about.

        Anything but a yes is a no, and what stands behind it the reason. Raises: InputRefusedError.
        """
        call_id, data = next(iter(self._waiting.items()))
        decided = read_resolution(
            {"call_id": call_id, "digest": data["digest"], "by": self._by} | _decision(data, text)
        )
        del self._waiting[call_id]
        return decided


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
