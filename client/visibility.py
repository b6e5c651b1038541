"""Which threads run, as Temporal's visibility lists them, and work done on many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from temporalio.client import Client, WorkflowExecution

from client.sender import CALL_TIMEOUT
from workflows.interface import WORKFLOW

T = TypeVar("T")

RUNNING = f"WorkflowType = '{WORKFLOW}' AND ExecutionStatus = 'Running'"
PAGE = 1_000
AT_ONCE = 16


async def count_running(client: Client, also: str = "") -> int:
    """Raises: RPCError."""
    return (await client.count_workflows(_query(also), rpc_timeout=CALL_TIMEOUT)).count


def list_running(client: Client, limit: int | None = None, also: str = "") -> AsyncIterator[WorkflowExecution]:
    """The newest first. `also` narrows the query. Raises: RPCError."""
    return client.list_workflows(_query(also), limit=limit, page_size=PAGE, rpc_timeout=CALL_TIMEOUT)


def _query(also: str) -> str:
    return f"{RUNNING} AND {also}" if also else RUNNING


async def each(
    executions: AsyncIterator[WorkflowExecution], work: Callable[[WorkflowExecution], Awaitable[T]]
) -> AsyncIterator[tuple[WorkflowExecution, T]]:
    """What the work gives for each, in their order, several at once. Raises: what the work does."""
    batch: list[WorkflowExecution] = []
    async for execution in executions:
        batch.append(execution)
        if len(batch) == AT_ONCE:
            for done in zip(batch, await asyncio.gather(*map(work, batch)), strict=True):
                yield done
            batch = []
    for done in zip(batch, await asyncio.gather(*map(work, batch)), strict=True):
        yield done
