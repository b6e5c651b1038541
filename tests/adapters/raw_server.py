"""An HTTP server of bytes, for what the scripted model would never send."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RawServer:
    """Answers each request with `head` and `pieces`, then closes; with `hangs` it waits until the client leaves."""

    pieces: tuple[bytes, ...]
    head: bytes
    hangs: bool = False
    pause_s: float = 0.0  # before each piece
    base_url: str = ""
    requests: list[bytes] = field(default_factory=list)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await read_request(reader))
            writer.write(self.head)
            for piece in self.pieces:
                await asyncio.sleep(self.pause_s)
                writer.write(piece)
                await writer.drain()
            if self.hangs:
                while await reader.read(65536):
                    pass
                self.client_left.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.client_left.set()
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body. Raises: asyncio.IncompleteReadError: If the client leaves instead."""
    start = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", start, re.IGNORECASE)
    return start + await reader.readexactly(int(length[1]) if length else 0)


def head(status: str = "200 OK", kind: str = "text/event-stream", **headers: str) -> bytes:
    fields = {"content_type": kind, "connection": "close"} | headers
    lines = [f"HTTP/1.1 {status}"] + [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def event(chunk: dict[str, Any] | str) -> bytes:
    return f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode()


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": fields, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "raw", "choices": [choice]}


@asynccontextmanager
async def serving(
    *pieces: bytes, head: bytes = head(), hangs: bool = False, pause_s: float = 0.0
) -> AsyncIterator[RawServer]:
    raw = RawServer(pieces, head, hangs, pause_s)
    server = await asyncio.start_server(raw.answer, "127.0.0.1", 0)
    raw.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield raw
    finally:
        server.close()
