"""New rows, as activities insert them, and the right to change one."""

from __future__ import annotations

from typing import Any

from domain import ids
from domain.content import parts_of
from domain.errors import SupersededError, UnknownThreadError
from domain.messages import Message, ThreadRecord
from domain.prompts import Prompt, Refusal
from domain.steps import StepRequest, ToolRequest
from domain.tooling import MAX_SAID, Asker

DUE, SKIPPED = "due", "skipped"  # for the index of search: to be taken in, never to be


def living(record: ThreadRecord | None) -> ThreadRecord | None:
    """The thread's record. Raises: UnknownThreadError if the thread was deleted: nothing is written to it any more."""
    if record is not None and record.deleted:
        raise UnknownThreadError(deleted_sentence(record.thread))
    return record


def deleted_sentence(thread: str) -> str:
    return f"thread {thread} was deleted, and is not made again; begin one under another id"


def prompt_row(thread: str, prompt: Prompt, record: ThreadRecord | None, now: float, place: int = 0) -> Message:
    """A prompt that waits; it sorts behind all turns, by arrival."""
    assert prompt.id is not None
    row = Message(
        id=ids.message_id(thread, prompt.id, "prompt"),
        thread=thread,
        prompt_id=prompt.id,
        slot="prompt",
        role="user",
        seq=ids.WAITING_SEQ + place,
        text=prompt.text,
        parts=parts_of(prompt.content),
        author=prompt.author,
        agent=prompt.agent,
        digest=prompt.digest(),
        options=prompt.options.model_dump(mode="json") if prompt.options else None,
        reply_to=prompt.reply_to.model_dump(mode="json") if prompt.reply_to else None,
        metadata=prompt.metadata,
        index=SKIPPED if prompt.options and not prompt.options.searchable else DUE,
    )
    return _stamped(row, record, now)


def refused_row(thread: str, refusal: Refusal, record: ThreadRecord | None, now: float) -> Message:
    """What was turned away, placed behind the last turn that had ended."""
    turn = record.turns if record else 0
    row = Message(
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
        refers_to=refusal.prompt_id,
        reply_to=refusal.reply_to.model_dump(mode="json") if refusal.reply_to else None,
    )
    return _stamped(row, record, now)


def answer_row(request: StepRequest, message_id: str, attempt: int, record: ThreadRecord | None, now: float) -> Message:
    row = Message(
        id=message_id,
        thread=request.thread,
        prompt_id=request.prompt_id,
        slot="answer",
        role="assistant",
        turn=request.turn,
        branch=request.branch,
        step=request.step,
        seq=ids.seq(request.turn, request.step, ids.ANSWER_ORDINAL),
        attempt=attempt,
        agent=request.agent,
        joined=[ids.message_id(request.thread, prompt_id, "prompt") for prompt_id in request.joined],
        index=DUE,
    )
    return _stamped(row, record, now)


def joined_changes(turn: int, prompt_id: str, branch: int, step: int, index: int) -> dict[str, Any]:
    """What makes a waiting prompt part of a turn: it stands behind the results of the step before."""
    seq = ids.seq(turn, step - 1, ids.JOINED_ORDINAL + index)
    return {"status": "joined", "turn": turn, "branch": branch, "step": step, "seq": seq, "joins": prompt_id}


def tool_row_id(request: ToolRequest) -> str:
    place = {"branch": request.branch, "step": request.step}
    return ids.message_id(request.thread, request.prompt_id, f"tool:{request.index}", **place)


def tool_row(request: ToolRequest, attempt: int, record: ThreadRecord | None, now: float) -> Message:
    row = Message(
        id=tool_row_id(request),
        thread=request.thread,
        prompt_id=request.prompt_id,
        slot=f"tool:{request.index}",
        role="tool",
        turn=request.turn,
        branch=request.branch,
        step=request.step,
        seq=ids.seq(request.turn, request.step, ids.TOOL_ORDINAL + request.index),
        attempt=attempt,
        call_id=request.call.call_id,
        name=request.call.tool,
        agent=request.agent,
    )
    return _stamped(row, record, now)


def said_row_id(request: ToolRequest, number: int) -> str:
    place = {"branch": request.branch, "step": request.step}
    return ids.message_id(request.thread, request.prompt_id, f"said:{request.index}:{number}", **place)


def said_row(
    request: ToolRequest,
    number: int,
    text: str,
    attempt: int,
    record: ThreadRecord | None,
    now: float,
    *,
    searchable: bool = True,
) -> Message:
    """A message that a tool saves while it runs. It stands behind all results of the step, by call."""
    place = min(request.index * MAX_SAID + number, ids.JOINED_ORDINAL - ids.SAID_ORDINAL - 1)
    row = Message(
        id=said_row_id(request, number),
        thread=request.thread,
        prompt_id=request.prompt_id,
        slot=f"said:{request.index}:{number}",
        role="assistant",
        status="complete",
        turn=request.turn,
        branch=request.branch,
        step=request.step,
        seq=ids.seq(request.turn, request.step, ids.SAID_ORDINAL + place),
        attempt=attempt,
        text=text,
        name=request.call.tool,
        agent=request.agent,
        index=DUE if searchable else SKIPPED,
    )
    return _stamped(row, record, now)


def asker_of(thread: str, record: ThreadRecord | None) -> Asker:
    return Asker(thread, record.tenant, record.owner, record.metadata) if record else Asker(thread)


def held(row: Message | None, attempt: int) -> Message:
    """The row that an amendment returned, if it is final or this attempt's.

    Raises: SupersededError if a later attempt holds it; the retry after that is a later attempt itself.
    """
    if row is None or not (row.final or row.attempt == attempt):
        raise SupersededError("a later attempt holds the row")
    return row


def _stamped(row: Message, record: ThreadRecord | None, now: float) -> Message:
    """The row with its owner, from the thread's record, and its time."""
    row.created_at = row.updated_at = now
    if record is not None:
        row.tenant, row.owner = record.tenant, record.owner
    return row
