"""The standard input and output of a child process as a transport of the Model Context Protocol.

The child cannot outlive us, whatever ends us: a leash holds it (see runtime.leash), which gets a pipe of its own, since the
child's standard input is for messages. What it prints that is no message is logged and left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

from domain.errors import ServerAwayError
from domain.messages import mend_text, preview, printable

MAX_MESSAGE_BYTES = 32 * 2**20
INHERITED = ("PATH", "HOME")
POLITE_S = 0.5  # for a server to end by itself at the end of its input
GRACE_S = 1.5  # then, between SIGTERM and SIGKILL
MARGIN_S = 2.0  # for the leash itself to end
LONGEST_LOG = 5 * 2**20
SHOWN_GARBAGE = 3  # lines of one child that are logged

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
Sink = MemoryObjectSendStream[SessionMessage | Exception]

log = structlog.get_logger()


@dataclass
class ChildServer:
    """How to start a server. `gone` is set once it says nothing any more; `words` then tell why, as far as is known."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None
    leash: Path  # the program runtime/leash.py
    log_path: Path  # for what it says on standard error
    gone: asyncio.Event
    words: str = "it ended"

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """Its messages and where to send ours, while it runs. It has ended when this is left."""
        held, rope = os.pipe()
        try:
            with _open_log(self.log_path) as errors:
                process = await self._start(held, errors)
        except OSError as error:
            os.close(rope)
            raise ServerAwayError(f"it cannot be started: {error.strerror}") from error
        except BaseException:
            os.close(rope)
            raise
        finally:
            os.close(held)
        sink, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, source = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [asyncio.create_task(self._read(process, sink)), asyncio.create_task(self._write(process, source))]
        try:
            yield incoming, outgoing
        finally:
            for task in tasks:
                task.cancel()
            await _finished(asyncio.ensure_future(self._end(process, rope, tasks)))
            for stream in (sink, incoming, outgoing, source):
                stream.close()

    async def _start(self, held: int, errors: IO[bytes]) -> Process:
        inherited = {name: value for name, value in get_default_environment().items() if name in INHERITED}
        leash = [sys.executable, "-I", "-S", str(self.leash), "--grace", str(GRACE_S), "--rope", str(held), "--"]
        return await asyncio.create_subprocess_exec(
            *leash, *self.command,
            stdin=PIPE, stdout=PIPE, stderr=errors, limit=MAX_MESSAGE_BYTES,
            env=inherited | dict(self.env), cwd=self.cwd, pass_fds=(held,), start_new_session=True,
        )  # fmt: skip

    async def _read(self, process: Process, sink: Sink) -> None:
        """Pass its messages on until it says no more."""
        assert process.stdout is not None
        garbage = 0
        try:
            while line := await process.stdout.readline():
                try:
                    message = _message(line)
                except (ValueError, RecursionError):
                    if line.strip() and (garbage := garbage + 1) <= SHOWN_GARBAGE:
                        log.warning("server.garbage", server=self.name, said=_shown(line))
                    continue
                await sink.send(SessionMessage(message))
            await _ended(process, POLITE_S)
            said = _last_words(self.log_path)
            self.words = f"it ended with status {process.returncode}" + (f": {said}" if said else "")
        except ValueError:  # a line that does not end
            self.words = f"it sent more than {MAX_MESSAGE_BYTES // 2**20} MB in one message"
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody listens any more
        finally:
            sink.close()  # whoever waits for an answer learns that none comes
            self.gone.set()

    async def _write(self, process: Process, source: MemoryObjectReceiveStream[SessionMessage]) -> None:
        assert process.stdin is not None
        with suppress(OSError, anyio.ClosedResourceError):  # the reader sees its end as well
            async for sent in source:
                line = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(line.encode("utf-8", "replace") + b"\n")
                await process.stdin.drain()

    async def _end(self, process: Process, rope: int, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End its input, then cut the leash; it has ended after that."""
        await asyncio.gather(*tasks, return_exceptions=True)
        assert process.stdin is not None
        process.stdin.close()
        draining = asyncio.create_task(_drain(process))
        try:
            await _ended(process, POLITE_S)
        finally:
            os.close(rope)
            if not await _ended(process, GRACE_S + MARGIN_S):  # the leash itself is stopped or stuck
                with suppress(ProcessLookupError):
                    process.kill()
                await _ended(process, MARGIN_S)
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)


async def _ended(process: Process, within_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await process.wait()
    return process.returncode is not None


async def _drain(process: Process) -> None:
    """Read what is still said, so that a child that writes can end."""
    assert process.stdout is not None
    with suppress(ValueError, OSError):
        while await process.stdout.read(2**16):
            pass


async def _finished(work: asyncio.Future[None]) -> None:
    """Its end, even if we are cancelled meanwhile: else a child would be left behind. It has limits of its own."""
    cancelled = False
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled = True
    work.result()
    if cancelled:
        raise asyncio.CancelledError


def _last_words(path: Path, chars: int = 200) -> str:
    """The last line of the log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4 * chars))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return preview(printable(next((line for line in reversed(lines) if line.strip()), "")), chars)


def _message(line: bytes) -> JSONRPCMessage:
    """Raises: ValueError, RecursionError if it is none. Half characters (lone surrogates) are replaced."""
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        mended = mend_text(json.dumps(json.loads(line), ensure_ascii=False))
        return jsonrpc_message_adapter.validate_json(mended, by_name=False)


def _shown(line: bytes) -> str:
    return preview(printable(line[:1_000].decode("utf-8", "replace")), 200)


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LONGEST_LOG:
        path.write_bytes(b"")
    return path.open("ab")
