"""`cli.py repair THREAD`: mends a wedged thread."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from temporalio.service import RPCError

from client.commands.console import FAILED, Console, Json, run, tell
from client.repair import Repair, examine, lines, mend
from client.threads import Threads

ANSWER_S = 5.0


def repair(
    context: typer.Context,
    thread: Annotated[str, typer.Argument(help="The thread's id, as `doctor threads` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it. Without this, only say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Mend a wedged thread: end its run, open it again from the store, send again what was not answered.

    Every prompt keeps its id, so nothing is lost and nothing answered twice; it can be repeated, and cut off anywhere.
    Exit status 0: done, or nothing to do; 1: without --yes there is something to do; 2: it could not be done.
    """
    run(context, lambda console: _repair(console, thread, yes=yes, as_json=as_json))


async def _repair(console: Console, thread: str, *, yes: bool, as_json: bool) -> int:
    threads = await console.connect()
    found = await examine(threads, thread)
    if not found.needed:
        tell(f"{thread} is well: there is nothing to do", _fields(found, done=False), as_json=as_json)
        return 0
    if not yes:
        tell(_report(found, "would be sent again"), _fields(found, done=False), as_json=as_json)
        if not as_json:
            typer.echo("nothing was done: add --yes to do it")
        return FAILED
    sent = await mend(threads, found)
    sent.wedge = found.wedge
    tell(_report(sent, "sent again"), _fields(sent, done=True), as_json=as_json)
    if not as_json:
        typer.echo(await _after(threads, thread))
    return 0


def _report(repair: Repair, verb: str) -> str:
    head = f"{repair.thread}: wedged, {repair.wedge.why}" if repair.wedge else repair.thread
    sent = [f"    {verb}: {line}" for line in lines(repair)] or [f"    nothing {verb}"]
    return "\n".join([head, *sent, *(f"    not sent again: {line}" for line in repair.left)])


def _fields(repair: Repair, *, done: bool) -> dict[str, Any]:
    wedge = repair.wedge
    return {
        "thread": repair.thread,
        "wedged": wedge is not None,
        "cause": wedge.cause if wedge else None,
        "needed": repair.needed,
        "done": done,
        "prompts": list(repair.prompts),
        "wishes": [{"signal": name, "input": value} for name, value in repair.wishes],
        "left": repair.left,
    }


async def _after(threads: Threads, thread: str) -> str:
    try:
        status = await asyncio.wait_for(threads.status(thread), ANSWER_S)
    except (RPCError, TimeoutError):
        return "the thread is started again; no worker has answered yet: see `python cli.py doctor threads`"
    return f"the thread runs: {'answering' if status['running'] else 'idle'}, {status['waiting']} waiting"
