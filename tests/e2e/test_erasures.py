"""An erasure goes on wherever everything was killed, and is done once."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from client.erasing import Erasures
from domain.erasure import read_erasure
from tests.e2e.driver import Everthread, until

THREADS = 8

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("when", ["begun", "erased"])
async def test_after_kill_9_of_everything_an_erasure_goes_on_and_counts_each_row_once(
    running: Everthread, when: str
) -> None:
    """Killed as soon as the record of it is there, or when the first rows are gone."""
    threads = [f"t-{uuid.uuid4().hex[:8]}" for _ in range(THREADS)]
    for thread in threads:
        await running.submit(thread, "My card is 4711.")
    for thread in threads:
        await running.answered(thread)
    erasure = f"e-{uuid.uuid4().hex[:8]}"
    requests = [read_erasure({"id": f"{erasure}-{thread}", "thread": thread}) for thread in threads]
    erasures = Erasures(await running.threads())
    begun = await asyncio.gather(*(erasures.begin(request, settle_s=2.0) for request in requests))

    async def far_enough() -> bool:
        answer = await running.get(f"/api/erasures/{begun[0]}")
        return answer.status_code == 200 and (when == "begun" or bool(answer.json()["erased"]))

    await until(far_enough, 10.0, "the erasure has begun")
    await running.kill9_tree()
    await running.start()
    erasures = Erasures(await running.threads())
    receipts = await asyncio.wait_for(asyncio.gather(*(erasures.receipt(one, wait=True) for one in begun)), 60)
    assert [(receipt.status, receipt.erased) for receipt in receipts] == [("done", {"messages": 2})] * THREADS
    for thread in threads:
        assert await running.messages(thread) == []
