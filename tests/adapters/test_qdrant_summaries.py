"""Summaries of threads, on both stores: one follows the other, and what is due is found."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_points import MESSAGES, RECORDS
from adapters.qdrant_server import ServerStore
from adapters.qdrant_store import QdrantStore
from adapters.qdrant_summaries import QdrantSummaries
from domain import ids
from domain.messages import ThreadRecord
from domain.summaries import ThreadSummary
from tests.adapters.store_contract import new_thread, row
from tests.qdrant import qdrant_double

Both = tuple[QdrantStore, QdrantSummaries]


def summaries_of(store: EdgeStore | ServerStore) -> QdrantSummaries:
    return QdrantSummaries(store.collection(MESSAGES), store.collection(RECORDS))


@pytest.fixture(scope="module", params=["edge", "server"])
async def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "edge":
        embedded = EdgeStore(folder)
        yield embedded, summaries_of(embedded)
        embedded.close()
        return
    async with qdrant_double(folder) as double:
        server = await ServerStore.open(double.url)
        yield server, summaries_of(server)
        await server.close()


async def test_a_summary_follows_the_one_it_was_made_of_or_is_not_kept(both: Both) -> None:
    _, summaries = both
    first, late, second = (
        ThreadSummary(thread=new_thread(), through_turn=turn, text=f"up to {turn} \x00 \u2028", facts=["ü"])
        for turn in (3, 4, 8)
    )
    thread = first.thread
    late, second = (found.model_copy(update={"thread": thread}) for found in (late, second))
    assert await summaries.get(thread) is None
    assert await summaries.put(first, 0) == first
    assert await summaries.put(late, 0) == first
    assert await summaries.put(second, 3) == second
    assert await summaries.put(late, 3) == second
    assert await summaries.get(thread) == second


async def test_a_thread_is_due_until_it_is_settled_as_it_was_then(both: Both) -> None:
    store, summaries = both
    thread = new_thread()
    await store.insert_thread(ThreadRecord(thread=thread))
    await store.end_turn(thread, 9, {"compaction": "due", "compact_through": 4})
    [early] = await due(summaries, thread)
    await store.end_turn(thread, 10, {"compaction": "due", "compact_through": 6})
    await summaries.settle(early, 4)
    [later] = await due(summaries, thread)
    assert (later.compact_through, later.summary_through) == (6, 4)
    await summaries.settle(later, 6)
    assert await due(summaries, thread) == []


async def test_the_turns_to_be_summarised_come_in_order(both: Both) -> None:
    store, summaries = both
    thread = new_thread()
    rows = [row(thread, turn=turn, seq=ids.first_seq(turn), status="answered") for turn in range(1, 6)]
    await store.insert([*rows, row(thread, turn=3, seq=ids.seq(3, 0, 1), status="pending")])
    await store.insert([row(new_thread(), turn=3, seq=ids.first_seq(3), status="answered")])
    found = await summaries.turns(thread, 2, 4, 10)
    assert [message.id for message in found] == [message.id for message in rows[1:4]]
    assert len(await summaries.turns(thread, 2, 4, 2)) == 2


async def due(summaries: QdrantSummaries, thread: str) -> list[ThreadRecord]:
    return [record for record in await summaries.due(100) if record.thread == thread]
