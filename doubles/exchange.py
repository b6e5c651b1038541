"""One HTTP exchange: sends a reply at its pace, goes wrong as scripted, and notices when the client leaves."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from doubles.completion import Completion, as_bytes, error_body
from doubles.embedding import Embeddings
from doubles.journal import Journal, RecordedRequest
from doubles.replies import Reply

_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, which lets the app see its transport: ASGI has no word for dropping a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False
        self.app_state = {"transport": transport}


class ClientLeftError(Exception):
    """The client closed the connection before the answer was complete."""


class Exchange:
    """The server's side of one request, from its body to the last byte of the answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, journal: Journal) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._journal = journal
        self._gone: asyncio.Task[None] | None = None

    async def read_body(self) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            body += message["body"]
            if not message["more_body"]:
                return bytes(body)

    async def answer(
        self, record: RecordedRequest, reply: Reply, completion: Completion | Embeddings | None, *, id_: str
    ) -> None:
        """Sends the reply and writes down what became of it. A refusal has no completion."""
        self._record, self._reply = record, reply
        self._headers = {"x-request-id": id_} | {name.lower(): value for name, value in reply.headers.items()}
        try:
            await self._pause(reply.first_delay_s)
            if completion is None or reply.status != 200:
                whole = await self._send_error(reply.status)
            elif isinstance(completion, Completion) and completion.streams:
                whole = await self._stream(completion)
            else:
                whole = await self._send_completion(completion)
            self._journal.close(record, finished=whole)
        except ClientLeftError:
            self._journal.close(record, client_left=True)
        finally:
            if self._gone:
                self._gone.cancel()

    async def _send_error(self, status: int) -> bool:
        await self._send_json(status, as_bytes(error_body(self._reply.error_sent)))
        return True

    async def _send_completion(self, completion: Completion | Embeddings) -> bool:
        """Without streaming: the whole pace passes first, then the body comes at once."""
        reply = self._reply
        await self._pause(reply.delay_s * max(len(completion.deltas) - 1, 0))
        if reply.hang_after_chunks is not None or reply.cut_after_chunks == 0:
            await self._go_wrong()
            return False
        if reply.error_after_chunks is not None:
            return await self._send_error(500)
        self._record.chunks_sent = 1
        await self._send_json(200, completion.body, cut=reply.cut_after_chunks is not None)
        return reply.cut_after_chunks is None

    async def _stream(self, completion: Completion) -> bool:
        reply = self._reply
        waiting = [] if reply.stops_after == 0 else [completion.opening]
        for count, delta in enumerate(completion.deltas[: reply.stops_after]):
            if count and reply.delay_s:
                await self._write(waiting)
                await self._pause(reply.delay_s)
            waiting.append(completion.event(delta))
            self._record.chunks_sent += 1
        if reply.cut_after_chunks is not None or reply.hang_after_chunks is not None:
            await self._write(waiting)
            await self._go_wrong()
            return False
        if reply.error_after_chunks is not None:
            waiting.append(f"data: {error_body(reply.error_sent)}\n\n")
        elif not reply.end_without_finish:
            waiting.append(completion.closing)
        await self._write(waiting, last=True)
        return True

    async def _go_wrong(self) -> None:
        """Hangs until the client leaves; or drops the connection after what was written."""
        if self._reply.hang_after_chunks is not None:
            await self._pause(None)
        self._transport.close()
        await self._until_gone()

    async def _write(self, events: list[str], *, last: bool = False) -> None:
        """Sends the waiting events with one system call, and forgets them."""
        if not events and not last:
            return
        if self._record.status is None:
            await self._start(200, _STREAM)
        if self._record.chunks_sent and self._record.first_chunk_at is None:
            self._record.first_chunk_at = time.time()
        await self._send({"type": "http.response.body", "body": as_bytes("".join(events)), "more_body": not last})
        events.clear()
        self._journal.changed(self._record)

    async def _send_json(self, status: int, body: bytes, *, cut: bool = False) -> None:
        await self._start(status, {"content-type": "application/json", "content-length": str(len(body))})
        if status == 200:
            self._record.first_chunk_at = time.time()
        if cut:
            await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            await self._go_wrong()
        else:
            await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        """The reply's own headers win, so that a wrong content type can be scripted."""
        self._record.status = status
        pairs = [(name.encode(), value.encode()) for name, value in (headers | self._headers).items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _pause(self, seconds: float | None) -> None:
        """Raises: ClientLeftError: If the client leaves meanwhile; None waits for that."""
        if seconds == 0:
            return
        if self._gone is None:
            self._gone = asyncio.ensure_future(self._until_gone())
        done, _ = await asyncio.wait({self._gone}, timeout=seconds)
        if done:
            raise ClientLeftError

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
