"""Calls that wait for somebody: the list of them, and the door by which they are decided."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException

from activities.ports import Store
from client.threads import Threads
from domain.approvals import ResolveReceipt, read_resolution
from domain.errors import (
    InboxFullError,
    ResolvedAlreadyError,
    UnavailableError,
    UnknownCallError,
    UnknownThreadError,
)
from domain.listing import CallFilter
from domain.messages import Message, Page
from domain.prompts import MAX_NAME
from gateway.bodies import read_object
from gateway.params import HIDDEN, Cursor, Limit

EXAMPLE = '{"decision": "deny", "reason": "too much"}'
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
        wanted = read_resolution(await read_object(request, EXAMPLE) | {"call_id": call_id})
        try:
            return await threads.resolve(thread, wanted)
        except tuple(STATUS) as error:
            raise HTTPException(STATUS[type(error)], str(error)) from error

    return routes
