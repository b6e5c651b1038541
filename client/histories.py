"""The events of a run, as Temporal keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client

from client.sender import CALL_TIMEOUT

_PAGE = 100


async def events_of(client: Client, workflow_id: str, run_id: str) -> list[HistoryEvent]:
    """All of a run, the oldest first. Raises: RPCError."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    return [event async for event in handle.fetch_history_events(rpc_timeout=CALL_TIMEOUT)]


async def newest_first(client: Client, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
    """Raises: RPCError."""
    token = b""
    while True:
        page = await client.workflow_service.get_workflow_execution_history_reverse(
            GetWorkflowExecutionHistoryReverseRequest(
                namespace=client.namespace,
                execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                maximum_page_size=_PAGE,
                next_page_token=token,
            ),
            retry=True,
            timeout=CALL_TIMEOUT,
        )
        for event in page.history.events:
            yield event
        if not (token := page.next_page_token):
            return
