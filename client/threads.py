"""Typed calls on threads, for programs that have a Temporal client."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakValueDictionary

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

from client.retries import Retrying, retrying_of
from domain import ids
from domain.errors import InputRefusedError, UnavailableError, UnknownPromptError, UnknownThreadError
from domain.prompts import Interrupt, InterruptReceipt, Prompt, Receipt, ThreadStart, TurnReport, read_thread_id
from workflows import attributes
from workflows.interface import PROMPT_REFUSALS
from workflows.thread import TASK_TIMEOUT, AgentThread

CALL_TIMEOUT = timedelta(seconds=30)
# The server allows ten at once for a workflow, and answers a flood with outcomes that nobody knows.
UPDATES_IN_FLIGHT = 5
ASK_AGAIN_S, ASK_AGAIN_LATER_S = 0.2, 2.0
_REFUSALS = {kind.__name__: kind for kind in (*PROMPT_REFUSALS, UnknownThreadError, UnknownPromptError)}
T = TypeVar("T")


@dataclass(frozen=True)
class Threads:
    """Threads of one Temporal namespace. `agent` is that of threads that name none."""

    temporal: Client
    task_queue: str
    agent: str
    _flights: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary, repr=False)

    async def submit(self, thread: str, prompt: Prompt, start: ThreadStart | None = None) -> Receipt:
        """Send a prompt, starting the thread if it does not run; safe to repeat with the same prompt id.

        Raises: InputRefusedError, PromptConflictError, InboxFullError, ThreadBusyError if the thread does not take it,
        UnknownThreadError if it must exist and does not;
        UnavailableError if Temporal does not answer, and then the outcome is unknown: send the same prompt, with its id,
        again.
        """
        return await self._update("submit", thread, _with_id(prompt), start, Receipt)

    async def ask(
        self, thread: str, prompt: Prompt, start: ThreadStart | None = None, *, timeout_s: float = 600.0
    ) -> TurnReport:
        """Send a prompt and wait for the end of its turn, through rolls and outages; safe to repeat with the same id.

        Raises: as `submit` if the thread does not take it; TimeoutError after `timeout_s` seconds, and then the prompt
        is kept and goes on.
        """
        prompt, pause_s = _with_id(prompt), ASK_AGAIN_S
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    report = await self._update("ask", thread, prompt, start, TurnReport)
                except UnavailableError:
                    report = None
                if report is not None and report.ended:
                    return report
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, ASK_AGAIN_LATER_S)

    async def interrupt(
        self, thread: str, *, turn: int | None = None, prompt_id: str | None = None, reason: str | None = None
    ) -> InterruptReceipt:
        """Stop the running turn, or only the one that is named. Raises: UnavailableError if it cannot be asked."""
        wanted = Interrupt(turn=turn, prompt_id=prompt_id, reason=reason)
        async with self._flight(thread, f"thread {thread} cannot be asked to stop"):
            receipt: InterruptReceipt = await self.handle(thread).execute_update(
                "interrupt", wanted, result_type=InterruptReceipt, rpc_timeout=CALL_TIMEOUT
            )
        return receipt

    async def turn(self, thread: str, prompt_id: str | None = None) -> TurnReport:
        """What became of a prompt so far; of none, the turn that runs or was the last. Raises: RPCError if it is closed."""
        wanted = {"prompt_id": prompt_id} if prompt_id else {}
        report: TurnReport = await self.handle(thread).query(
            "turn", wanted, result_type=TurnReport, rpc_timeout=CALL_TIMEOUT
        )
        return report

    async def signal(self, thread: str, prompt: Prompt, start: ThreadStart | None = None) -> None:
        """Send a prompt without waiting to hear whether it is taken; a refusal is recorded on the thread.

        A thread that must exist and does not is one that failed with UnknownThreadError.
        Raises: UnavailableError if Temporal does not answer.
        """
        await self._start(thread, _start_for(prompt, start), start_signal="prompt", start_signal_args=[prompt])

    async def ensure_running(self, thread: str, start: ThreadStart | None = None) -> None:
        """Start the thread unless it runs, so that what it left unended goes on.

        Raises: UnavailableError if Temporal does not answer.
        """
        await self._start(thread, start or ThreadStart())

    async def status(self, thread: str) -> dict[str, Any]:
        """What the thread is doing, as its query `status` tells, and `retrying`: what fails meanwhile, see client.retries.

        Raises: RPCError if it does not run.
        """
        handle = self.handle(thread)
        status, retrying = await asyncio.gather(handle.query("status", rpc_timeout=CALL_TIMEOUT), self.retrying(thread))
        return dict(status) | {"retrying": [one.model_dump() for one in retrying]}

    async def retrying(self, thread: str) -> list[Retrying]:
        """What of the thread's work has failed and is tried again; needs no worker. Raises: RPCError if there is none."""
        description = await self.handle(thread).describe(rpc_timeout=CALL_TIMEOUT)
        return retrying_of(description.raw_description, time.time())

    def handle(self, thread: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(ids.workflow_id(read_thread_id(thread)))

    async def _update(
        self, name: str, thread: str, prompt: Prompt, start: ThreadStart | None, result_type: type[T]
    ) -> T:
        try:
            async with self._flight(thread, "Temporal did not take the prompt", "; send it again under its id"):
                result: T = await self.temporal.execute_update_with_start_workflow(
                    name,
                    prompt,
                    start_workflow_operation=self._operation(thread, _start_for(prompt, start)),
                    result_type=result_type,
                    rpc_timeout=None if name == "ask" else CALL_TIMEOUT,
                )
        except (InputRefusedError, UnavailableError):
            if prompt.must_exist:  # then the run that was started for it may have ended under the update
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
    async def _flight(self, thread: str, problem: str, remedy: str = "") -> AsyncIterator[None]:
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


def _start_for(prompt: Prompt, start: ThreadStart | None) -> ThreadStart:
    start = start or ThreadStart()
    return start.model_copy(update={"must_exist": True}) if prompt.must_exist else start


def _with_id(prompt: Prompt) -> Prompt:
    return prompt if prompt.id else prompt.model_copy(update={"id": str(uuid.uuid4())})


def _raise_if_cancelled() -> None:
    """Temporal's client makes an error of its own of a cancelled call, which would keep its caller from being stopped."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _refusal(error: WorkflowUpdateFailedError) -> Exception:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _REFUSALS:
        return _REFUSALS[cause.type](cause.message)
    return InputRefusedError(f"the thread did not take the prompt: {cause}")
