"""What the gateway asks of the store."""

from __future__ import annotations

from typing import Any, cast

import httpx

from activities.ports import Blobs, Store
from client.threads import Threads
from domain.listing import ThreadFilter
from domain.messages import Message, Page, ThreadRecord
from gateway.app import make_app
from tests.gateways import health


class AskedStore:
    def __init__(self) -> None:
        self.asked: list[tuple[ThreadFilter, str | None, int]] = []

    async def page_threads(self, where: ThreadFilter, *, cursor: str | None, limit: int) -> Page[ThreadRecord]:
        self.asked.append((where, cursor, limit))
        return Page(items=[])


async def test_a_list_of_threads_is_asked_for_with_all_that_must_hold() -> None:
    store = AskedStore()
    transport = httpx.ASGITransport(make_app(cast("Store", store), cast("Threads", None), health, "test"))
    query = "tenant=t&owner=Ada%20L&agent=poet&status=failed&text=two%20words&cursor=c&limit=7"
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get(f"/api/threads?{query}")).status_code == 200
        assert (await http.get("/api/threads")).status_code == 200
    where = ThreadFilter(tenant="t", owner="Ada L", agent="poet", status="failed", text="two words")
    assert store.asked == [(where, "c", 7), (ThreadFilter(), None, 50)]


async def test_a_list_of_threads_with_a_status_that_no_thread_has_is_refused() -> None:
    store = AskedStore()
    transport = httpx.ASGITransport(make_app(cast("Store", store), cast("Threads", None), health, "test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        refused = await http.get("/api/threads?status=closed")
    detail = "status: Input should be 'active', 'waiting' or 'failed', not 'closed'"
    assert (refused.status_code, refused.json()["detail"], store.asked) == (422, detail, [])


class Kept:
    """A store and blobs that hold these."""

    def __init__(self, *rows: Message, blobs: dict[str, bytes]) -> None:
        self.rows, self.blobs = {row.id: row for row in rows}, blobs

    async def get(self, wanted: Any) -> Any:
        return (
            [self.rows[name] for name in wanted if name in self.rows]
            if isinstance(wanted, list)
            else self.blobs.get(wanted)
        )


def result(thread: str, number: int, **fields: Any) -> Message:
    name = f"00000000-0000-0000-0000-{number:012}"
    return Message(id=name, thread=thread, prompt_id="p", slot="tool:0", **{"role": "tool"} | fields)


async def test_a_tools_result_is_read_whole_by_its_own_thread_alone() -> None:
    kept = Kept(
        result("t", 1, text="short"),
        result("t", 2, text="ends", blob={"ref": "r", "chars": 7}),
        result("t", 3, text="ends", blob={"ref": "gone", "chars": 7}),
        result("t", 4, text="3 rows", output="[1, 2, 3]"),
        result("t", 5, role="assistant", text="an answer"),
        result("other", 6, text="another's"),
        blobs={"r": "grüße".encode()},
    )
    app = make_app(cast("Store", kept), cast("Threads", None), health, "test", cast("Blobs", kept))
    answers: list[tuple[int, str]] = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        for number in range(1, 8):
            got = await http.get(f"/api/threads/t/messages/{result('t', number).id}/result")
            answers.append((got.status_code, got.text if got.status_code == 200 else got.json()["detail"]))
        odd = await http.get("/api/threads/t/messages/../../etc/result")
        assert (await http.get("/api/threads/t/messages/1/result")).status_code == 422
    assert answers[:4] == [
        (200, "short"),
        (200, "grüße"),
        (404, f"The result {result('t', 3).id!r} is not kept whole any longer; the message has its ends."),
        (200, "[1, 2, 3]"),
    ]
    assert [status for status, _ in answers[4:]] == [404, 404, 404]
    assert odd.status_code == 404
