"""How calls on a thread travel: started if need be, not too many at once, and their errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from domain import ids
from domain.errors import (
    InputRefusedError,
    ResolvedAlreadyError,
    UnavailableError,
    UnknownCallError,
    UnknownPromptError,
    UnknownThreadError,
)
from domain.prompts import ThreadStart, read_thread_id
from workflows import attributes
from workflows.interface import PROMPT_REFUSALS, TASK_TIMEOUT, WORKFLOW

CALL_TIMEOUT = timedelta(seconds=30)
# The server allows ten at once for a workflow, and answers a flood with outcomes that nobody knows.
UPDATES_IN_FLIGHT = 5
_OTHERS = (UnknownThreadError, UnknownPromptError, UnknownCallError, ResolvedAlreadyError)
_REFUSALS = {kind.__name__: kind for kind in (*PROMPT_REFUSALS, *_OTHERS)}
_RUN_ENDED = "AcceptedUpdateCompletedWorkflow"  # the server's word for it, of a run that was terminated
T = TypeVar("T")


@dataclass(frozen=True)
class Sender:
    """To the threads of one Temporal namespace. `agent` is that of threads that name none."""

    temporal: Client
    task_queue: str
    agent: str
    _flights: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary, repr=False)

    def handle(self, thread: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(ids.workflow_id(read_thread_id(thread)))

    async def update(self, name: str, thread: str, wanted: BaseModel, start: ThreadStart, result_type: type[T]) -> T:
        """Send an update, starting the thread as `start` says if it does not run.

        Raises: InputRefusedError; UnavailableError.
        """
        operation = self._operation(thread, start)
        try:
            async with (
                self.flight(thread, f"Temporal did not take the {name}", "; send it again under its id"),
                _heard(operation),
            ):
                result: T = await self.temporal.execute_update_with_start_workflow(
                    name,
                    wanted,
                    start_workflow_operation=operation,
                    result_type=result_type,
                    rpc_timeout=None if name == "ask" else CALL_TIMEOUT,
                )
        except (InputRefusedError, UnavailableError):
            if start.must_exist:  # then the run that was started for it may have ended under the update
                await self._raise_if_unknown(thread)
            raise
        return result

    async def _raise_if_unknown(self, thread: str) -> None:
        with suppress(RPCError):
            handle = self.handle(thread)
            if (await handle.describe(rpc_timeout=CALL_TIMEOUT)).status != WorkflowExecutionStatus.FAILED:
                return
            try:
                await handle.result(rpc_timeout=CALL_TIMEOUT)
            except WorkflowFailureError as error:
                if isinstance(error.cause, ApplicationError) and error.cause.type == UnknownThreadError.__name__:
                    raise UnknownThreadError(error.cause.message) from error

    @asynccontextmanager
    async def flight(self, thread: str, problem: str, remedy: str = "") -> AsyncIterator[None]:
        """One update, when there are not too many on the way; its errors as ours."""
        async with self._flights.setdefault(thread, asyncio.Semaphore(UPDATES_IN_FLIGHT)):
            try:
                yield
            except WorkflowUpdateFailedError as error:
                raise _refusal(error) from error
            except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
                _raise_if_cancelled()
                raise UnavailableError(f"{problem}: {error}{remedy}") from error

    def _operation(self, thread: str, start: ThreadStart) -> WithStartWorkflowOperation[Any, Any]:
        return WithStartWorkflowOperation(
            WORKFLOW,
            args=[start],
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **self._options(thread, start),
        )

    async def start(self, thread: str, start: ThreadStart, **signal: Any) -> None:
        """Start the thread unless it runs. Raises: UnavailableError."""
        try:
            await self.temporal.start_workflow(
                WORKFLOW,
                args=[start],
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                rpc_timeout=CALL_TIMEOUT,
                **self._options(thread, start),
                **signal,
            )
        except RPCError as error:
            raise UnavailableError(f"Temporal did not start thread {thread}: {error}") from error

    def _options(self, thread: str, start: ThreadStart) -> dict[str, Any]:
        agent = start.agent or self.agent
        return {
            "id": ids.workflow_id(read_thread_id(thread)),
            "task_queue": self.task_queue,
            "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            "task_timeout": TASK_TIMEOUT,
            "static_summary": f"Thread with agent {agent}",
            "search_attributes": attributes.started(agent, start.owner or "", start.tenant or ""),
        }


@asynccontextmanager
async def _heard(operation: WithStartWorkflowOperation[Any, Any]) -> AsyncIterator[None]:
    """Whatever becomes of the start becomes of the update too; Python complains of errors that nobody hears."""
    start = asyncio.ensure_future(operation.workflow_handle())
    start.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        yield
    finally:
        start.cancel()


def _raise_if_cancelled() -> None:
    """Temporal's client makes an error of its own of a cancelled call, which would keep its caller from being stopped."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _refusal(error: WorkflowUpdateFailedError) -> Exception:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _REFUSALS:
        return _REFUSALS[cause.type](cause.message)
    if isinstance(cause, ApplicationError) and cause.type == _RUN_ENDED:
        return UnavailableError("the thread's run was ended before it could say; send it again under its id")
    return InputRefusedError(f"the thread did not take it: {cause}")
