"""Forgetting over HTTP: erasures are begun and followed here, and who has threads is listed."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException

from activities.ports import Store
from client.erasing import Erasures
from domain.erasure import EXAMPLE, ErasureReceipt, read_erasure
from domain.errors import PromptConflictError, UnavailableError
from domain.listing import OwnerCount
from domain.messages import Page
from domain.prompts import ID_PATTERN, MAX_NAME
from gateway.bodies import read_object
from gateway.params import Cursor, Limit

STATUS: dict[type[Exception], int] = {PromptConflictError: 409, UnavailableError: 503}


def erasures_of(store: Store, erasures: Erasures) -> APIRouter:
    routes = APIRouter()

    @routes.post("/api/erasures", status_code=202)
    async def begin(request: Request) -> ErasureReceipt:
        """Begin an erasure; see docs/forgetting.md for the body."""
        return await _begin(erasures, await read_object(request, EXAMPLE))

    @routes.get("/api/erasures/{erasure}")
    async def get_erasure(erasure: Annotated[str, Path(pattern=ID_PATTERN)]) -> ErasureReceipt:
        """How far it is; its receipt in the end."""
        receipt = await store.get_receipt(erasure)
        if receipt is None:
            raise HTTPException(404, f"There is no erasure {erasure!r}; one that was just begun shows in a moment.")
        return receipt

    @routes.delete("/api/threads/{thread}", status_code=202)
    async def delete_thread(thread: Annotated[str, Path(max_length=MAX_NAME)]) -> ErasureReceipt:
        """Begin to delete a thread, for good. The same erasure again if it is asked for twice."""
        record = await store.get_thread(thread)
        if record is None:
            raise HTTPException(404, f"There is no thread {thread!r}; GET /api/threads lists them.")
        if record.deleted and (receipt := await store.get_receipt(record.erasure)):
            return receipt
        return await _begin(erasures, {"thread": thread})

    @routes.get("/api/owners")
    async def list_owners(
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: Annotated[str | None, Query(description="Only of this tenant.", max_length=MAX_NAME)] = None,
    ) -> Page[OwnerCount]:
        """Those who have or had threads, and how many they have; in no order."""
        return await store.page_owners(tenant, cursor=cursor, limit=limit)

    return routes


async def _begin(erasures: Erasures, body: object) -> ErasureReceipt:
    wanted = read_erasure(body, time.time())
    try:
        erasure = await erasures.begin(wanted)
    except tuple(STATUS) as error:
        raise HTTPException(STATUS[type(error)], str(error)) from error
    return ErasureReceipt(id=erasure, subject=wanted.subject())
