"""Calls that wait for somebody: the list of them, and the door by which they are decided."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from activities.ports import Store
from client.threads import Threads
from domain.approvals import ResolveReceipt, read_resolution
from domain.errors import (
    InboxFullError,
    InputRefusedError,
    ResolvedAlreadyError,
    UnavailableError,
    UnknownCallError,
    UnknownThreadError,
)
from domain.listing import CallFilter
from domain.messages import Message, Page
from domain.prompts import MAX_NAME
from gateway.params import HIDDEN, Cursor, Limit

MAX_BODY = 100_000  # bytes
STATUS: dict[type[Exception], int] = {
    ResolvedAlreadyError: 409,
    UnknownCallError: 404,
    UnknownThreadError: 404,
    InboxFullError: 429,
    UnavailableError: 503,
}
Equal = Annotated[str | None, Query(description="Only calls of exactly this.", max_length=MAX_NAME)]


def calls_of(store: Store, threads: Threads) -> APIRouter:
    routes = APIRouter()

    @routes.get("/api/calls", response_model_exclude={"items": {"__all__": HIDDEN}})
    async def list_calls(
        limit: Limit = 50,
        cursor: Cursor = None,
        waits: Annotated[Literal["approval", "result"], Query(description="What for.")] = "approval",
        tenant: Equal = None,
        owner: Equal = None,
        thread: Equal = None,
    ) -> Page[Message]:
        """Calls that wait for somebody, the oldest first."""
        where = CallFilter(waits=waits, tenant=tenant, owner=owner, thread=thread)
        return await store.waiting_calls(where, cursor=cursor, limit=limit)

    @routes.post("/api/threads/{thread}/calls/{call_id}")
    async def resolve(
        request: Request,
        thread: Annotated[str, Path(max_length=MAX_NAME)],
        call_id: Annotated[str, Path(max_length=MAX_NAME)],
    ) -> ResolveReceipt:
        """Decide about a call that waits; see docs/approvals.md for the body."""
        wanted = read_resolution(await read_body(request) | {"call_id": call_id})
        try:
            return await threads.resolve(thread, wanted)
        except tuple(STATUS) as error:
            raise HTTPException(STATUS[type(error)], str(error)) from error

    return routes


async def read_body(request: Request, example: str = '{"decision": "deny", "reason": "too much"}') -> dict[str, Any]:
    """A JSON object. Raises: HTTPException; InputRefusedError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # what a page of another site may post unasked is not JSON
        raise HTTPException(415, f"content-type is {kind or 'missing'}; send application/json")
    size = 0
    chunks = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise HTTPException(413, f"the body has more than {MAX_BODY} bytes; keep large data elsewhere")
        chunks.append(chunk)
    try:
        value = from_json(b"".join(chunks))
    except ValueError as error:
        raise InputRefusedError(f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputRefusedError(f"the body is a JSON object such as {example}")
    return value
