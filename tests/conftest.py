"""One real Temporal server and one store for the whole run; a thread, a queue and a model of its own for each test."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from runtime.temporal import DATA_CONVERTER, add_search_attributes
from tests.system import System, WatchedStore, new_thread, run_system
from workflows import attributes

TEMPORAL = Path(sys.executable).parent / "temporal"
EARLY = 100  # events after which the second server suggests to continue as new
# Delays under a second would take a second; a run that follows another within a second would have to wait.
QUICK = ('history.timerProcessorMaxTimeShift="10ms"', 'history.workflowIdReuseMinimalInterval="0s"')

# The machine that runs the tests may be slow; a time limit on an example would only tell that.
settings.register_profile("everthread", deadline=None)
settings.load_profile("everthread")


@asynccontextmanager
async def dev_server(*dynamic_config: str) -> AsyncIterator[Client]:
    values = (*QUICK, *dynamic_config)
    server = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL),
        data_converter=DATA_CONVERTER,
        dev_server_log_level="error",
        dev_server_extra_args=[argument for value in values for argument in ("--dynamic-config-value", value)],
    )
    async with server:
        await add_search_attributes(server.client, [key.name for key in attributes.ALL])
        yield server.client


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    async with dev_server() as client:
        yield client


@pytest.fixture(scope="session")
async def early_temporal() -> AsyncIterator[Client]:
    """A server on which threads roll often."""
    async with dev_server(f"limit.historyCount.suggestContinueAsNew={EARLY}") as client:
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
