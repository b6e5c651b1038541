"""A thread that Temporal lost, opened again from what the store has of it."""

from __future__ import annotations

from collections.abc import Sequence

from domain import ids
from domain.delivery import delivery_of
from domain.inbox import WAITING_CHARS
from domain.ledger import ENDED_KEPT
from domain.messages import Message, ThreadRecord, preview
from domain.state import Running, Waiting
from domain.thread import IDLE_ROLL_S, ThreadState
from domain.wishes import TurnReport


def rebuild(
    checkpoint: ThreadState | None,
    record: ThreadRecord,
    recent: Sequence[Message],
    unended: Sequence[Message],
    lost: Sequence[Waiting],
    ended: Sequence[TurnReport] = (),
) -> ThreadState:
    """The state of a thread whose workflow is gone, from what the store has of it.

    `recent` are its last prompts and `unended` those not ended yet, both oldest first; `lost` those of the checkpoint's
    waiting and steered prompts that never reached the store themselves. `ended` says how the last turns ended, oldest first.
    """
    state = checkpoint.model_copy(deep=True) if checkpoint else ThreadState()
    started = [row for row in unended if row.turn is not None]
    turns = [row.turn for row in [*recent, *started] if row.turn is not None]
    state.epoch, state.agent, state.owner, state.tenant = record.epoch, record.agent, record.owner, record.tenant
    state.next_turn = max([*turns, record.turns]) + 1
    state.idle_timeout_s, state.expires_at = record.idle_timeout_s, record.expires_at
    state.run_id, state.idle_roll_s, state.operator = record.run_id, IDLE_ROLL_S, record.operator
    state.running, state.steered, state.withdrawn = None, [], []
    # The checkpoint's is of its time, too. What waited and has no turn any more does not.
    state.status = "active" if record.status == "waiting" and not started else record.status
    going_on = {row.prompt_id for row in started}
    state.deliveries = [row.prompt_id for row in recent if _is_undelivered(row) and row.joins not in going_on]
    if started:
        first = started[0]
        state.running = Running(
            prompt_id=first.prompt_id,
            digest=first.digest or "",
            turn=first.turn or 1,
            branch=first.branch,
            step=first.from_step,
            agent=first.agent or state.agent,
            preview=preview(first.text, WAITING_CHARS),
            replies=first.reply_to is not None,
            joined={
                row.prompt_id: _is_undelivered(row)
                for row in recent
                if row.joins == first.prompt_id and row.branch == first.branch
            },
        )
    state.recent = {row.prompt_id: row.digest or "" for row in [*recent, *unended]} | {
        waiting.id: waiting.digest for waiting in lost
    }
    # Those of the checkpoint are of its time.
    state.ended = {report.prompt_id: report for report in ended if report.ended}
    waiting_rows = [waiting_of(row) for row in unended if row not in started[:1]]
    state.inbox = sorted([*waiting_rows, *lost], key=lambda waiting: waiting.place)
    state.places = max([state.places, *(waiting.place for waiting in state.inbox)])
    return state


def last_ended(recent: Sequence[Message]) -> list[Message]:
    """The last few prompts that have ended, in the order of their ends."""
    return sorted((row for row in recent if row.final), key=lambda row: row.updated_at)[-ENDED_KEPT:]


def report_of(row: Message, first: Message, answer: Message | None) -> TurnReport:
    """What the store says became of a prompt; `first` is the prompt whose turn it was, `answer` that turn's."""
    return TurnReport.model_validate(
        {
            "prompt_id": row.prompt_id,
            # One that joined has ended when its turn has.
            "status": row.status if row.final and first.final else "running" if row.turn is not None else "waiting",
            "turn": row.turn,
            "message_id": first.answer,
            "text": preview(answer.text) if answer else "",
            "error": row.error,
        }
    )


def waiting_of(row: Message) -> Waiting:
    """A saved prompt, or a turn that is opened again, as the inbox knows it: by reference."""
    return Waiting(
        id=row.prompt_id,
        digest=row.digest or "",
        place=row.seq - ids.WAITING_SEQ if row.turn is None else 0,
        agent=row.agent or None,
        preview=preview(row.text, WAITING_CHARS),
        saved=True,
        replies=row.reply_to is not None,
        turn=row.turn,
        branch=row.branch,
        step=row.from_step,
    )


def _is_undelivered(row: Message) -> bool:
    status = delivery_of(row).get("status", "trying")
    return row.final and row.reply_to is not None and status == "trying"
