"""Erasures, for programs that have a Temporal client; and what an erasure does with the workflows of threads."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, DescribeNamespaceRequest
from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from client.sender import CALL_TIMEOUT
from client.threads import EXISTING, Threads
from domain import ids
from domain.erasure import SETTLE_S, EraseInput, ErasureReceipt, ErasureRequest, Forget, ForgetReceipt
from domain.errors import InputRefusedError, PromptConflictError, UnavailableError
from domain.messages import preview
from workflows.interface import ERASE, erase_id

END_S = 10.0  # a run that has not ended by then is terminated
MOST_RUNS = 1_000


@dataclass(frozen=True)
class ThreadRuns:
    """activities.ports.Runs over Temporal."""

    threads: Threads

    async def end(self, thread: str) -> None:
        handle = self.threads.handle(thread)
        try:
            await handle.cancel(rpc_timeout=CALL_TIMEOUT)
            try:
                with suppress(WorkflowFailureError):
                    await asyncio.wait_for(handle.result(), END_S)
            except TimeoutError:
                await handle.terminate(reason="the thread is deleted", rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:  # it has ended
                raise UnavailableError(f"thread {thread} cannot be ended: {error.message}") from error

    async def forget(self, thread: str, wanted: Forget) -> list[str]:
        return (await self.threads.update("forget", thread, wanted, EXISTING, ForgetReceipt)).open

    async def histories(self, thread: str) -> list[str]:
        query = f"WorkflowId = '{_quoted(ids.workflow_id(thread))}'"
        try:
            found = self.threads.temporal.list_workflows(query, limit=MOST_RUNS, rpc_timeout=CALL_TIMEOUT)
            listed = [execution.run_id async for execution in found]
            last = await self._last_run(thread)  # the list may be some seconds late
        except RPCError as error:
            raise UnavailableError(f"Temporal does not list the runs of thread {thread}: {error.message}") from error
        return listed if last is None or last in listed else [last, *listed]

    async def _last_run(self, thread: str) -> str | None:
        """Raises: RPCError."""
        try:
            return (await self.threads.handle(thread).describe(rpc_timeout=CALL_TIMEOUT)).run_id
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def drop_history(self, thread: str, run_id: str) -> None:
        temporal = self.threads.temporal
        run = WorkflowExecution(workflow_id=ids.workflow_id(thread), run_id=run_id)
        request = DeleteWorkflowExecutionRequest(namespace=temporal.namespace, workflow_execution=run)
        try:
            await temporal.workflow_service.delete_workflow_execution(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise UnavailableError(f"Temporal does not delete a history: {error.message}") from error

    async def retention_days(self) -> float:
        temporal = self.threads.temporal
        try:
            described = await temporal.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=temporal.namespace), timeout=CALL_TIMEOUT
            )
        except RPCError as error:
            raise UnavailableError(f"Temporal does not say for how long it keeps histories: {error.message}") from error
        return described.config.workflow_execution_retention_ttl.ToTimedelta().total_seconds() / 86_400


@dataclass(frozen=True)
class Erasures:
    """Starts and follows erasures, each by its id."""

    threads: Threads

    async def begin(self, request: ErasureRequest, *, settle_s: float = SETTLE_S) -> str:
        """Start it; the same again under the same id. Returns the id, which it is given if it has none.

        Raises: PromptConflictError if the id is another erasure's; UnavailableError.
        """
        request = request if request.id else request.model_copy(update={"id": str(uuid.uuid4())})
        assert request.id is not None
        temporal = self.threads.temporal
        try:
            await temporal.start_workflow(
                ERASE,
                args=[EraseInput(request=request, settle_s=settle_s)],
                id=erase_id(request.id),
                task_queue=self.threads.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=_summary(request),
                rpc_timeout=CALL_TIMEOUT,
            )
            await self._raise_if_another(request)
        except WorkflowAlreadyStartedError:
            await self._raise_if_another(request)
        except RPCError as error:
            raise UnavailableError(f"Temporal did not take the erasure: {error.message}; send it again") from error
        return request.id

    async def _raise_if_another(self, request: ErasureRequest) -> None:
        """Raises: PromptConflictError; RPCError."""
        assert request.id is not None
        handle = self.threads.temporal.get_workflow_handle(erase_id(request.id))
        described = await handle.describe(rpc_timeout=CALL_TIMEOUT)
        if await described.static_summary() != _summary(request):
            raise PromptConflictError(
                f"erasure id {request.id} was used before for another one; send it under a new id"
            )

    async def receipt(self, erasure: str, *, wait: bool = False) -> ErasureReceipt:
        """How far it is, or, with `wait`, its end. Raises: InputRefusedError if there is none; UnavailableError."""
        handle = self.threads.temporal.get_workflow_handle(erase_id(erasure), result_type=ErasureReceipt)
        try:
            if wait:
                ended: ErasureReceipt = await handle.result()
                return ended
            found: ErasureReceipt = await handle.query("progress", result_type=ErasureReceipt, rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise InputRefusedError(f"there is no erasure {preview(ascii(erasure), 60)}") from error
            raise UnavailableError(f"erasure {erasure} cannot be asked: {error.message}") from error
        except WorkflowFailureError as error:
            raise UnavailableError(f"erasure {erasure} was ended before it was done: {error.cause}") from error
        return found


def _summary(request: ErasureRequest) -> str:
    digest = ids.content_digest(request.model_dump(mode="json", exclude={"id"}))
    return f"Erasure of {preview(request.subject(), 100)} ({digest[:8]})"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
