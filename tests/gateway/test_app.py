"""What the gateway asks of the store."""

from __future__ import annotations

from typing import Any, cast

import httpx

from activities.ports import Store
from client.threads import Threads
from domain.listing import ThreadFilter
from domain.messages import Page, ThreadRecord
from gateway.app import make_app


class AskedStore:
    def __init__(self) -> None:
        self.asked: list[tuple[ThreadFilter, str | None, int]] = []

    async def page_threads(self, where: ThreadFilter, *, cursor: str | None, limit: int) -> Page[ThreadRecord]:
        self.asked.append((where, cursor, limit))
        return Page(items=[])


async def health() -> dict[str, Any]:
    return {"status": "ok"}


async def test_a_list_of_threads_is_asked_for_with_all_that_must_hold() -> None:
    store = AskedStore()
    transport = httpx.ASGITransport(make_app(cast("Store", store), cast("Threads", None), health, "test"))
    query = "tenant=t&owner=Ada%20L&agent=poet&status=failed&text=two%20words&cursor=c&limit=7"
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get(f"/api/threads?{query}")).status_code == 200
        assert (await http.get("/api/threads")).status_code == 200
    where = ThreadFilter(tenant="t", owner="Ada L", agent="poet", status="failed", text="two words")
    assert store.asked == [(where, "c", 7), (ThreadFilter(), None, 50)]
