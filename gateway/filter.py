"""The chat as a filter: each line in is a prompt, each answer goes out ended by one newline, and nothing else does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TextIO

from activities.ports import EventLog, Store
from client.threads import Threads
from domain.errors import EverthreadError
from domain.messages import preview
from domain.prompts import ThreadStart, read_prompt
from gateway.answers import answer_text, ended


class FilterError(EverthreadError):
    """A prompt got no answer; those before it did."""


async def run_filter(
    lines: AsyncIterator[str],
    out: TextIO,
    threads: Threads,
    store: Store,
    events: EventLog,
    *,
    thread: str,
    start: ThreadStart,
    timeout_s: float,
) -> None:
    """Ask each line in turn. Raises: FilterError at the first that is not answered within `timeout_s` seconds."""
    async for line in lines:
        if not line.strip():
            continue
        receipt = await threads.submit(thread, read_prompt({"content": line}), start)
        try:
            async with asyncio.timeout(timeout_s):
                row = await ended(store, events, thread, receipt.prompt_id)
        except TimeoutError:
            raise FilterError(
                f"no answer to {preview(line, 40)!r} within {timeout_s:g} s; it is kept, and answered when that can be "
                f"(thread {thread})"
            ) from None
        if row.status != "answered":
            raise FilterError(f"{preview(line, 40)!r} was not answered: {row.error}")
        out.write((await answer_text(store, row)).rstrip("\n") + "\n")
        out.flush()


async def standard_input() -> AsyncIterator[str]:
    """Lines as they come, without their ends. Raises: FilterError at one that is not UTF-8."""
    number = 0
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        number += 1
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise FilterError(f"line {number} of the input is not UTF-8: {error.reason} at byte {error.start}") from None
        yield text.rstrip("\r\n")
