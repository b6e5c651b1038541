"""The calls of a running step that wait for somebody: what is decided about them, once, and when what is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from domain.approvals import MAX_DECISION_BYTES, Gate, Resolution, ResolveReceipt, Terms, WaitingCall
from domain.errors import InboxFullError, ResolvedAlreadyError, UnknownCallError
from domain.messages import preview
from domain.state import Gated, Running
from domain.steps import StepResult
from domain.wire import json_size

BY_DEADLINE = "the deadline"
UNDECIDED = "was not decided before its turn ended"
NO_RESULT = "no result came in time"
MAX_CARRIED_BYTES = MAX_DECISION_BYTES + 2_000  # of decisions that are at work, as JSON: one is always taken

Why = Literal["asked", "reminder", "escalated"]
Due = Literal["reminder", "escalated", "deadline", "end"]  # end: of the thread, whose time to live is over


@dataclass(frozen=True)
class Task:
    """Something that is due for a call at a time, in seconds since 1970."""

    at: float
    what: Due
    gated: Gated


def open_gates(running: Running, result: StepResult, now: float) -> None:
    """Note the calls of the step that are not run at once."""
    running.plan, running.terms = result.plan, result.terms
    running.gated = [Gated(index=index, since=now) for index, call in enumerate(result.plan) if call.gate is not None]


def close_gates(running: Running) -> None:
    """All calls of the step have ended."""
    running.plan, running.terms, running.gated, running.done = [], None, [], {}


def note_done(running: Running, index: int, result_id: str) -> Resolution | None:
    """A call of the plan has ended; return what was decided about it, which is not carried any longer."""
    running.done[index] = result_id
    decided = None
    for gated in running.gated:
        if gated.index == index:
            decided, gated.resolution = gated.resolution, None
    return decided


def undone(running: Running | None) -> Iterator[Gated]:
    """The calls that had to wait and have not ended."""
    for gated in running.gated if running else []:
        if running and gated.index not in running.done:
            yield gated


def gate(running: Running, gated: Gated) -> Gate:
    found = running.plan[gated.index].gate
    assert found is not None
    return found


def terms_of(running: Running) -> Terms:
    return running.terms or Terms()


def waiting_calls(running: Running | None) -> Iterator[WaitingCall]:
    """The calls about which nothing is decided yet."""
    for gated in undone(running):
        if running and gated.resolution is None:
            yield waiting_call(running, gated)


def waiting_call(running: Running, gated: Gated) -> WaitingCall:
    call, why, terms = running.plan[gated.index], gate(running, gated), terms_of(running)
    return WaitingCall(
        call_id=call.call_id,
        tool=call.tool,
        kind=why.kind,
        digest=why.digest,
        arguments=why.arguments,
        since=gated.since,
        deadline=None if terms.deadline_s is None else gated.since + terms.deadline_s,
    )


def decide(running: Running | None, wanted: Resolution) -> ResolveReceipt:
    """Take a decision about a call that waits. Raises: UnknownCallError, ResolvedAlreadyError, InboxFullError."""
    gated = _find(running, wanted.call_id)
    if running is None or gated is None:
        raise UnknownCallError(_unknown(running, wanted.call_id))
    if gated.resolution is None and running.stopped():
        raise ResolvedAlreadyError(f"call {wanted.call_id} {UNDECIDED}")
    if gated.resolution is None:
        _check(running, gated, wanted)
        gated.resolution = wanted
    elif wanted.id is None or (wanted.id, wanted.decision) != (gated.resolution.id, gated.resolution.decision):
        raise ResolvedAlreadyError(f"call {wanted.call_id} {gated.resolution.sentence()}; that stands")
    return receipt(running, gated.resolution)


def receipt(running: Running, decided: Resolution) -> ResolveReceipt:
    left = len(list(waiting_calls(running)))
    return ResolveReceipt(call_id=decided.call_id, decision=decided.decision, turn=running.turn, left=left)


def next_due(running: Running, expires_at: float | None = None) -> Task | None:
    """What comes first, of all that is not done yet; `expires_at` is when the thread ends, whoever waits."""
    undecided = [gated for gated in undone(running) if gated.resolution is None]
    due = [task for gated in undecided for task in _due(running, gated)]
    if expires_at is not None and not running.stopped():
        due += [Task(expires_at, "end", gated) for gated in undecided[:1]]
    return min(due, key=lambda task: task.at, default=None)


def by_deadline(running: Running, gated: Gated) -> Resolution:
    """What is decided when nobody has."""
    call, why = running.plan[gated.index], gate(running, gated)
    if why.kind == "result":
        return Resolution(call_id=call.call_id, decision="error", by=BY_DEADLINE, reason=NO_RESULT)
    default = terms_of(running).default
    digest = why.digest if default == "approve" else None
    reason = None if default == "approve" else "nobody decided in time"
    return Resolution(call_id=call.call_id, decision=default, digest=digest, by=BY_DEADLINE, reason=reason)


def _due(running: Running, gated: Gated) -> Iterator[Task]:
    terms = terms_of(running)
    if terms.remind_s is not None and "reminder" not in gated.told:
        yield Task(gated.since + terms.remind_s, "reminder", gated)
    if terms.escalate_s is not None and "escalated" not in gated.told:
        yield Task(gated.since + terms.escalate_s, "escalated", gated)
    if terms.deadline_s is not None:
        yield Task(gated.since + terms.deadline_s, "deadline", gated)


def _find(running: Running | None, call_id: str) -> Gated | None:
    return next((gated for gated in undone(running) if running and running.plan[gated.index].call_id == call_id), None)


def _unknown(running: Running | None, call_id: str) -> str:
    known = ", ".join(call.call_id for call in waiting_calls(running)) or "none"
    return f"no call {preview(ascii(call_id), 60)} waits on this thread; those that wait: {preview(known, 200)}"


def _check(running: Running, gated: Gated, wanted: Resolution) -> None:
    """Raises: UnknownCallError if it is about something else; InboxFullError."""
    why = gate(running, gated)
    carried = json_size([other.resolution for other in undone(running)]) + json_size(wanted)
    if carried > MAX_CARRIED_BYTES:
        raise InboxFullError(
            f"decisions of over {MAX_CARRIED_BYTES} bytes are at work; send this one again in a second"
        )
    if wanted.digest is not None and wanted.digest != why.digest:
        raise UnknownCallError(
            f"digest {wanted.digest} is not that of call {wanted.call_id} ({why.digest}): look at its arguments again"
        )
    if why.kind == "approval" and wanted.decision not in ("approve", "deny"):
        raise UnknownCallError(f"call {wanted.call_id} waits for an approval; the decision is approve or deny")
    if why.kind == "result" and wanted.decision == "approve":
        raise UnknownCallError(f"call {wanted.call_id} waits for its result; the decision is result, error or deny")
