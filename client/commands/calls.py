"""`cli.py threads calls`, `approve`, `deny` and `supply`: what waits for somebody, and what is decided about it."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from client.commands.console import FAILED, Console, Json, complain, run, tell, tell_pages
from client.threads import Threads
from domain.approvals import WaitingCall, read_resolution
from domain.errors import InputRefusedError, UnavailableError, UnknownCallError
from domain.listing import CallFilter
from domain.messages import Message, preview, printable
from domain.prompts import PromptId

Thread = Annotated[str, typer.Argument(help="The thread's id.")]
Call = Annotated[str, typer.Argument(help="The call's id, as `threads calls` and `threads status` tell it.")]
By = Annotated[str | None, typer.Option(help="Who decides. Default: who is logged in.")]
Digest = Annotated[
    str | None,
    typer.Option(
        help="Of the call as you saw it: if it is another by now, nothing is done. Default: you are shown it and asked."
    ),
]
Wish = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Makes it idempotent: the same id is the same decision.")
]
Reason = Annotated[str | None, typer.Option(help="The model reads it.")]


def list_calls(
    context: typer.Context,
    thread: Annotated[str | None, typer.Argument(help="Only of this thread.")] = None,
    outside: Annotated[
        bool, typer.Option("--outside", help="Those that wait for their result, not for an approval.")
    ] = False,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="No more than this many.")] = 50,
    as_json: Json = False,
) -> None:
    """List tool calls that wait for somebody, the oldest first.

    Asks the gateway that runs at EVERTHREAD_HOST and EVERTHREAD_PORT.
    Exit status 0: they were listed; 2: they could not be.
    """
    where = CallFilter(waits="result" if outside else "approval", owner=owner, tenant=tenant, thread=thread)
    run(context, lambda console: _list(console, where, limit, as_json=as_json))


def approve(
    context: typer.Context,
    thread: Thread,
    call: Call,
    digest: Digest = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve it as it is now, without being asked.")] = False,
    arguments: Annotated[str | None, typer.Option(help="Run it with these arguments instead, a JSON object.")] = None,
    by: By = None,
    reason: Reason = None,
    wish: Wish = None,
    as_json: Json = False,
) -> None:
    """Approve a call that waits: it is run.

    Exit status 0: it is; 1: you said no; 2: it does not wait, or could not be.
    """
    run(
        context,
        lambda console: _approve(
            console, thread, call, digest, _fields(by, reason, wish, arguments), yes=yes, as_json=as_json
        ),
    )


def deny(
    context: typer.Context,
    thread: Thread,
    call: Call,
    reason: Reason = None,
    by: By = None,
    wish: Wish = None,
    as_json: Json = False,
) -> None:
    """Deny a call that waits: it is not run, and the model reads why.

    Exit status 0: it is denied; 2: it could not be.
    """
    run(context, lambda console: _resolve(console, thread, call, "deny", _fields(by, reason, wish), as_json=as_json))


def supply(
    context: typer.Context,
    thread: Thread,
    call: Call,
    result: Annotated[str | None, typer.Argument(help="A text, or JSON; - reads it from standard input.")] = None,
    error: Annotated[str | None, typer.Option(help="There is no result, and why.")] = None,
    by: By = None,
    wish: Wish = None,
    as_json: Json = False,
) -> None:
    """Give the result of a call that others run.

    Exit status 0: it is taken; 2: it could not be.
    """
    if (result is None) is (error is None):
        raise typer.Exit(complain("give either the result, or --error with the reason why there is none"))
    if error is not None:
        run(
            context, lambda console: _resolve(console, thread, call, "error", _fields(by, error, wish), as_json=as_json)
        )
    text = sys.stdin.read() if result == "-" else result or ""
    given = _fields(by, None, wish) | {"result": _json_or_text(text)}
    run(context, lambda console: _resolve(console, thread, call, "result", given, as_json=as_json))


def _fields(by: str | None, reason: str | None, wish: PromptId | None, arguments: str | None = None) -> dict[str, Any]:
    fields = {"by": by or getpass.getuser(), "reason": reason, "id": wish}
    if arguments is not None:
        try:
            fields["arguments"] = json.loads(arguments)
        except ValueError as error:
            raise typer.Exit(complain(f"--arguments is no JSON object: {error}")) from None
    return {name: value for name, value in fields.items() if value is not None}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def _list(console: Console, where: CallFilter, limit: int, *, as_json: bool) -> int:
    gateway = console.gateway()
    return await tell_pages(
        lambda cursor, most: gateway.calls(where, cursor=cursor, limit=most), limit, _line, as_json=as_json
    )


async def _approve(
    console: Console, thread: str, call_id: str, digest: str | None, fields: dict[str, Any], *, yes: bool, as_json: bool
) -> int:
    threads = await console.connect()
    if digest is None:
        call = await _waiting(threads, thread, call_id)
        if not yes:
            if not sys.stdin.isatty():
                raise InputRefusedError("say which call you mean by --digest, or --yes for the one that waits now")
            shown = await _whole(console, thread, call)
            if not typer.confirm(printable(f"{call.tool} {shown}: run it?"), err=True):
                return FAILED
        digest = call.digest
    return await _send(threads, thread, call_id, "approve", fields | {"digest": digest}, as_json=as_json)


async def _waiting(threads: Threads, thread: str, call_id: str) -> WaitingCall:
    for fields in (await threads.status(thread))["calls"]:
        if fields["call_id"] == call_id:
            return WaitingCall.model_validate(fields)
    raise UnknownCallError(f"no call {preview(ascii(call_id), 60)} waits on thread {preview(ascii(thread), 60)}")


async def _whole(console: Console, thread: str, call: WaitingCall) -> str:
    """The arguments, of which the thread tells the start only: what is approved is what was seen."""
    if not call.arguments.endswith("…"):
        return call.arguments
    where = CallFilter(waits=call.kind, thread=thread)
    try:
        rows = (await console.gateway().calls(where)).items
    except (UnavailableError, InputRefusedError):
        rows = []
    for row in rows:
        if (row.call_id, row.args_digest) == (call.call_id, call.digest):
            return row.arguments or ""
    typer.echo("no gateway of this thread runs here, so this is the start of the arguments", err=True)
    return call.arguments


async def _resolve(
    console: Console, thread: str, call_id: str, decision: str, fields: dict[str, Any], *, as_json: bool
) -> int:
    return await _send(await console.connect(), thread, call_id, decision, fields, as_json=as_json)


async def _send(
    threads: Threads, thread: str, call_id: str, decision: str, fields: dict[str, Any], *, as_json: bool
) -> int:
    receipt = await threads.resolve(thread, read_resolution({"call_id": call_id, "decision": decision} | fields))
    left = f"; {receipt.left} more of turn {receipt.turn} wait" if receipt.left else ""
    tell(f"{receipt.call_id} {receipt.decision}{left}", receipt.model_dump(), as_json=as_json)
    return 0


def _line(row: Message) -> str:
    since = datetime.fromtimestamp(row.created_at, UTC)
    until = f", until {datetime.fromtimestamp(row.deadline, UTC):%Y-%m-%d %H:%M}" if row.deadline else ""
    call = f"{row.name} {preview(row.arguments or '', 200)}"
    return printable(f"{row.thread}  {row.call_id}  {since:%Y-%m-%d %H:%M}{until}  {call}  {row.args_digest}")
