"""Mends a wedged thread: ends the run that cannot go on, opens the thread again from the store, and sends it again what
that run had not dealt with.

Nothing is lost and nothing doubled, wherever it is cut off and however often it is repeated: a run that was ended here
says so in its history, and what no later run was sent is found in it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from client.histories import events_of, newest_first
from client.salvage import Salvage, salvage, wish_key
from client.sender import CALL_TIMEOUT
from client.threads import Threads
from client.wedges import Wedge, find_wedge
from domain import ids
from domain.errors import InputRefusedError
from domain.messages import preview
from domain.prompts import Prompt, ThreadStart, read_thread_id
from workflows.interface import WORKFLOW

REASON = "everthread repair: "
REASON_CHARS = 400
RUNS = 20  # so many of a thread's last runs are looked at
SENT_WITHIN = 3  # runs after one that was ended: what was sent again is in the first, or in what that continued as


@dataclass
class Repair:
    """What is wrong with a thread and what is to be done: end the run of `wedge`, if any, then send all this again.

    `left` is what is not sent again, and why.
    """

    thread: str
    wedge: Wedge | None = None
    start: ThreadStart = field(default_factory=ThreadStart)
    task_queue: str = ""
    opens: bool = False  # the thread does not run, or will not once its run is ended
    prompts: dict[str, Prompt] = field(default_factory=dict)
    wishes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def needed(self) -> bool:
        return self.opens or bool(self.prompts or self.wishes)

    def add(self, found: Salvage, heard: set[str]) -> None:
        """What a run left, but for what later runs have `heard`."""
        self.start, self.task_queue = found.start, found.task_queue
        self.prompts |= {key: prompt for key, prompt in found.prompts.items() if key not in heard}
        self.wishes += [wish for wish in found.wishes if wish_key(*wish) not in heard]
        self.left += found.left


async def examine(threads: Threads, thread: str) -> Repair:
    """Find out what a repair would do. Raises: InputRefusedError if there is no such thread; RPCError."""
    runs = await _runs(threads, thread)
    latest = runs[-1]
    workflow_id = ids.workflow_id(thread)
    repair = Repair(thread, await find_wedge(threads.temporal, workflow_id, latest.run_id))
    repair.opens = repair.wedge is not None or latest.terminated
    for position, run in enumerate(runs):
        if not (run is latest and repair.opens) and not (
            run.terminated and await _ended_here(threads, workflow_id, run)
        ):
            continue
        heard: set[str] = set()
        for later in runs[position + 1 : position + 1 + SENT_WITHIN]:
            heard |= (await _salvage(threads, workflow_id, later)).heard
        repair.add(await _salvage(threads, workflow_id, run), heard)
    return repair


async def mend(threads: Threads, repair: Repair) -> Repair:
    """Do it. Returns what was sent. Raises: UnavailableError, RPCError; then repeat it."""
    thread = repair.thread
    if wedge := repair.wedge:
        await _terminate(threads, thread, wedge)
        repair = await examine(threads, thread)  # with what came in until the end
    threads = replace(threads, task_queue=repair.task_queue or threads.task_queue)
    if repair.opens:
        await threads.ensure_running(thread, repair.start)
    for prompt in repair.prompts.values():
        # What the thread was busy with when it was sent is over; to be refused or to interrupt makes no sense any more.
        await threads.signal(thread, prompt.model_copy(update={"mode": "queue"}), repair.start)
    for name, value in repair.wishes:
        await threads.handle(thread).signal(name, value, rpc_timeout=CALL_TIMEOUT)
    return repair


@dataclass(frozen=True)
class _Run:
    run_id: str
    terminated: bool


async def _runs(threads: Threads, thread: str) -> list[_Run]:
    """The last runs of a thread, the oldest first. The very last is known for certain, the others from visibility."""
    workflow_id = ids.workflow_id(read_thread_id(thread))
    try:
        last = await threads.handle(thread).describe(rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise InputRefusedError(f"Temporal knows no thread {preview(ascii(thread), 60)}") from None
        raise
    quoted = workflow_id.replace("\\", "\\\\").replace("'", "\\'")
    query = f"WorkflowType = '{WORKFLOW}' AND WorkflowId = '{quoted}'"
    listed = [run async for run in threads.temporal.list_workflows(query, limit=RUNS, rpc_timeout=CALL_TIMEOUT)]
    older = sorted((run for run in listed if run.run_id != last.run_id), key=lambda run: run.start_time)
    return [_Run(run.run_id, run.status == WorkflowExecutionStatus.TERMINATED) for run in [*older, last]]


async def _ended_here(threads: Threads, workflow_id: str, run: _Run) -> bool:
    last = await anext(newest_first(threads.temporal, workflow_id, run.run_id))
    return last.workflow_execution_terminated_event_attributes.reason.startswith(REASON)


async def _salvage(threads: Threads, workflow_id: str, run: _Run) -> Salvage:
    client = threads.temporal
    return await salvage(run.run_id, await events_of(client, workflow_id, run.run_id), client.data_converter)


async def _terminate(threads: Threads, thread: str, wedge: Wedge) -> None:
    """End just this run; it is well if it has ended meanwhile."""
    handle = threads.temporal.get_workflow_handle(ids.workflow_id(thread), run_id=wedge.run_id)
    try:
        await handle.terminate(reason=preview(f"{REASON}{wedge.why}", REASON_CHARS), rpc_timeout=CALL_TIMEOUT)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise


def lines(repair: Repair) -> Iterator[str]:
    """What is to be sent, for people."""
    for prompt in repair.prompts.values():
        yield f"prompt {prompt.id}: {preview(prompt.text, 80)}"
    for name, value in repair.wishes:
        yield f"{name} {preview(json.dumps(value), 80)}"
