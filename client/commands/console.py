"""What the commands share: the connection, one-line errors, output for people and for programs, progress."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import BaseModel
from temporalio.converter import DataConverter
from temporalio.service import RPCError

from client.gateway import Gateway
from client.threads import Threads
from domain.errors import EverthreadError, SetupError
from domain.messages import Page, preview

# Exit status: the answer is bad news; there is no answer; Ctrl-C.
FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
REPORT_EVERY = 1_000
CONNECT_S = 10.0
ERROR_CHARS = 400

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Console:
    """`reach` connects to the Temporal server of the settings, `gateway_url` says where the gateway should run; both may
    raise `setup_errors`. `converter` reads payloads.
    """

    reach: Callable[[], Awaitable[Threads]]
    gateway_url: Callable[[], str]
    converter: DataConverter
    setup_errors: tuple[type[Exception], ...] = ()

    async def connect(self) -> Threads:
        """Raises: SetupError."""
        try:
            return await asyncio.wait_for(self.reach(), CONNECT_S)
        except self.setup_errors as error:
            raise SetupError(str(error)) from error
        except (RPCError, RuntimeError, TimeoutError) as error:
            why = preview(str(error), 160) or "no answer"
            raise SetupError(
                f"Temporal cannot be reached: start it with `make run`, or see TEMPORAL_ADDRESS: {why}"
            ) from error

    def gateway(self) -> Gateway:
        """Raises: SetupError."""
        try:
            return Gateway(self.gateway_url())
        except self.setup_errors as error:
            raise SetupError(str(error)) from error


def run(context: typer.Context, work: Callable[[Console], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a command and exit with the status it returns; what stops it is told in one line."""
    try:
        status = asyncio.run(work(context.ensure_object(Console)))
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:  # whoever reads the output has seen enough
        status = FAILED
    except RPCError as error:
        status = complain(f"Temporal: {error.message}")
    except TimeoutError:
        status = complain("Temporal did not answer in time")
    except (EverthreadError, OSError, ValueError) as error:
        status = complain(str(error))
    # Not sys.exit: a thread of the SDK may still be handing over its last reply, and Python aborts if it ends under it.
    os._exit(status)


def complain(sentence: str) -> int:
    typer.echo(f"error: {preview(sentence, ERROR_CHARS)}", err=True)
    return UNUSABLE


def tell(line: str, fields: Mapping[str, Any], *, as_json: bool) -> None:
    """One result: a line for people, or its fields for programs."""
    typer.echo(json.dumps(fields, ensure_ascii=False, default=str) if as_json else line)


async def tell_pages(
    fetch: Callable[[str | None, int], Awaitable[Page[T]]], limit: int, line: Callable[[T], str], *, as_json: bool
) -> int:
    """So many of a list as results; `fetch` takes the cursor and how many. Returns the exit status."""
    cursor, left = None, limit
    while left:
        page = await fetch(cursor, left)
        for item in page.items:
            tell(line(item), item.model_dump(), as_json=as_json)
        left, cursor = left - len(page.items), page.next
        if cursor is None:
            return 0
    typer.echo(f"there are more; --limit {10 * limit} shows them", err=True)
    return 0


class Progress:
    """How far a long work has come: a line that changes on a terminal, else a line of every so many."""

    def __init__(self, verb: str, total: int, noun: str = "threads", every: int = REPORT_EVERY) -> None:
        self._verb, self._total, self._done = verb, total, 0
        self._noun, self._every = noun, every
        self._live = sys.stderr.isatty()

    def step(self) -> None:
        self.reach(self._done + 1)

    def reach(self, done: int) -> None:
        """So much is done."""
        before, self._done = self._done, done
        if self._live:
            typer.echo(f"\r{self._line()} ", err=True, nl=False)
        elif done // self._every > before // self._every:
            typer.echo(self._line(), err=True)

    def clear(self) -> None:
        """Make room for a line of output."""
        if self._live:
            typer.echo("\r\x1b[K", err=True, nl=False)

    def _line(self) -> str:
        return f"{self._verb} {self._done:,} of {max(self._done, self._total):,} {self._noun}"
