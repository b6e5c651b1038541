"""The embedded store: the contract, and what only a store on disk in this process must do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import qdrant_edge as edge

from adapters import qdrant_points as points
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_knowledge import QdrantKnowledge
from adapters.qdrant_points import Where
from domain.errors import StoreBusyError, StoreError
from domain.listing import ThreadFilter
from domain.messages import ThreadRecord
from tests.adapters.collection_contract import CollectionContract
from tests.adapters.erasing_contract import ErasingContract
from tests.adapters.index_contract import IndexContract
from tests.adapters.knowledge_contract import KnowledgeContract
from tests.adapters.store_contract import StoreContract, everything, new_thread, row
from tests.programs import ROOT, environment

ROWS = 1_000


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeStore]:
    store = EdgeStore(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


@pytest.fixture(scope="module")
def knowledge(store: EdgeStore) -> QdrantKnowledge:
    return QdrantKnowledge(store.collection(points.CHUNKS))


class TestEdgeErasing(ErasingContract):
    """On disk, in this process."""


class TestEdgeStore(StoreContract):
    """On disk, in this process."""


class TestEdgeKnowledge(KnowledgeContract):
    """Likewise."""


class TestEdgeCollections(CollectionContract):
    """On disk, in this process."""


async def test_a_collection_that_nobody_wrote_to_is_empty_and_takes_no_room(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    facts = store.collection(points.FACTS)
    await facts.change(Where(), {"status": "current"})
    await facts.delete(Where())
    assert await facts.count(Where()) == 0
    assert await facts.search("model", [[1.0, 0.0]], Where(), 3) == []
    assert await facts.walk(Where(), None, 3) == []
    store.close()
    assert not (tmp_path / points.FACTS).exists()


async def test_a_collection_is_made_with_its_first_write_and_the_vectors_it_was_to_have(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    facts, fact = store.collection(points.FACTS), str(uuid4())
    await facts.add_vector("model", 2)
    with pytest.raises(StoreError, match="of another size than 3"):
        await facts.add_vector("model", 3)
    await facts.insert({fact: {"tenant": "t"}}, {fact: {"model": [[1.0, 0.0]]}})
    store.close()
    again = EdgeStore(tmp_path)
    [(found, score, _)] = await again.collection(points.FACTS).search("model", [[1.0, 0.0]], Where(), 3)
    assert (found, round(score, 3)) == (fact, 1.0)
    again.close()


class TestEdgeIndex(IndexContract):
    """The index of messages."""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in another process, from the root of the repository."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30, check=False)


async def test_everything_is_there_after_closing_and_opening_again(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    kept = row(thread := new_thread(), text="kept", raw={"a": 1})
    await store.insert([kept])
    await store.amend(kept.id, 5, {"text": "changed"})
    record = await store.insert_thread(ThreadRecord(thread=thread, updated_at=1.0))
    await store.save_checkpoint(thread, 1, 1, {"a": 1})
    store.close()

    again = EdgeStore(tmp_path)
    assert await again.get([kept.id]) == [kept.model_copy(update={"text": "changed", "attempt": 5})]
    assert await again.get_thread(thread) == record
    assert await again.load_checkpoint(thread) == {"a": 1}
    assert await everything(again, thread, limit=5, newest_first=True) == [kept.id]
    again.close()


async def test_a_folder_of_an_older_release_gets_the_indexes_that_were_added_since(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    record = await store.insert_thread(ThreadRecord(thread=new_thread(), tenant="acme", preview="Deploy the blog"))
    store.close()
    folder = str(tmp_path / points.RECORDS)
    shard = edge.EdgeShard.load(folder)
    for field in ("preview", "agent", "status", "epoch", "turns", "rank"):
        shard.update(edge.UpdateOperation.delete_field_index(field))
    shard.close()

    again = EdgeStore(tmp_path)
    assert (await again.page_threads(ThreadFilter(text="blog"), cursor=None, limit=9)).items == [record]
    again.close()
    shard = edge.EdgeShard.load(folder)
    assert shard.info().payload_schema.keys() == points.INDEXES[points.RECORDS].keys()
    shard.close()


KILLED_WHILE_WRITING = """
import asyncio, os, signal, sys
from pathlib import Path
from adapters.qdrant_edge import EdgeStore
from domain.messages import ThreadRecord
from tests.adapters.store_contract import row

async def main():
    store = EdgeStore(Path(sys.argv[1]))
    await store.insert_thread(ThreadRecord(thread="t", updated_at=1.0))
    for seq in range(int(sys.argv[2])):
        written = row("t", seq)
        await store.insert([written])
        await store.amend(written.id, 1, {"status": "answered", "text": str(seq)})
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_everything_written_survives_kill_9(tmp_path: Path) -> None:
    ended = python(KILLED_WHILE_WRITING, tmp_path, ROWS)
    assert ended.returncode == -9, ended.stderr
    store = EdgeStore(tmp_path)
    found = await everything(store, "t", limit=100, newest_first=False)
    rows = await store.get(found)
    assert [message.text for message in rows] == [str(seq) for seq in range(ROWS)]
    assert {message.status for message in rows} == {"answered"}
    assert await store.get_thread("t") is not None
    store.close()


OPEN = """
import sys
from pathlib import Path
from adapters.qdrant_edge import EdgeStore
try:
    EdgeStore(Path(sys.argv[1])).close()
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_second_process_is_told_who_holds_the_folder_and_what_to_do(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    said = python(OPEN, tmp_path).stdout
    assert said.startswith("StoreBusyError")
    assert f"pid {os.getpid()}" in said
    assert "EVERTHREAD_DATA_DIR" in said
    assert "EVERTHREAD_QDRANT_URL" in said
    store.close()
    assert python(OPEN, tmp_path).stdout == ""


def test_a_folder_is_free_again_after_its_holder_was_killed(tmp_path: Path) -> None:
    assert python(KILLED_WHILE_WRITING, tmp_path, 1).returncode == -9
    EdgeStore(tmp_path).close()


def test_a_second_store_in_one_process_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    with pytest.raises(StoreBusyError):
        EdgeStore(tmp_path)
    store.close()
    EdgeStore(tmp_path).close()


KILLED_WHILE_MAKING = """
import os, signal, sys
from pathlib import Path
from adapters.qdrant_edge import EdgeStore

count = int(sys.argv[2])

def dies(frame, event, function):
    global count
    if event == "c_call" and "create_field_index" in repr(function):
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(dies)
EdgeStore(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("indexes", [0, 3, len(points.INDEXES[points.MESSAGES]) + 1])
def test_a_process_killed_while_it_makes_the_store_leaves_nothing_half_made(tmp_path: Path, indexes: int) -> None:
    ended = python(KILLED_WHILE_MAKING, tmp_path, indexes)
    assert ended.returncode == -9, ended.stdout + ended.stderr
    store = EdgeStore(tmp_path)
    store.close()


async def test_what_a_killed_process_of_the_same_pid_left_is_no_obstacle(tmp_path: Path) -> None:
    """In a container every process may have the pid 1."""
    for name in (points.MESSAGES, points.RECORDS):
        (tmp_path / f".{name}-{os.getpid()}").mkdir()
    store = EdgeStore(tmp_path)
    await store.insert([kept := row(new_thread())])
    assert await store.get([kept.id]) == [kept]
    store.close()


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / points.MESSAGES).write_text("not a shard")
    with pytest.raises(StoreError, match=str(tmp_path)):
        EdgeStore(tmp_path)
