"""`cli.py threads …`: the table of its commands, and `roll`, which moves threads to the code that is deployed now."""

from __future__ import annotations

from typing import Annotated

import typer
from temporalio.client import WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from client.commands import calls, change, forget, lists, operate, talk
from client.commands.console import UNUSABLE, Console, Json, Progress, complain, run, tell
from client.sender import CALL_TIMEOUT
from client.threads import Threads
from client.visibility import count_running, each, list_running
from domain import ids
from domain.errors import InputRefusedError
from domain.messages import preview

VERSION_ATTRIBUTE = "TemporalWorkerDeploymentVersion"

app = typer.Typer(no_args_is_help=True)


@app.callback()
def threads() -> None:
    """Talk to threads, look at them, decide about their calls, and change what they do."""


app.command("list")(lists.list_threads)
app.command()(lists.messages)
app.command()(talk.status)
app.command()(talk.submit)
app.command()(talk.ask)
app.command()(talk.interrupt)
app.command("calls")(calls.list_calls)
app.command()(calls.approve)
app.command()(calls.deny)
app.command()(calls.supply)
app.command()(change.withdraw)
app.command()(change.edit)
app.command()(change.regenerate)
app.command()(change.resume)
app.command()(forget.delete)
app.command()(operate.take_over)
app.command()(operate.say)
app.command()(operate.hand_back)


@app.command()
def roll(
    context: typer.Context,
    thread: Annotated[str | None, typer.Argument(help="The thread's id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All threads that run, the newest first.")] = False,
    on: Annotated[
        str | None, typer.Option(metavar="NAME:BUILD", help="With --all: only those pinned to this deployment version.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="With --all: no more than this many.")] = None,
    as_json: Json = False,
) -> None:
    """Tell threads to continue as new at their next step, with the code that is deployed now.

    To be run after a deploy, so that idle threads do not stay on the old code. It does no harm, and can be repeated.
    Exit status 0: they were told; 2: they could not be.
    """
    if (thread is None) is not every or (on and not every):
        complain("say which: a thread's id, or --all")
        raise typer.Exit(UNUSABLE)
    also = f"{VERSION_ATTRIBUTE} = '{_quoted(on)}'" if on else ""
    run(context, lambda console: _roll(console, thread, also, limit, as_json=as_json))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


async def _roll(console: Console, thread: str | None, also: str, limit: int | None, *, as_json: bool) -> int:
    threads = await console.connect()
    if thread is not None:
        if not await _tell_to_roll(threads, ids.workflow_id(thread)):
            raise InputRefusedError(f"thread {preview(ascii(thread), 60)} does not run")
        tell(f"{thread} rolls at its next step", {"thread": thread, "told": True}, as_json=as_json)
        return 0
    return await _roll_all(threads, also, limit, as_json=as_json)


async def _roll_all(threads: Threads, also: str, limit: int | None, *, as_json: bool) -> int:
    client = threads.temporal
    progress = Progress("told", min(await count_running(client, also), limit or 10**9))
    told = 0

    async def tell_one(execution: WorkflowExecution) -> bool:
        return await _tell_to_roll(threads, execution.id)

    async for execution, done in each(list_running(client, limit, also), tell_one):
        told += done
        progress.step()
        if as_json:
            tell("", {"thread": ids.thread_of(execution.id), "told": done}, as_json=True)
    progress.clear()
    if not as_json:
        typer.echo(f"{told:,} threads were told; each rolls at its next step")
    return 0


async def _tell_to_roll(threads: Threads, workflow_id: str) -> bool:
    """Returns whether it runs. Raises: RPCError."""
    try:
        await threads.temporal.get_workflow_handle(workflow_id).signal("roll", rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True
