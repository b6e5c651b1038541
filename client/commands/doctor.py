"""`cli.py doctor threads`: which threads are wedged, why, and what to do."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from client.commands.console import FAILED, Console, Json, Progress, run, tell
from client.threads import Threads
from client.visibility import count_running, each, list_running
from client.wedges import Wedge, find_wedge

app = typer.Typer(help="Find what is wrong.", no_args_is_help=True)


@app.callback()
def doctor() -> None:
    """Find what is wrong."""


@app.command()
def threads(
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at no more than this many, the newest first.")] = None,
    as_json: Json = False,
) -> None:
    """List wedged threads: those whose workflow task has failed more than three times in a row.

    Looks at every thread that runs. Exit status 0: none is wedged; 1: some are; 2: it could not be found out.
    """
    run(context, lambda console: _threads(console, limit, as_json=as_json))


async def _threads(console: Console, limit: int | None, *, as_json: bool) -> int:
    threads = await console.connect()
    client = threads.temporal
    progress = Progress("looked at", min(await count_running(client), limit or 10**9))
    looked = wedged = 0
    running = list_running(client, limit)
    async for _, wedge in each(running, lambda one: find_wedge(client, one.id, one.run_id)):
        looked += 1
        progress.step()
        if wedge:
            wedged += 1
            progress.clear()
            tell(_lines(wedge), dataclasses.asdict(wedge) | {"advice": _advice(wedge)}, as_json=as_json)
    progress.clear()
    if not as_json:
        typer.echo(f"{looked:,} threads run, {wedged:,} of them wedged" if wedged else _well(looked, threads))
    return FAILED if wedged else 0


def _well(looked: int, threads: Threads) -> str:
    return f"{looked:,} threads run in namespace {threads.temporal.namespace}; none is wedged"


def _lines(wedge: Wedge) -> str:
    waiting = "1 signal waits" if wedge.signals == 1 else f"{wedge.signals} signals wait"
    since = f" since {wedge.since:%Y-%m-%d %H:%M} UTC" if wedge.since else ""
    return (
        f"{wedge.thread}\n"
        f"    wedged:  its task failed {wedge.attempts - 1} times{since}; {waiting}\n"
        f"    cause:   {wedge.cause}\n"
        f"    to do:   {_advice(wedge)}"
    )


def _advice(wedge: Wedge) -> str:
    if "non deterministic" in wedge.cause:
        return (
            "the code does not fit the thread's history: run workers of the release it began on, and move it by "
            f"`python cli.py threads roll {wedge.thread}`; or `python cli.py repair {wedge.thread}`"
        )
    return (
        "with a worker that has the cause mended it goes on by itself within ten minutes; "
        f"else `python cli.py repair {wedge.thread}`"
    )
