"""The scripted model: an OpenAI-compatible server that says what a script tells it to, at the pace the script sets.

It stands in for a provider in tests, the demo and benchmarks, always behind the real `openai` client over real HTTP.
It refuses what OpenAI refuses, so that a history which does not hold together fails here as it would there.

    async with ScriptedModel().serve() as model:
        model.script(Reply(status=429, headers={"Retry-After": "1"}, times=1), "Hello!")
        client = AsyncOpenAI(base_url=model.base_url, api_key="any", max_retries=0)

Embeddings are near each other when their texts have words in common; a reply with `embeds` makes them fail.

Another process is scripted over HTTP: `PUT /_control/script` `{"replies": […], "cycle": false}`,
`GET /_control/requests?since=<number>`, `DELETE /_control/requests`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import uvicorn
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from doubles import chat_request, control, demo, embedding
from doubles.chat_request import ChatRequest
from doubles.completion import Completion, error_body
from doubles.embedding import Embeddings
from doubles.exchange import ClientLeftError, Exchange, Protocol
from doubles.journal import Condition, Journal, RecordedRequest
from doubles.refusal import RefusedError
from doubles.replies import Reply, ReplyError, ToolCall, Usage
from doubles.script import ECHO, Playback, Script, explain

__all__ = ["RecordedRequest", "Reply", "ReplyError", "ScriptedModel", "ToolCall", "Usage"]

HOST = "127.0.0.1"
MODEL = "scripted"
_Make = Callable[[RecordedRequest, str], tuple[Reply, Completion | Embeddings]]

KEEP_ALIVE = 600  # seconds; longer than any client's, so that a client never writes into a closing connection


class ScriptedModel:
    """The server and its script. Without a script it echoes."""

    def __init__(self, *, api_key: str | None = None, keep_requests: int = 10_000) -> None:
        self.url = ""
        self._api_key = api_key
        self._playback = Playback(Script())
        self._journal = Journal(keep_requests)
        self._embedded = Journal(keep_requests)
        self._session = uuid4().hex[:8]
        self._router = Router(
            [
                Route("/health", _health),
                Route("/v1/models", self._models),
                *control.routes(self._journal, self._play),
            ],
            default=_unknown_url,
        )

    @property
    def base_url(self) -> str:
        """What goes into `OPENAI_BASE_URL`."""
        return f"{self.url}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The newest `keep_requests` requests, oldest first."""
        return self._journal.since(0)

    @property
    def embedding_requests(self) -> list[RecordedRequest]:
        """Likewise those of embeddings, which have numbers of their own."""
        return self._embedded.since(0)

    def script(self, *replies: Reply | str, cycle: bool = False) -> None:
        """Replaces the script: the first reply that fits and is not used up is given.

        With `cycle`, replies with `when` come first and those without take turns. When no reply fits, the answer is
        the status 400 with code `script_exhausted`. A plain text is a reply of that text.
        """
        given = [Reply(text=reply) if isinstance(reply, str) else reply for reply in replies]
        self._play(Script(replies=given, cycle=cycle))

    async def until(self, condition: Condition, *, timeout_s: float = 10.0) -> RecordedRequest:
        """The first recorded request for which the condition holds, or comes to hold.

        Raises: TimeoutError: If there is none in time.
        """
        async with asyncio.timeout(timeout_s):
            return await self._journal.until(condition)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[ScriptedModel]:
        """Listens on loopback in the running loop; 0 is any free port. May be served again after it has ended.

        uvicorn.Server is left out: it installs signal handlers and takes 0.2 s of polling to end.
        """
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Protocol(config, state, {}), HOST, port, backlog=2048)
        self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.gather(*state.tasks)  # each ends at once, since its client is gone
            await server.wait_closed()

    def _play(self, script: Script) -> None:
        self._playback = Playback(script)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/chat/completions" and scope["method"] == "POST":
            await self._answer(Exchange(scope, receive, send, self._journal), scope, self._journal, self._complete)
        elif scope["path"] == "/v1/embeddings" and scope["method"] == "POST":
            await self._answer(Exchange(scope, receive, send, self._embedded), scope, self._embedded, self._embed)
        else:
            await self._router(scope, receive, send)

    async def _answer(self, exchange: Exchange, scope: Scope, journal: Journal, make: _Make) -> None:
        arrived_at = time.time()
        try:
            raw = await exchange.read_body()
        except ClientLeftError:
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        authorization = headers.pop("authorization", "")
        record = journal.open(arrived_at=arrived_at, headers=headers, raw_body=raw)
        serial = f"{self._session}_{record.number}"
        answer = None
        try:
            self._check_key(authorization)
            reply, answer = make(record, serial)
        except RefusedError as refused:
            reply = refused.reply
        await exchange.answer(record, reply, answer, id_=f"req_{serial}")

    def _complete(self, record: RecordedRequest, serial: str) -> tuple[Reply, Completion]:
        request = chat_request.read(record.raw_body)
        record.reply, reply = self._playback.choose(request)
        if reply is None:
            last = f"a tool result in step {request.step}" if request.after_tool else repr(request.user)
            raise RefusedError(f"The script has no reply (left) for {last}.", code="script_exhausted")
        return reply, Completion(reply, request, number=record.number, serial=serial, created=int(record.arrived_at))

    def _embed(self, record: RecordedRequest, _: str) -> tuple[Reply, Embeddings]:
        """Without a reply for it, the usual vectors: a script is mostly of what is said."""
        request = embedding.read(record.raw_body)
        record.reply, reply = self._playback.choose(ChatRequest(user="\n".join(request.texts), embeds=True))
        return reply or ECHO, Embeddings(reply or ECHO, request)

    def _check_key(self, authorization: str) -> None:
        if self._api_key is None or authorization == f"Bearer {self._api_key}":
            return
        if not authorization:
            raise RefusedError("You didn't provide an API key.", status=401)
        raise RefusedError("Incorrect API key provided.", status=401, code="invalid_api_key")

    async def _models(self, request: Request) -> Response:
        try:
            self._check_key(request.headers.get("authorization", ""))
        except RefusedError as refused:
            return _refusal(refused)
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "everthread"}
        return JSONResponse({"object": "list", "data": [model]})


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _unknown_url(scope: Scope, receive: Receive, send: Send) -> None:
    where = f"{scope['method']} {scope['path']}"
    refused = RefusedError(f"Unknown request URL: {where}.", status=404, code="unknown_url")
    await _refusal(refused)(scope, receive, send)


def _refusal(refused: RefusedError) -> Response:
    return Response(error_body(refused.reply.error_sent), refused.reply.status, media_type="application/json")


async def _serve_until_signalled(model: ScriptedModel, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with model.serve(port):
        sys.stdout.write(f"READY {model.base_url}\n")
        sys.stdout.flush()
        await stopped.wait()


def _script(options: argparse.Namespace) -> Script:
    """Raises: ValueError: If the file cannot be read or is no script; the message says where and why."""
    path: Path | None = options.script
    if path is None:
        return Script(replies=demo.REPLIES if options.demo else [])
    try:
        return Script.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error)}") from error


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m doubles.scripted_model", description="An OpenAI-compatible double")
    parser.add_argument("--port", type=int, default=0, help="0 is any free port")
    parser.add_argument("--api-key", help="refuse requests with another key")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--script", type=Path, metavar="FILE", help='JSON: {"replies": […], "cycle": false}')
    source.add_argument("--demo", action="store_true", help="a slow answer to be killed in the middle, and a tool")
    options = parser.parse_args()
    model = ScriptedModel(api_key=options.api_key)
    try:
        script = _script(options)
    except ValueError as error:
        parser.error(str(error))
    model.script(*script.replies, cycle=script.cycle)
    try:
        asyncio.run(_serve_until_signalled(model, options.port))
    except OSError as error:
        parser.exit(1, f"scripted model: {error}\n")


if __name__ == "__main__":
    main()
