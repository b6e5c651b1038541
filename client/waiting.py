"""Whoever waits for an answer is told which calls wait for somebody meanwhile: else both would wait."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from temporalio.exceptions import TemporalError

from client.threads import Threads
from domain.approvals import WaitingCall
from domain.messages import printable

LOOK_EVERY_S = 1.0
FOR = {"approval": "an approval", "result": "its result"}
DECIDED_BY = {"approval": "approve", "result": "supply"}


@asynccontextmanager
async def telling(threads: Threads, thread: str, say: Callable[[str], object]) -> AsyncIterator[None]:
    """While entered, each call of the thread that waits is told once, with the command that decides about it."""
    watching = asyncio.create_task(_tell(threads, thread, say))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def waiting_words(call: WaitingCall) -> str:
    return printable(f"{call.call_id} for {FOR[call.kind]}: {call.tool} {call.arguments}")


async def _tell(threads: Threads, thread: str, say: Callable[[str], object]) -> None:
    told = set[str]()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with suppress(TemporalError):  # it does not run yet, or cannot be asked just now
            for fields in (await threads.status(thread)).get("calls", []):
                call = WaitingCall.model_validate(fields)
                if call.call_id not in told:
                    told.add(call.call_id)
                    say(_sentence(thread, call))


def _sentence(thread: str, call: WaitingCall) -> str:
    command = f"python cli.py threads {DECIDED_BY[call.kind]} {shlex.quote(thread)} {shlex.quote(call.call_id)}"
    return f"waits: {waiting_words(call)}; decide with: {printable(command)}"
