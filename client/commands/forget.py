"""`cli.py forget …`: erases messages, threads, owners and tenants, and prints the receipt."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from client.commands.console import FAILED, Console, Json, complain, run, tell
from client.erasing import Erasures
from domain.erasure import SETTLE_S, ErasureReceipt, ErasureRequest, read_erasure
from domain.errors import InputRefusedError

Before = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only whole turns that ended before: 2026-01-31, or with T12:00, in UTC."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask. It cannot be undone.")]
Id = Annotated[str | None, typer.Option("--id", metavar="ID", help="Makes it idempotent: with the same id it is one.")]
Histories = Annotated[
    bool, typer.Option("--histories", help="Delete Temporal's histories of the threads too, before their retention.")
]
Settle = Annotated[
    float,
    typer.Option(min=0, help="Seconds before the second sweep: as long as a worker that was lost may still write."),
]
Thread = Annotated[str, typer.Argument(help="The thread's id.")]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def forget() -> None:
    """Erase for good, and say what remains where (docs/forgetting.md). It waits until it is done, about a minute."""


@app.command()
def message(
    context: typer.Context,
    messages: Annotated[list[str], typer.Argument(help="Ids of messages. A prompt's stands for its turn.")],
    yes: Yes = False,
    erasure: Id = None,
    settle: Settle = SETTLE_S,
    as_json: Json = False,
) -> None:
    """Erase messages. Exit status 0: nothing is left; 1: something is; 2: it could not be begun or followed."""
    _run(context, {"messages": messages, "id": erasure}, yes=yes, settle_s=settle, as_json=as_json)


@app.command()
def thread(
    context: typer.Context,
    thread: Thread,
    turns: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="Only these turns, as in 3-5 or 3; the thread lives on.")
    ] = None,
    before: Before = None,
    histories: Histories = False,
    yes: Yes = False,
    erasure: Id = None,
    settle: Settle = SETTLE_S,
    as_json: Json = False,
) -> None:
    """Delete a thread, or some of its turns. Exit status as of `message`."""
    what = {"thread": thread, "turns": _turns(turns), "before": _time(before), "id": erasure, "histories": histories}
    _run(context, what, yes=yes, settle_s=settle, as_json=as_json)


@app.command()
def owner(
    context: typer.Context,
    owner: Annotated[str, typer.Argument(help="The owner of threads.")],
    tenant: Annotated[str | None, typer.Option(help="Of this tenant. Default: of threads that have none.")] = None,
    before: Before = None,
    histories: Histories = False,
    yes: Yes = False,
    erasure: Id = None,
    settle: Settle = SETTLE_S,
    as_json: Json = False,
) -> None:
    """Erase all that is known of an owner. Exit status as of `message`."""
    what = {"owner": owner, "tenant": tenant, "before": _time(before), "id": erasure, "histories": histories}
    _run(context, what, yes=yes, settle_s=settle, as_json=as_json)


@app.command()
def tenant(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="The tenant.")],
    before: Before = None,
    histories: Histories = False,
    yes: Yes = False,
    erasure: Id = None,
    settle: Settle = SETTLE_S,
    as_json: Json = False,
) -> None:
    """Erase all of a tenant. Exit status as of `message`."""
    _run(
        context,
        {"tenant": tenant, "before": _time(before), "id": erasure, "histories": histories},
        yes=yes,
        settle_s=settle,
        as_json=as_json,
    )


def delete(
    context: typer.Context,
    thread: Thread,
    histories: Histories = False,
    yes: Yes = False,
    erasure: Id = None,
    settle: Settle = SETTLE_S,
    as_json: Json = False,
) -> None:
    """Delete a thread for good; the same as `forget thread`.

    Exit status 0: nothing is left; 1: something is; 2: it could not be begun or followed.
    """
    _run(context, {"thread": thread, "id": erasure, "histories": histories}, yes=yes, settle_s=settle, as_json=as_json)


def _turns(text: str | None) -> dict[str, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    try:
        return {"first": int(first), "last": int(last or first)}
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no range of turns such as 3-5", param_hint="--turns") from None


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time such as 2026-01-31T12:00", param_hint="--before") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _run(context: typer.Context, what: dict[str, Any], *, yes: bool, settle_s: float, as_json: bool) -> None:
    run(context, lambda console: _erase(console, what, yes=yes, settle_s=settle_s, as_json=as_json))


async def _erase(console: Console, what: dict[str, Any], *, yes: bool, settle_s: float, as_json: bool) -> int:
    request = read_erasure({name: value for name, value in what.items() if value is not None}, time.time())
    if not yes and not _agreed(request):
        raise InputRefusedError("nothing was erased")
    erasures = Erasures(await console.connect())
    erasure = await erasures.begin(request, settle_s=settle_s)
    typer.echo(f"erasure {erasure} runs, also if you stop waiting", err=True)
    receipt = await erasures.receipt(erasure, wait=True)
    tell(_lines(receipt), receipt.model_dump(), as_json=as_json)
    if receipt.status != "done":
        complain("something is left; see the receipt")
        return FAILED
    return 0


def _agreed(request: ErasureRequest) -> bool:
    subject = f"owner {request.owner}" if request.owner else request.subject()
    return typer.confirm(f"Erase {subject} for good?", err=True)


def _lines(receipt: ErasureReceipt) -> str:
    erased = ", ".join(f"{number:,} {name}" for name, number in receipt.erased.items()) or "nothing"
    head = f"{receipt.subject}: {receipt.status}; erased {erased}, {receipt.threads:,} threads"
    checked = (
        f"verified: {'yes' if receipt.verified else 'no'}; left by count {receipt.counted}, by search {receipt.found}"
    )
    left = [f"left: {sentence}" for sentence in receipt.left]
    remaining = [
        f"remains in {part.where}: {part.count} {part.what}" + (f", {part.until}" if part.until else "")
        for part in receipt.remaining
    ]
    return "\n".join([head, checked, *left, *remaining])
