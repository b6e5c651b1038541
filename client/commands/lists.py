"""`cli.py threads list` and `threads messages`: what the store has, over the gateway that runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from client.commands.console import Console, Json, run, tell, tell_pages
from domain.listing import ThreadFilter, ThreadStatus
from domain.messages import Message, ThreadRecord, preview, printable

Limit = Annotated[int, typer.Option(min=1, help="No more than this many.")]


def list_threads(
    context: typer.Context,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only with this agent.")] = None,
    status: Annotated[ThreadStatus | None, typer.Option(help="Only those that are so.")] = None,
    text: Annotated[str | None, typer.Option(help="Only those whose last prompt has these words.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List threads by last activity, the newest first.

    Asks the gateway that runs at EVERTHREAD_HOST and EVERTHREAD_PORT.
    Exit status 0: they were listed; 2: they could not be.
    """
    fields = {"tenant": tenant, "owner": owner, "agent": agent, "status": status, "text": text}
    run(context, lambda console: _list(console, ThreadFilter.model_validate(fields), limit, as_json=as_json))


def messages(
    context: typer.Context,
    thread: Annotated[str, typer.Argument(help="The thread's id.")],
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Print the last messages of a thread, the oldest first.

    Asks the gateway that runs at EVERTHREAD_HOST and EVERTHREAD_PORT.
    Exit status 0: they were printed; 2: they could not be, or there is no such thread.
    """
    run(context, lambda console: _messages(console, thread, limit, as_json=as_json))


async def _list(console: Console, where: ThreadFilter, limit: int, *, as_json: bool) -> int:
    gateway = console.gateway()
    return await tell_pages(
        lambda cursor, most: gateway.threads(where, cursor=cursor, limit=most), limit, _line, as_json=as_json
    )


async def _messages(console: Console, thread: str, limit: int, *, as_json: bool) -> int:
    gateway, rows = console.gateway(), list[Message]()
    cursor: str | None = None
    while len(rows) < limit:
        page = await gateway.messages(thread, cursor=cursor, limit=limit - len(rows), newest_first=True)
        rows += page.items
        if (cursor := page.next) is None:
            break
    for row in reversed(rows):
        tell(_said(row), row.model_dump(), as_json=as_json)
    return 0


def _line(record: ThreadRecord) -> str:
    at = datetime.fromtimestamp(record.updated_at, UTC)
    who = f"{record.agent}, {record.owner}" if record.owner else record.agent
    who += f", with {record.operator}" if record.operator else ""
    who += f", asked by {record.parent.thread}" if record.parent else ""
    turns = "1 turn" if record.turns == 1 else f"{record.turns:,} turns"
    failed = "" if record.status == "active" else f", {record.status}"
    return f"{record.thread}  {at:%Y-%m-%d %H:%M}  {preview(who, 60)}  {turns}{failed}  {preview(record.preview, 60)}"


def _said(row: Message) -> str:
    who = row.name if row.role == "tool" else row.author or (row.agent if row.role == "assistant" else None)
    well = row.status in {"answered", "complete"}
    place = "waiting" if row.turn is None else f"turn {row.turn}"
    how = f"{place}, {row.status}" if not well and row.turn is not None else place
    asked = "".join(f"\n  → {call.name} {preview(call.arguments, 200)}" for call in row.tool_calls)
    why = f"\n  {row.error}" if row.error else ""
    return printable(f"{who or row.role} ({how}): {row.text}{asked}{why}")
