"""What happens on a thread beside its answers, in a line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prompt_toolkit.utils import get_cwidth

from client.retries import retry_words
from domain.approvals import Resolution
from domain.events import Event, EventKind
from domain.messages import preview
from domain.steps import attempt_of

REPORT_CHARS = 200


def line_of(event: Event) -> str | None:
    """Which tool runs or fails, whose are missing, and who answers; None if there is nothing to say."""
    words = LINES.get(event.kind)
    return words(event.data) if words is not None else None


def report_of(event: Event) -> str | None:
    """How far a tool is, in words, on one line; its data is for programs."""
    if event.kind != "tool.progress":
        return None
    data = event.data
    said = data.get("message") or data.get("result") or ""
    share = "" if data.get("fraction") is None else f"{data['fraction']:.0%}"
    words = ", ".join(word for word in (preview(said, REPORT_CHARS), share) if word)
    return f"· {preview(data['tool'])}: {words}" if words else None


def resolved_words(event: Event) -> str:
    """How a call was decided that somebody else decided about, the deadline say."""
    data = event.data
    told = {name: data[name] for name in ("call_id", "decision", "by", "reason")}
    decided = Resolution.model_construct(None, **told)
    return f"{data['tool']} {decided.sentence()}"


def fitting(line: str, columns: int) -> str:
    """As much of a line as there is room for."""
    if get_cwidth(line) <= columns:
        return line
    while line and get_cwidth(line) > columns - 1:
        line = line[:-1]
    return f"{line}…"


def _tried_again(data: dict[str, Any]) -> str:
    words = retry_words(attempt_of(data["attempt"]) + 1, data["retry_in_s"], data["error"])
    return f"· {data['tool']} did not work: {words}"


def _tool_ended(data: dict[str, Any]) -> str | None:
    return f"· {data['tool']} did not work; the agent reads why" if data["status"] == "failed" else None


def _operator(data: dict[str, Any]) -> str:
    return f"{data['operator']} has the thread now and answers" if data["operator"] else "the agent answers again"


LINES: dict[EventKind, Callable[[dict[str, Any]], str | None]] = {
    "tool.started": lambda data: f"· {data['tool']} …",
    "tool.retrying": _tried_again,
    "tool.finished": _tool_ended,
    "server.away": lambda data: f"without the tools of {data['server']}: {data['error']}",
    "agent.asked": lambda data: f"· {data['agent']} is asked on {data['child']} …",
    "agent.changed": lambda data: f"{data['agent']} answers now, in the place of {data['before']}",
    "operator.changed": _operator,
}
