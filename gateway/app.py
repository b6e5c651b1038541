"""The HTTP gateway, on loopback: what the store holds, for reading, decisions about calls that wait, and erasures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from activities.facts_ports import FactMemory
from activities.ports import Blobs, ContextLook, MessageIndex, Recalls, Store
from client.erasing import Erasures
from client.threads import Threads
from domain.errors import InputRefusedError
from gateway import knowledge
from gateway.calls import calls_of
from gateway.contexts import contexts_of
from gateway.erasures import erasures_of
from gateway.facts import facts_of
from gateway.memory import memory_of
from gateway.threads import threads_of

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ROUTES = (
    "/api/health",
    "/api/threads",
    "/api/threads/{thread}/messages",
    "/api/threads/{thread}/messages/{message_id}/result",
    "/api/threads/{thread}/context",
    "/api/messages/{message_id}/context",
    "/api/memory",
    "/api/memory/search",
    "/api/calls",
    "POST /api/threads/{thread}/calls/{call_id}",
    *knowledge.ROUTES,
    "DELETE /api/threads/{thread}",
    "POST /api/erasures",
    "/api/erasures/{erasure}",
    "/api/owners",
    "/api/facts",
    "POST /api/facts",
    "DELETE /api/facts/{fact}",
    "/api/facts/{fact}/history",
    "/api/notes",
    "POST /api/notes",
    "/mcp",
)
Health = Callable[[], Awaitable[dict[str, Any]]]


def make_app(
    store: Store,
    threads: Threads,
    health: Health,
    version: str,
    blobs: Blobs | None = None,
    doors: Sequence[BaseRoute] = (),
    contexts: ContextLook | None = None,
    recalls: Recalls | None = None,
    index: MessageIndex | None = None,
    library: knowledge.Library | None = None,
    *,
    facts: FactMemory | None = None,
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

    app.include_router(threads_of(store, blobs))
    app.include_router(calls_of(store, threads))
    app.include_router(erasures_of(store, Erasures(threads)))
    app.include_router(contexts_of(store, contexts))
    if library is not None:
        app.include_router(knowledge.knowledge_of(library))
    app.include_router(memory_of(recalls, index))
    if facts is not None:
        app.include_router(facts_of(facts))
    return app


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
