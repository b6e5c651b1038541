"""Threads that cannot go on: their workflow task fails again and again, and Temporal repeats it for ever.

Nothing that such a thread took is lost, but nothing of it is answered either. The cause is code that does not fit the
thread's history, a bug that one of its messages brings out, or a worker that dies of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from temporalio.api.enums.v1 import EventType, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from client.histories import newest_first
from client.sender import CALL_TIMEOUT
from domain import ids
from domain.messages import preview

WEDGED_ATTEMPTS = 3  # more than that many tries of one task
CAUSE_CHARS = 300


@dataclass(frozen=True)
class Wedge:
    """`attempts` of the same task so far; `signals` wait behind it, `since` is when it was first tried."""

    thread: str
    run_id: str
    attempts: int
    cause: str
    signals: int
    since: datetime | None

    @property
    def why(self) -> str:
        return f"its task failed {self.attempts - 1} times: {self.cause}"


async def find_wedge(client: Client, workflow_id: str, run_id: str | None = None) -> Wedge | None:
    """Returns None if it is not wedged, or not there any more. Raises: RPCError."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        described = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        task = described.raw_description.pending_workflow_task
        if task.attempt <= WEDGED_ATTEMPTS:
            return None
        return await _describe(client, workflow_id, described.run_id, task)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


async def _describe(client: Client, workflow_id: str, run_id: str, task: PendingWorkflowTaskInfo) -> Wedge:
    cause, signals = "", 0
    async for event in newest_first(client, workflow_id, run_id):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            break
        signals += event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        cause = cause or cause_of(event)
    since = task.original_scheduled_time.ToDatetime() if task.HasField("original_scheduled_time") else None
    thread = ids.thread_of(workflow_id) or workflow_id
    return Wedge(thread, run_id, task.attempt, cause or "not told in its history", signals, since)


def cause_of(event: HistoryEvent) -> str:
    """Why this event says that the task failed; empty if it says nothing of the kind."""
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
        failed = event.workflow_task_failed_event_attributes
        kind = WorkflowTaskFailedCause.Name(failed.cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")
        return f"{_words(kind)}: {preview(failed.failure.message, CAUSE_CHARS)}"
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
        kind = TimeoutType.Name(event.workflow_task_timed_out_event_attributes.timeout_type)
        return f"timed out ({_words(kind.removeprefix('TIMEOUT_TYPE_'))}): a worker took the task and did not end it"
    return ""


def _words(name: str) -> str:
    return name.replace("_", " ").lower()
