"""What a prompt's `reply_to` is told once the prompt has ended."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from domain.approvals import WaitingCall
from domain.messages import Message
from domain.wire import json_size

MAX_TEXT_BYTES = 1_000_000  # as JSON; the server takes no payload over 2 MiB
CUT = "\n[cut here; the whole answer is in the store]"


class PromptEnd(BaseModel):
    """How a prompt ended, and the whole answer: up to 1 MB, then cut with a note. Every field is always there.

    The same prompt may be told more than once: `thread` and `prompt_id` name it.
    """

    thread: str
    prompt_id: str
    status: str
    turn: int | None
    message_id: str | None
    text: str
    error: str | None


class CallNotice(BaseModel):
    """A call that waits for somebody. `why` it is told: asked (it waits from now on), reminder, or escalated.

    The same may come more than once: `message_id` and `why` name it.
    """

    thread: str
    prompt_id: str
    turn: int
    message_id: str
    why: str
    call: WaitingCall


def end_of(prompt: Message, answer: Message | None) -> PromptEnd:
    """From the rows of a prompt that has ended and of its answer, if it has one."""
    return PromptEnd(
        thread=prompt.thread,
        prompt_id=prompt.refers_to or prompt.prompt_id,
        status=prompt.status,
        turn=prompt.turn,
        message_id=answer.id if answer else None,
        text=_cut(answer.text) if answer else "",
        error=prompt.error,
    )


def delivery_of(prompt: Message) -> dict[str, Any]:
    """What became of the reply about this end, not of one about an end before the prompt was opened again."""
    noted = prompt.delivery or {}
    return noted if noted.get("reopened_by") == prompt.reopened_by else {}


def _cut(text: str) -> str:
    kept = text
    while (size := json_size(kept)) > MAX_TEXT_BYTES:
        kept = kept[: len(kept) * MAX_TEXT_BYTES // size]
    return kept if kept == text else kept + CUT
