"""`cli.py memory`: what was said, found by what it is about, over the gateway that runs."""

from __future__ import annotations

from typing import Annotated

import typer

from client.commands.console import Console, Json, run, tell
from domain.indexing import speaker_of, spoken_date
from domain.messages import preview, printable
from domain.recall import MOST_HITS, Hit

SHOWN_CHARS = 300
app = typer.Typer(no_args_is_help=True, help="Search what was said, and see how far the index of it is.")


@app.command()
def search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to search for.")],
    owner: Annotated[str | None, typer.Option(help="In all threads of this owner.")] = None,
    thread: Annotated[str | None, typer.Option(help="On this thread.")] = None,
    tenant: Annotated[str, typer.Option(help="Of this tenant.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST_HITS, help="No more than this many.")] = 10,
    as_json: Json = False,
) -> None:
    """Print the messages that a text reminds of, best first.

    Asks the gateway that runs at EVERTHREAD_HOST and EVERTHREAD_PORT. Name an owner or a thread.
    Exit status 0: something was found; 1: nothing was; 2: it could not be searched.
    """
    fields: dict[str, object] = {"text": text, "owner": owner, "thread": thread, "tenant": tenant, "limit": limit}
    run(context, lambda console: _search(console, fields, as_json=as_json))


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Say how much is indexed, how much is due, and which embedding model is searched.

    Exit status 0: nothing is due; 1: something is; 2: it could not be asked.
    """
    run(context, lambda console: _status(console, as_json=as_json))


async def _search(console: Console, fields: dict[str, object], *, as_json: bool) -> int:
    found = await console.gateway().search(fields)
    for hit in found.hits:
        tell(_line(hit), hit.model_dump(), as_json=as_json)
    if found.note:
        typer.echo(found.note, err=True)
    return 0 if found.hits else 1


async def _status(console: Console, *, as_json: bool) -> int:
    found = await console.gateway().index_status()
    state = found.state
    searched = (state.active if state else None) or "words alone"
    line = f"{found.done:,} messages indexed, {found.due:,} due; searched by {searched}"
    if state is not None and state.filling:
        line += f"; vectors of {state.filling} are made: {state.filled:,} of {found.done:,}"
    tell(line, found.model_dump(), as_json=as_json)
    return 1 if found.due or (state is not None and state.filling) else 0


def _line(hit: Hit) -> str:
    row = hit.message
    who = speaker_of(row) or row.role
    said = preview(row.text, SHOWN_CHARS)
    return printable(f"{hit.score:.2f}  {spoken_date(row.created_at)}  {row.thread}, turn {row.turn}  {who}: {said}")
