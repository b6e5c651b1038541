"""New rows, as activities insert them."""

from __future__ import annotations

from domain import ids
from domain.messages import Message, ThreadRecord
from domain.prompts import Prompt, Refusal
from domain.steps import StepRequest, ToolRequest


def prompt_row(thread: str, prompt: Prompt, record: ThreadRecord | None, now: float, place: int = 0) -> Message:
    """A prompt that waits; it sorts behind all turns, by arrival."""
    assert prompt.id is not None
    return Message(
        id=ids.message_id(thread, prompt.id, "prompt"),
        thread=thread,
        prompt_id=prompt.id,
        slot="prompt",
        role="user",
        seq=ids.WAITING_SEQ + place,
        text=prompt.content,
        author=prompt.author,
        agent=prompt.agent,
        digest=prompt.digest(),
        metadata=prompt.metadata,
        created_at=now,
        updated_at=now,
        **_owner(record),
    )


def refused_row(thread: str, refusal: Refusal, record: ThreadRecord | None, now: float) -> Message:
    """What was turned away, placed behind the last turn that had ended."""
    turn = record.turns if record else 0
    return Message(
        id=ids.message_id(thread, refusal.id, "prompt"),
        thread=thread,
        prompt_id=refusal.id,
        slot="prompt",
        role="user",
        status="refused",
        turn=turn,
        seq=ids.seq(turn, ids.REFUSAL_STEP, refusal.place % 1000),
        text=refusal.text,
        error=refusal.reason,
        metadata={"of": refusal.prompt_id} if refusal.prompt_id else {},
        created_at=now,
        updated_at=now,
        **_owner(record),
    )


def answer_row(request: StepRequest, message_id: str, attempt: int, record: ThreadRecord | None, now: float) -> Message:
    return Message(
        id=message_id,
        slot="answer",
        role="assistant",
        seq=ids.seq(request.turn, request.step, ids.ANSWER_ORDINAL),
        attempt=attempt,
        **_place(request),
        **_times(now),
        **_owner(record),
    )


def tool_row(request: ToolRequest, message_id: str, attempt: int, record: ThreadRecord | None, now: float) -> Message:
    return Message(
        id=message_id,
        slot=f"tool:{request.index}",
        role="tool",
        seq=ids.seq(request.turn, request.step, ids.TOOL_ORDINAL + request.index),
        attempt=attempt,
        call_id=request.call.call_id,
        name=request.call.tool,
        **_place(request),
        **_times(now),
        **_owner(record),
    )


def _place(request: StepRequest | ToolRequest) -> dict[str, object]:
    names = ("thread", "prompt_id", "turn", "branch", "step", "agent")
    return {name: getattr(request, name) for name in names}


def _times(now: float) -> dict[str, float]:
    return {"created_at": now, "updated_at": now}


def _owner(record: ThreadRecord | None) -> dict[str, str]:
    return {"tenant": record.tenant, "owner": record.owner} if record else {}
