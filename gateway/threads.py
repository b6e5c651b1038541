"""What the store holds, for reading: threads, what was said on them, and results whole."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from activities.ports import Blobs, Store
from domain.listing import ThreadFilter, ThreadStatus
from domain.messages import Message, Page, ThreadRecord
from domain.prompts import MAX_NAME
from gateway.params import HIDDEN, Cursor, Limit

ID_PATTERN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
Equal = Annotated[str | None, Query(description="Only threads that have exactly this.", max_length=MAX_NAME)]


def threads_of(store: Store, blobs: Blobs | None) -> APIRouter:
    routes = APIRouter()

    @routes.get("/api/threads")
    async def list_threads(
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: Equal = None,
        owner: Equal = None,
        agent: Equal = None,
        status: Annotated[ThreadStatus | None, Query(description="Only threads that are so.")] = None,
        text: Annotated[str | None, Query(description="Words of the last prompt.", max_length=200)] = None,
    ) -> Page[ThreadRecord]:
        """Threads by last activity, newest first; of those only the ones for which all that is given holds."""
        where = ThreadFilter(tenant=tenant, owner=owner, agent=agent, status=status, text=text)
        return await store.page_threads(where, cursor=cursor, limit=limit)

    @routes.get("/api/threads/{thread}/messages", response_model_exclude={"items": {"__all__": HIDDEN}})
    async def list_messages(
        thread: Annotated[str, Path(max_length=MAX_NAME)],
        limit: Limit = 50,
        cursor: Cursor = None,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "asc",
    ) -> Page[Message]:
        """A thread's messages, oldest first unless `order=desc`."""
        record = await store.get_thread(thread)
        if record is None or record.deleted:
            raise HTTPException(404, f"There is no thread {thread!r}; GET /api/threads lists them.")
        return await store.page(thread, cursor=cursor, limit=limit, newest_first=order == "desc")

    @routes.get("/api/threads/{thread}/messages/{message_id}/result")
    async def get_result(
        thread: Annotated[str, Path(max_length=MAX_NAME)], message_id: Annotated[str, Path(pattern=ID_PATTERN)]
    ) -> PlainTextResponse:
        """A tool's result whole, also if it was too long for the model."""
        rows = [row for row in await store.get([message_id]) if row.thread == thread and row.role == "tool"]
        if not rows:
            raise HTTPException(404, f"Thread {thread!r} has no tool result {message_id!r}; its messages name them.")
        return PlainTextResponse(await _whole(rows[0], blobs), headers={"X-Content-Type-Options": "nosniff"})

    return routes


async def _whole(row: Message, blobs: Blobs | None) -> bytes:
    if row.blob is None:
        return (row.output if row.output is not None else row.text).encode()
    content = await blobs.get(str(row.blob["ref"])) if blobs is not None else None
    if content is None:
        raise HTTPException(404, f"The result {row.id!r} is not kept whole any longer; the message has its ends.")
    return content
