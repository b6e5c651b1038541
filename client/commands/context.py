"""`cli.py context`: what a model was shown for an answer, or would be shown for a prompt."""

from __future__ import annotations

from typing import Annotated

import typer

from client.commands.console import Console, Json, run, tell
from domain.context_record import PARTS, ContextRecord, ContextView
from domain.messages import preview, printable

CHARS = 200  # of a message


def context(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="MESSAGE|TEXT", help="An answer's id; with --thread, what would be said.")
    ],
    thread: Annotated[str | None, typer.Option(help="Show what a model would see if TEXT were said here now.")] = None,
    agent: Annotated[str | None, typer.Option(help="With --thread: who would answer.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a model was shown for an answer: parts with their tokens, what was recalled and what was left out.

    Asks the gateway that runs at EVERTHREAD_HOST and EVERTHREAD_PORT.
    Exit status 0: it was shown; 2: it could not be, or there is no such message or thread.
    """
    run(context, lambda console: _show(console, what, thread, agent, as_json=as_json))


async def _show(console: Console, what: str, thread: str | None, agent: str | None, *, as_json: bool) -> int:
    gateway = console.gateway()
    view = await (gateway.context(what) if thread is None else gateway.look(thread, what, agent))
    tell("\n".join(_lines(view)), view.model_dump(mode="json"), as_json=as_json)
    return 0


def _lines(view: ContextView) -> list[str]:
    record = view.record
    used = sum(record.tokens.values())
    lines = [f"{'part':<14}{'tokens':>9}"]
    lines += [f"{part:<14}{record.tokens[part]:>9,}" for part in PARTS if record.tokens.get(part)]
    lines += [f"{'all':<14}{used:>9,}  of {record.budget:,}, by {record.counted_by}"]
    lines += ["", "recalled"] if record.recalled else []
    for note in record.recalled:
        where = f"turn {note.turn}" if note.thread == view.thread else f"{note.thread}, turn {note.turn}"
        lines.append(f"  {note.score:.3f}  {where}  {' '.join(note.hits or note.ids)}")
    lines += ["", *_notes(record)]
    for message in view.messages:
        calls = "".join(f" → {call.name} {call.arguments}" for call in message.tool_calls)
        lines.append(f"  {message.role:<10}{preview(message.text + calls, CHARS)}")
    return [printable(line) for line in lines]


def _notes(record: ContextRecord) -> list[str]:
    shown = len(record.recent) + record.more_ids
    notes = [f"recent: {shown} messages"]
    notes += [f"memory: {', '.join(record.memory)}"] if record.memory else []
    notes += [f"summary: of the turns up to {record.summary_through}"] if record.summary_through is not None else []
    left_out = ", ".join(f"{count} {reason}" for reason, count in record.dropped.items())
    notes += [f"left out: {left_out}"] if left_out else []
    notes += [f"without their middle: {' '.join(record.shortened)}"] if record.shortened else []
    notes += [f"only the ends of the turn of: {' '.join(record.abridged)}"] if record.abridged else []
    notes += [f"the budget was halved {record.halved} times, since the model took no more"] if record.halved else []
    notes += [f"search: {record.search}"] if record.search else []
    return notes + (["the agent's context_handler made the messages"] if record.handled else [])
