"""The HTTP gateway, on loopback: what the store holds, for reading, and decisions about calls that wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from activities.ports import Blobs, Store
from client.threads import Threads
from domain.errors import InputRefusedError
from domain.listing import ThreadFilter
from domain.messages import Message, Page, ThreadRecord
from domain.prompts import MAX_NAME
from gateway.calls import calls_of
from gateway.params import HIDDEN, Cursor, Limit

ID_PATTERN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ROUTES = (
    "/api/health",
    "/api/threads",
    "/api/threads/{thread}/messages",
    "/api/threads/{thread}/messages/{message_id}/result",
    "/api/calls",
    "POST /api/threads/{thread}/calls/{call_id}",
    "/mcp",
)
Equal = Annotated[str | None, Query(description="Only threads that have exactly this.", max_length=MAX_NAME)]
Health = Callable[[], Awaitable[dict[str, Any]]]


def make_app(
    store: Store,
    threads: Threads,
    health: Health,
    version: str,
    blobs: Blobs | None = None,
    doors: Sequence[BaseRoute] = (),
) -> FastAPI:
    """The application over a store; `health` tells what runs, with a field `status` that is `ok` if all does.

    `doors` are further routes, for which the same is refused.
    """
    app = FastAPI(title="Everthread", version=version, docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_refuse_foreigners)
    app.router.routes += doors
    app.add_exception_handler(InputRefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)

    @app.get("/api/health")
    async def get_health() -> JSONResponse:
        """Whether everything runs, and what."""
        state = await health()
        return JSONResponse(state, 200 if state["status"] == "ok" else 503)

    @app.get("/api/threads")
    async def list_threads(
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: Equal = None,
        owner: Equal = None,
        agent: Equal = None,
        status: Equal = None,
        text: Annotated[str | None, Query(description="Words of the last prompt.", max_length=200)] = None,
    ) -> Page[ThreadRecord]:
        """Threads by last activity, newest first; of those only the ones for which all that is given holds."""
        where = ThreadFilter(tenant=tenant, owner=owner, agent=agent, status=status, text=text)
        return await store.page_threads(where, cursor=cursor, limit=limit)

    @app.get("/api/threads/{thread}/messages", response_model_exclude={"items": {"__all__": HIDDEN}})
    async def list_messages(
        thread: Annotated[str, Path(max_length=MAX_NAME)],
        limit: Limit = 50,
        cursor: Cursor = None,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "asc",
    ) -> Page[Message]:
        """A thread's messages, oldest first unless `order=desc`."""
        if await store.get_thread(thread) is None:
            raise HTTPException(404, f"There is no thread {thread!r}; GET /api/threads lists them.")
        return await store.page(thread, cursor=cursor, limit=limit, newest_first=order == "desc")

    @app.get("/api/threads/{thread}/messages/{message_id}/result")
    async def get_result(
        thread: Annotated[str, Path(max_length=MAX_NAME)], message_id: Annotated[str, Path(pattern=ID_PATTERN)]
    ) -> PlainTextResponse:
        """A tool's result whole, also if it was too long for the model."""
        rows = [row for row in await store.get([message_id]) if row.thread == thread and row.role == "tool"]
        if not rows:
            raise HTTPException(404, f"Thread {thread!r} has no tool result {message_id!r}; its messages name them.")
        return PlainTextResponse(await _whole(rows[0], blobs), headers={"X-Content-Type-Options": "nosniff"})

    app.include_router(calls_of(store, threads))
    return app


async def _whole(row: Message, blobs: Blobs | None) -> bytes:
    if row.blob is None:
        return (row.output if row.output is not None else row.text).encode()
    content = await blobs.get(str(row.blob["ref"])) if blobs is not None else None
    if content is None:
        raise HTTPException(404, f"The result {row.id!r} is not kept whole any longer; the message has its ends.")
    return content


async def _refuse_foreigners(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Web pages can reach loopback: a page of another site shows by its Host (after DNS rebinding) or its Origin."""
    host, origin = _hostname(f"//{request.headers.get('host', '')}"), request.headers.get("origin")
    if host not in LOOPBACK:
        return _problem(403, "Foreign host", f"Host {host!r} is not this machine; use http://127.0.0.1.")
    if origin is not None and _hostname(origin) not in LOOPBACK:
        return _problem(403, "Foreign origin", f"Pages of {origin!r} may not read this gateway.")
    return await call_next(request)


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


async def _refused(_: Request, error: Exception) -> Response:
    return _problem(422, "Refused", str(error))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = (f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}, not {e.get('input')!r}" for e in error.errors())
    return _problem(422, "Invalid request", "; ".join(problems))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = f"The routes are {', '.join(ROUTES)}."
    detail = known if error.detail == "Not Found" else error.detail
    return _problem(error.status_code, "Not found" if error.status_code == 404 else "Error", detail)


def _problem(status: int, title: str, detail: str) -> Response:
    """An error as RFC 9457 describes it."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")
