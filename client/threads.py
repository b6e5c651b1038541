"""Typed calls on threads, for programs that have a Temporal client."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from domain import errors, ids
from domain.errors import InputRefusedError, UnavailableError
from domain.prompts import Prompt, Receipt, ThreadStart, read_thread_id
from workflows import attributes
from workflows.thread import TASK_TIMEOUT, AgentThread

CALL_TIMEOUT = timedelta(seconds=30)
_REFUSALS = {
    kind.__name__: kind for kind in (errors.InputRefusedError, errors.PromptConflictError, errors.InboxFullError)
}


@dataclass(frozen=True)
class Threads:
    """Threads of one Temporal namespace. `agent` is that of threads that name none."""

    temporal: Client
    task_queue: str
    agent: str

    async def submit(self, thread: str, prompt: Prompt, start: ThreadStart | None = None) -> Receipt:
        """Send a prompt, starting the thread if it does not run; safe to repeat with the same prompt id.

        Raises: InputRefusedError, PromptConflictError, InboxFullError if the thread does not take it; UnavailableError
        if Temporal does not answer, and then the outcome is unknown: send the same prompt, with its id, again.
        """
        prompt = prompt if prompt.id else prompt.model_copy(update={"id": str(uuid.uuid4())})
        try:
            receipt: Receipt = await self.temporal.execute_update_with_start_workflow(
                "submit",
                prompt,
                start_workflow_operation=self._operation(thread, start or ThreadStart()),
                result_type=Receipt,
                rpc_timeout=CALL_TIMEOUT,
            )
        except WorkflowUpdateFailedError as error:
            raise _refusal(error) from error
        except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise UnavailableError(f"Temporal did not take the prompt: {error}; send it again under its id") from error
        return receipt

    async def signal(self, thread: str, prompt: Prompt, start: ThreadStart | None = None) -> None:
        """Send a prompt without waiting to hear whether it is taken; a refusal is recorded on the thread.

        Raises: UnavailableError if Temporal does not answer.
        """
        await self._start(thread, start or ThreadStart(), start_signal="prompt", start_signal_args=[prompt])

    async def ensure_running(self, thread: str, start: ThreadStart | None = None) -> None:
        """Start the thread unless it runs, so that what it left unended goes on.

        Raises: UnavailableError if Temporal does not answer.
        """
        await self._start(thread, start or ThreadStart())

    async def status(self, thread: str) -> dict[str, Any]:
        """What the thread is doing. Raises: RPCError if it does not run."""
        status: dict[str, Any] = await self.handle(thread).query("status", rpc_timeout=CALL_TIMEOUT)
        return status

    def handle(self, thread: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(ids.workflow_id(read_thread_id(thread)))

    def _operation(self, thread: str, start: ThreadStart) -> WithStartWorkflowOperation[Any, Any]:
        return WithStartWorkflowOperation(
            AgentThread.run,
            args=[start],
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **self._options(thread, start),
        )

    async def _start(self, thread: str, start: ThreadStart, **signal: Any) -> None:
        try:
            await self.temporal.start_workflow(
                AgentThread.run,
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


def _refusal(error: WorkflowUpdateFailedError) -> Exception:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _REFUSALS:
        return _REFUSALS[cause.type](cause.message)
    return InputRefusedError(f"the thread did not take the prompt: {cause}")
