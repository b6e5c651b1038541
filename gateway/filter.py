"""The chat as a filter: each line in is a prompt, each answer goes out ended by one newline, and nothing else does."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TextIO

from client.reading import ThreadReader
from client.threads import Threads
from client.waiting import telling
from domain.content import MAX_PROMPT_BYTES
from domain.errors import EverthreadError
from domain.messages import preview
from domain.prompts import ThreadStart, read_prompt

CHUNK_BYTES = 65_536


class FilterError(EverthreadError):
    """A prompt got no answer; those before it did."""


async def run_filter(
    lines: AsyncIterator[str],
    out: TextIO,
    threads: Threads,
    reader: ThreadReader,
    *,
    thread: str,
    start: ThreadStart,
    timeout_s: float,
    say: Callable[[str], object],
) -> None:
    """Ask each line in turn; `say` tells people what waits for them meanwhile.

    Raises: FilterError at the first that is not answered within `timeout_s` seconds.
    """
    async for line in lines:
        if not line.strip():
            continue
        receipt = await threads.submit(thread, read_prompt({"content": line}), start)
        try:
            async with asyncio.timeout(timeout_s), telling(threads, thread, say):
                report = await reader.end(thread, receipt.prompt_id)
        except TimeoutError:
            raise FilterError(
                f"no answer to {preview(line, 40)!r} within {timeout_s:g} s; it is kept, and answered when that can be "
                f"(thread {thread})"
            ) from None
        if report.status != "answered":
            raise FilterError(f"{preview(line, 40)!r} was not answered: {report.error}")
        out.write(report.text.rstrip("\n") + "\n")
        out.flush()


async def standard_input() -> AsyncIterator[str]:
    """Lines as they come, without their ends. Raises: FilterError at one that is not UTF-8."""
    number, kept = 0, b""
    while chunk := await _read_chunk():
        *lines, kept = (kept + chunk).split(b"\n")
        for line in lines:
            number += 1
            yield _text(line, number)
        if len(kept) > MAX_PROMPT_BYTES:
            raise FilterError(
                f"line {number + 1} of the input has more than {MAX_PROMPT_BYTES} bytes; send it in parts"
            )
    if kept:
        yield _text(kept, number + 1)


def _text(line: bytes, number: int) -> str:
    try:
        return line.decode().rstrip("\r")
    except UnicodeDecodeError as error:
        raise FilterError(f"line {number} of the input is not UTF-8: {error.reason} at byte {error.start}") from None


async def _read_chunk() -> bytes:
    """Not by a thread of the pool: the program's end would wait for it, and a read cannot be interrupted."""
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[bytes] = loop.create_future()

    def arrive(chunk: bytes) -> None:
        if not coming.done():
            coming.set_result(chunk)

    def read() -> None:
        chunk = os.read(0, CHUNK_BYTES)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(arrive, chunk)

    threading.Thread(target=read, daemon=True).start()
    return await coming
