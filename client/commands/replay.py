"""`cli.py replay`: does the code that is here understand the threads that run? To be asked before a deploy."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory

from client.commands.console import FAILED, UNUSABLE, Console, Json, Progress, complain, run, tell
from client.histories import events_of
from client.sender import CALL_TIMEOUT
from client.threads import Threads
from client.visibility import count_running, list_running
from domain import ids
from domain.errors import InputRefusedError
from domain.messages import preview
from workflows.interface import WORKFLOW

OURS = (WORKFLOW, "Erase", "KeepMemory")
ALL_LIMIT = 1_000
REASON_CHARS = 400


@dataclass(frozen=True)
class Chosen:
    """Where the histories come from: one of the three."""

    files: list[Path]
    thread: str | None
    every: bool
    limit: int


def replay(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Histories, or folders of them, as `temporal workflow show -w thread/ID -o json` prints them."
        ),
    ] = None,
    thread: Annotated[str | None, typer.Option(help="The history of this thread, from the server.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those of all threads that run, the newest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --all: no more than this many.")] = ALL_LIMIT,
    as_json: Json = False,
) -> None:
    """Replay histories against the code that is here: run it on a new release before you deploy it.

    Exit status 0: all replay; 1: some do not, and their threads would be wedged; 2: they could not be read.
    """
    chosen = Chosen(files or [], thread, every, limit)
    if [bool(chosen.files), thread is not None, every].count(True) != 1:
        complain("say what to replay: files or folders, or --thread ID, or --all")
        raise typer.Exit(UNUSABLE)
    run(context, lambda console: _replay(console, chosen, as_json=as_json))


async def _replay(console: Console, chosen: Chosen, *, as_json: bool) -> int:
    from temporalio.runtime import Runtime, TelemetryConfig  # slow to load, and no other command needs them
    from temporalio.worker import Replayer

    from workflows.erase import Erase
    from workflows.memory import KeepMemory
    from workflows.thread import AgentThread

    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # what fails is told here, in one line
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))
    replayer = Replayer(workflows=[AgentThread, Erase, KeepMemory], data_converter=console.converter, runtime=quiet)
    done = failed = 0
    histories = _from_files(chosen.files) if chosen.files else _from_server(await console.connect(), chosen)
    async with aclosing(histories), replayer.workflow_replay_iterator(histories) as results:
        async for result in results:
            done += 1
            failed += result.replay_failure is not None
            _tell(result.history, result.replay_failure, as_json=as_json)
    if not done:
        raise InputRefusedError(f"there is no history of a workflow {' or '.join(OURS)} there")
    if not as_json:
        typer.echo(f"{done - failed:,} of {done:,} histories replay" + (": do not deploy this" if failed else ""))
    return FAILED if failed else 0


def _tell(history: WorkflowHistory, failure: Exception | None, *, as_json: bool) -> None:
    started = history.events[0].workflow_execution_started_event_attributes
    fields = {
        "workflow_id": history.workflow_id,
        "run_id": started.original_execution_run_id,
        "events": len(history.events),
        "replays": failure is None,
        "reason": _reason(failure) if failure else None,
    }
    line = f"{'FAILS' if failure else 'ok':5} {history.workflow_id} {fields['run_id']} {len(history.events)} events"
    tell(f"{line}: {fields['reason']}" if failure else line, fields, as_json=as_json)


def _reason(failure: Exception) -> str:
    """The sentence in the middle of what the SDK tells."""
    found = re.search(r'message: "((?:[^"\\]|\\.)*)"', str(failure))
    return preview(found[1] if found else str(failure), REASON_CHARS)


async def _from_files(paths: list[Path]) -> AsyncGenerator[WorkflowHistory]:
    for path in paths:
        for file in sorted(path.glob("**/*.json")) if path.is_dir() else [path]:
            history = _read(file)
            started = history.events[0].workflow_execution_started_event_attributes
            if started.workflow_type.name in OURS:
                yield history
            elif file is path:
                raise InputRefusedError(f"{file} is the history of another workflow than {', '.join(OURS)}")


def _read(file: Path) -> WorkflowHistory:
    try:
        history = WorkflowHistory.from_json("", file.read_text(encoding="utf-8"))
        started = history.events[0].workflow_execution_started_event_attributes
    except (ParseError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputRefusedError(f"{file} is no history: {preview(str(error), 100)}") from None
    return WorkflowHistory(started.workflow_id or ids.workflow_id(file.stem), history.events)


async def _from_server(threads: Threads, chosen: Chosen) -> AsyncGenerator[WorkflowHistory]:
    client = threads.temporal
    if chosen.thread is not None:
        described = await threads.handle(chosen.thread).describe(rpc_timeout=CALL_TIMEOUT)
        yield WorkflowHistory(described.id, await events_of(client, described.id, described.run_id))
        return
    total = await count_running(client)
    progress = Progress("replayed", min(total, chosen.limit))
    if total > chosen.limit:
        typer.echo(f"{total:,} threads run; the newest {chosen.limit:,} are replayed (--limit)", err=True)
    async for running in list_running(client, chosen.limit):
        yield WorkflowHistory(running.id, await events_of(client, running.id, running.run_id))
        progress.step()
        progress.clear()
