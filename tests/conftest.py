"""One real Temporal server and one store for the whole run; a thread, a queue and a model of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import settings
from temporalio.client import Client

from tests.server import ROLL_EARLY, dev_server
from tests.system import System, WatchedStore, new_thread, run_system

# The machine that runs the tests may be slow; a time limit on an example would only tell that.
settings.register_profile("everthread", deadline=None)
settings.load_profile("everthread")

# What takes longest begins first, so that no process is left with it at the end.
LONGEST_FIRST = ("tests/e2e/", "tests/workflows/", "tests/client/", "tests/adapters/", "tests/test_wire.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        starts = (item.nodeid.startswith(longest) for longest in LONGEST_FIRST)
        return next((number for number, starts in enumerate(starts) if starts), len(LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    async with dev_server() as client:
        yield client


@pytest.fixture(scope="session")
async def early_temporal() -> AsyncIterator[Client]:
    """A server on which threads roll often."""
    async with dev_server(ROLL_EARLY) as client:
        yield client


@pytest.fixture(scope="session")
async def shared_store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WatchedStore]:
    store = WatchedStore(tmp_path_factory.mktemp("shared-store"))
    yield store
    store.close()


@pytest.fixture
async def system(temporal: Client, shared_store: WatchedStore) -> AsyncIterator[System]:
    async with run_system(temporal, shared_store) as system:
        yield system


@pytest.fixture
async def rolling(early_temporal: Client, shared_store: WatchedStore) -> AsyncIterator[System]:
    """A system whose threads roll often."""
    async with run_system(early_temporal, shared_store) as system:
        yield system


@pytest.fixture
def thread() -> str:
    return new_thread()


@pytest.fixture
def short_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that waits for a local activity hears what came in when most of its time is over: of 2 seconds, not of 5."""
    monkeypatch.setattr("client.sender.TASK_TIMEOUT", timedelta(seconds=2))
