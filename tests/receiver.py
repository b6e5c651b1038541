"""Who replies go to: a web server and a workflow of somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio import workflow

from runtime.server import serve
from tests.ports import free_port


@dataclass
class Post:
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers each post with the next of `answers`, a status and headers, then with 204; 0 is no answer at all."""

    port: int
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=1"

    async def take(self, request: Request) -> Response:
        assert str(request.url.path) == "/hook"
        self.posts.append(Post(dict(request.headers), await request.body()))
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        if not status:
            await asyncio.Event().wait()
        return Response(status_code=status, headers=headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver(free_port())
    app = Starlette(routes=[Route("/{path:path}", receiver.take, methods=["GET", "POST"])])
    async with serve(app, "127.0.0.1", receiver.port):
        yield receiver


@workflow.defn(sandboxed=False)  # this file imports what a sandbox would not
class Listener:
    """Ends with the first answer that it is told."""

    def __init__(self) -> None:
        self._answer: Any = None

    @workflow.run
    async def run(self) -> Any:
        await workflow.wait_condition(lambda: self._answer is not None)
        return self._answer

    @workflow.signal
    def answer(self, value: Any) -> None:
        self._answer = value
