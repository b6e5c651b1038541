"""`cli.py threads submit`, `ask`, `interrupt` and `status`: talks to one thread through Temporal."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.service import RPCError, RPCStatusCode

from client.commands.console import FAILED, Console, Json, complain, run, tell
from client.retries import Retrying
from client.waiting import telling, waiting_words
from domain.approvals import WaitingCall
from domain.errors import InputRefusedError, UnavailableError
from domain.messages import preview, printable
from domain.prompts import Prompt, ThreadStart, read_prompt, read_start
from domain.wishes import TurnReport

SHOWN_IDS = 10
LOOKED_AT = 200  # the newest messages, among which the answer is

Thread = Annotated[str, typer.Argument(help="The thread's id.")]
Text = Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")]
Id = Annotated[
    str | None, typer.Option("--id", help="Makes it idempotent: the same id again is the same prompt.", metavar="ID")
]
Author = Annotated[str | None, typer.Option(help="Who says it.")]
Agent = Annotated[str | None, typer.Option(help="The agent that answers it. Default: the thread's.")]
Mode = Annotated[
    str | None,
    typer.Option(help="If the thread is busy: queue, steer, interrupt, replace or reject. Default: the agent's."),
]
Owner = Annotated[str | None, typer.Option(help="Whose thread it is, if it is begun.")]
Model = Annotated[str | None, typer.Option(help="The model of this turn, also provider/model. Default: the agent's.")]
Schema = Annotated[
    Path | None,
    typer.Option(
        help="A file with a JSON schema, or with a JSON list of texts to choose from: the answer is such a value.",
        metavar="FILE",
    ),
]
MustExist = Annotated[bool, typer.Option("--must-exist", help="Do not start the thread if there is none.")]


def submit(
    context: typer.Context,
    thread: Thread,
    text: Text,
    prompt_id: Id = None,
    author: Author = None,
    agent: Agent = None,
    mode: Mode = None,
    model: Model = None,
    owner: Owner = None,
    must_exist: MustExist = False,
    as_json: Json = False,
) -> None:
    """Say something to a thread, starting it if need be, and hear whether it is taken.

    Exit status 0: it is; 2: it is not, or nobody knows, and then the same with the same --id is safe.
    """
    fields = {"id": prompt_id, "author": author, "agent": agent, "mode": mode, "must_exist": must_exist}
    run(context, lambda console: _submit(console, thread, _prompt(text, model, fields), owner, as_json=as_json))


def ask(
    context: typer.Context,
    thread: Thread,
    text: Text,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait.")] = 600.0,
    prompt_id: Id = None,
    author: Author = None,
    agent: Agent = None,
    mode: Mode = None,
    model: Model = None,
    schema: Schema = None,
    owner: Owner = None,
    must_exist: MustExist = False,
    as_json: Json = False,
) -> None:
    """Say something to a thread, starting it if need be, and print the answer.

    The whole answer comes from the gateway; if none runs, its start.
    Exit status 0: it was answered; 1: it ended otherwise; 2: it was not taken, or there is no answer yet.
    """
    fields = {"id": prompt_id, "author": author, "agent": agent, "mode": mode, "must_exist": must_exist}
    run(
        context,
        lambda console: _ask(console, thread, _prompt(text, model, fields, schema), owner, timeout, as_json=as_json),
    )


def interrupt(
    context: typer.Context,
    thread: Thread,
    turn: Annotated[int | None, typer.Option(min=1, help="Only if this turn runs.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Only if this prompt is being answered.")] = None,
    reason: Annotated[str | None, typer.Option(help="Recorded with the turn.")] = None,
    as_json: Json = False,
) -> None:
    """Stop the turn that runs; what it said so far is kept.

    Exit status 0: it is being stopped; 1: it does not run; 2: it could not be asked.
    """
    run(context, lambda console: _interrupt(console, thread, turn, prompt, reason, as_json=as_json))


def status(context: typer.Context, thread: Thread, as_json: Json = False) -> None:
    """Say what a thread is doing: what runs, what waits, and what fails and is tried again.

    Exit status 0: it was told; 2: it could not be, or the thread does not run.
    """
    run(context, lambda console: _status(console, thread, as_json=as_json))


def _prompt(text: str, model: str | None, fields: dict[str, Any], schema: Path | None = None) -> Prompt:
    """Raises: InputRefusedError."""
    given = {name: value for name, value in fields.items() if value is not None}
    options = {"model": model, "output": None if schema is None else _schema(schema)}
    if wanted := {name: value for name, value in options.items() if value is not None}:
        given["options"] = wanted
    return read_prompt(given | {"content": sys.stdin.read() if text == "-" else text})


def _schema(file: Path) -> Any:
    """Raises: InputRefusedError; OSError."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"--schema {file} is no JSON: {error}") from None


def _start(owner: str | None) -> ThreadStart:
    """Raises: InputRefusedError."""
    return read_start({"owner": owner} if owner is not None else {})


async def _submit(console: Console, thread: str, prompt: Prompt, owner: str | None, *, as_json: bool) -> int:
    threads = await console.connect()
    receipt = await threads.submit(thread, prompt, _start(owner))
    tell(f"{receipt.prompt_id} {receipt.disposition}", receipt.model_dump(), as_json=as_json)
    return 0


async def _ask(
    console: Console, thread: str, prompt: Prompt, owner: str | None, timeout_s: float, *, as_json: bool
) -> int:
    threads = await console.connect()
    try:
        async with telling(threads, thread, partial(typer.echo, err=True)):
            report = await threads.ask(thread, prompt, _start(owner), timeout_s=timeout_s)
    except TimeoutError:
        return complain(f"no answer within {timeout_s:g} s; the prompt is kept, and answered when that can be")
    report = await _whole(console, thread, report)
    answered = report.status in {"answered", "joined"}
    if as_json or report.text:
        tell(printable(report.text), report.model_dump() | {"text": report.text}, as_json=as_json)
    if not answered:
        why = f": {report.error}" if report.error else ""
        typer.echo(f"{report.status}{why}", err=True)
    return 0 if answered else FAILED


async def _whole(console: Console, thread: str, report: TurnReport) -> TurnReport:
    """With the whole text, if the gateway can be asked: Temporal only knows its start, on one line."""
    if report.message_id is None:
        return report
    try:
        page = await console.gateway().messages(thread, limit=LOOKED_AT, newest_first=True)
    except (UnavailableError, InputRefusedError):
        typer.echo("no gateway of this thread runs here, so this is the start of the answer", err=True)
        return report
    texts = (row.text for row in page.items if row.id == report.message_id)
    return report.model_copy(update={"text": next(texts, report.text)})


async def _interrupt(
    console: Console, thread: str, turn: int | None, prompt_id: str | None, reason: str | None, *, as_json: bool
) -> int:
    threads = await console.connect()
    receipt = await threads.interrupt(thread, turn=turn, prompt_id=prompt_id, reason=reason)
    stops = receipt.disposition == "interrupting"
    line = f"turn {receipt.turn} is being stopped" if stops else "nothing of that runs"
    tell(line, receipt.model_dump(), as_json=as_json)
    return 0 if stops else FAILED


async def _status(console: Console, thread: str, *, as_json: bool) -> int:
    threads = await console.connect()
    try:
        found = await threads.status(thread)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return complain(f"thread {preview(ascii(thread), 60)} does not run; a prompt starts it")
    tell("\n".join(_lines(found)), found, as_json=as_json)
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['thread']}: agent {found['agent']}, next turn {found['next_turn']}"]
    if operator := found.get("operator"):
        lines.append(f"  operator   {operator} has the thread: prompts wait for an answer, or for the hand-back")
    if running := found["running"]:
        lines.append(f"  answering  {running['prompt_id']}, turn {running['turn']}, step {running['step'] + 1}")
    elif not found["waiting"]:
        lines.append("  idle")
    for fields in found["retrying"]:
        retrying = Retrying.model_validate(fields)
        lines.append(f"  retrying   {retrying.activity}: {retrying.sentence}")
    for fields in found.get("calls", []):
        call = WaitingCall.model_validate(fields)
        lines.append(f"  waits      {waiting_words(call)}")
    if found["waiting"]:
        more = ", …" if found["waiting"] > SHOWN_IDS else ""
        lines.append(f"  waiting    {found['waiting']}: {', '.join(found['waiting_ids'][:SHOWN_IDS])}{more}")
    if undelivered := found.get("undelivered"):
        lines.append(f"  replies    {undelivered} not delivered yet")
    return lines
