"""`cli.py threads take-over`, `say` and `hand-back`: a person answers in the agent's place."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from client.commands.console import Console, Json, run, tell
from client.threads import Threads
from domain.operators import OperatorReceipt, SayReceipt

Thread = Annotated[str, typer.Argument(help="The thread's id.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who you are, as readers of the thread see it.")]


def take_over(
    context: typer.Context,
    thread: Thread,
    by: By,
    interrupt: Annotated[bool, typer.Option("--interrupt", help="Stop the turn that runs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also from somebody else who has it.")] = False,
    as_json: Json = False,
) -> None:
    """Answer in the agent's place: from now on prompts wait for you, or for the hand-back.

    Exit status 0: the thread is yours; 2: it is somebody else's, or nobody knows.
    """
    _run(context, lambda threads: threads.take_over(thread, by, interrupt=interrupt, force=force), as_json=as_json)


def say(
    context: typer.Context,
    thread: Thread,
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")],
    by: By,
    prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="To this prompt. Default: the first that waits, else unasked.")
    ] = None,
    said_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Makes it idempotent: with the same id it is said once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say something on a thread that you have taken over.

    Exit status 0: it is said; 2: it is not, or nobody knows.
    """
    content = sys.stdin.read() if text == "-" else text
    _run(context, lambda threads: threads.say(thread, content, by, prompt_id=prompt, id=said_id), as_json=as_json)


def hand_back(context: typer.Context, thread: Thread, by: By, as_json: Json = False) -> None:
    """Let the agent answer again, also what waits.

    Exit status 0: it does; 2: it is somebody else's, or nobody knows.
    """
    _run(context, lambda threads: threads.hand_back(thread, by), as_json=as_json)


def _run(
    context: typer.Context, wish: Callable[[Threads], Awaitable[OperatorReceipt | SayReceipt]], *, as_json: bool
) -> None:
    run(context, lambda console: _tell(console, wish, as_json=as_json))


async def _tell(
    console: Console, wish: Callable[[Threads], Awaitable[OperatorReceipt | SayReceipt]], *, as_json: bool
) -> int:
    receipt = await wish(await console.connect())
    tell(_line(receipt), receipt.model_dump(), as_json=as_json)
    return 0


def _line(receipt: OperatorReceipt | SayReceipt) -> str:
    if isinstance(receipt, SayReceipt):
        return f"{receipt.prompt_id} {receipt.disposition}"
    return f"{receipt.operator} has the thread" if receipt.operator else "the agent answers"
