"""`cli.py threads withdraw`, `edit`, `regenerate` and `resume`: changes what waits, and goes on with what has ended."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from client.commands.console import Console, Json, run, tell
from client.threads import Threads
from domain.wishes import ChangeReceipt, Receipt

Thread = Annotated[str, typer.Argument(help="The thread's id.")]
Waiting = Annotated[str, typer.Argument(metavar="PROMPT", help="The id of a prompt that waits.")]
Ended = Annotated[
    str | None, typer.Option("--prompt", metavar="ID", help="The turn of this prompt. Default: the last.")
]
Turn = Annotated[int | None, typer.Option(min=1, help="The turn of this number.")]
Agent = Annotated[str | None, typer.Option(help="The agent that goes on. Default: the prompt's.")]
Id = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Makes it idempotent: with the same id it is done once.")
]


def withdraw(context: typer.Context, thread: Thread, prompt: Waiting, as_json: Json = False) -> None:
    """Take back a prompt that waits.

    Exit status 0: it is withdrawn; 2: it does not wait, or could not be.
    """
    _run(context, lambda threads: threads.withdraw(thread, prompt), as_json=as_json)


def edit(
    context: typer.Context,
    thread: Thread,
    prompt: Waiting,
    text: Annotated[str, typer.Argument(help="What it says instead; - reads it from standard input.")],
    as_json: Json = False,
) -> None:
    """Say something else with a prompt that waits.

    Exit status 0: it says so now; 2: it does not wait, or could not be.
    """
    content = sys.stdin.read() if text == "-" else text
    _run(context, lambda threads: threads.edit(thread, prompt, content), as_json=as_json)


def regenerate(
    context: typer.Context,
    thread: Thread,
    prompt: Ended = None,
    turn: Turn = None,
    agent: Agent = None,
    wish: Id = None,
    as_json: Json = False,
) -> None:
    """Answer the prompt of an ended turn anew. The answer it had stays, out of the conversation.

    Exit status 0: it begins, at once or when it is its turn; 2: it does not, or nobody knows.
    """
    _run(
        context,
        lambda threads: threads.regenerate(thread, prompt_id=prompt, turn=turn, agent=agent, id=wish),
        as_json=as_json,
    )


def resume(
    context: typer.Context,
    thread: Thread,
    prompt: Ended = None,
    turn: Turn = None,
    agent: Agent = None,
    wish: Id = None,
    as_json: Json = False,
) -> None:
    """Go on with a turn where it ended: at a limit, by an interrupt, by an error.

    Exit status 0: it goes on, at once or when it is its turn; 2: it does not, or nobody knows.
    """
    _run(
        context,
        lambda threads: threads.resume(thread, prompt_id=prompt, turn=turn, agent=agent, id=wish),
        as_json=as_json,
    )


def _run(
    context: typer.Context, wish: Callable[[Threads], Awaitable[Receipt | ChangeReceipt]], *, as_json: bool
) -> None:
    run(context, lambda console: _tell(console, wish, as_json=as_json))


async def _tell(
    console: Console, wish: Callable[[Threads], Awaitable[Receipt | ChangeReceipt]], *, as_json: bool
) -> int:
    receipt = await wish(await console.connect())
    tell(f"{receipt.prompt_id} {receipt.disposition}", receipt.model_dump(), as_json=as_json)
    return 0
