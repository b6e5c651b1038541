"""Temporal's dev server for tests: the real one, in memory, quick about delays."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from runtime.temporal import DATA_CONVERTER, add_search_attributes
from workflows import attributes

TEMPORAL = Path(sys.executable).parent / "temporal"

# Delays under a second would take a second, each step of a turn up to 50 ms; a run that follows another within a second would have to wait.
QUICK = (
    'history.timerProcessorMaxTimeShift="10ms"',
    "history.transferProcessorMaxPollRPS=500",
    'history.workflowIdReuseMinimalInterval="0s"',
)

EARLY = 100  # events
ROLL_EARLY = f"limit.historyCount.suggestContinueAsNew={EARLY}"


@asynccontextmanager
async def dev_server(*dynamic_config: str) -> AsyncIterator[Client]:
    server = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL),
        data_converter=DATA_CONVERTER,
        dev_server_log_level="error",
        dev_server_extra_args=[
            part for value in (*QUICK, *dynamic_config) for part in ("--dynamic-config-value", value)
        ],
    )
    async with server:
        await add_search_attributes(server.client, [key.name for key in attributes.ALL])
        yield server.client
