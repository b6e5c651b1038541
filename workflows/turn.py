"""One turn of a thread: model calls and tools until the model stops. The order only; the work is in the activities."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from temporalio import exceptions, workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.closing import ClosingActivities
    from activities.model import ModelActivities
    from activities.tools import ToolActivities
    from domain import ids
    from domain.approvals import Resolution
    from domain.messages import preview
    from domain.prompts import Refusal
    from domain.state import Running
    from domain.steps import Closed, CloseRequest, PlannedCall, StepRequest, StepResult, ToolRequest
    from workflows import options

SUMMARY_CHARS = 40


class Calls:
    """The activities of the step that runs, so that they can be stopped."""

    def __init__(self) -> None:
        self._running: list[workflow.ActivityHandle[Any]] = []

    async def run(self, call: workflow.ActivityHandle[Any]) -> Any:
        self._running.append(call)
        try:
            return await call
        finally:
            self._running.remove(call)

    def stop(self) -> None:
        for call in self._running:
            call.cancel()


async def call_model(thread: str, epoch: int, turn: Running, calls: Calls) -> StepResult:
    request = StepRequest(**_place(thread, epoch, turn), prompt=turn.prompt, expect=turn.expect, joined=turn.joining)
    what = preview(turn.preview, SUMMARY_CHARS) if turn.step == 0 else f"step {turn.step + 1}"
    config = options.call_model(f"{turn.turn}: {what}")
    result: StepResult = await calls.run(workflow.start_activity_method(ModelActivities.call_model, request, **config))
    return result


async def run_tools(thread: str, epoch: int, turn: Running, plan: list[PlannedCall], calls: Calls) -> list[str]:
    """Run the step's calls side by side; return the ids of their results, in the order of the calls.

    All have ended when it returns or raises, so that none is left behind.
    """
    requests = [_tool_request(thread, epoch, turn, index, call) for index, call in enumerate(plan)]
    results = await asyncio.gather(*(_run_tool(request, turn, calls) for request in requests), return_exceptions=True)
    done = [result for result in results if not isinstance(result, BaseException)]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return done


async def run_tool(
    thread: str, epoch: int, turn: Running, index: int, calls: Calls, resolution: Resolution | None
) -> str:
    """Run one call of the turn's plan, as it was decided if it had to wait; return the id of its result."""
    request = _tool_request(thread, epoch, turn, index, turn.plan[index].model_copy(update={"gate": None}))
    return await _run_tool(request.model_copy(update={"resolution": resolution}), turn, calls)


def result_id(thread: str, turn: Running, index: int) -> str:
    return ids.message_id(thread, turn.prompt_id, f"tool:{index}", branch=turn.branch, step=turn.step)


def _tool_request(thread: str, epoch: int, turn: Running, index: int, call: PlannedCall) -> ToolRequest:
    return ToolRequest(**_place(thread, epoch, turn), index=index, call=call)


def _place(thread: str, epoch: int, turn: Running) -> dict[str, Any]:
    """What each request of a turn says: whose step it is."""
    return {
        "thread": thread,
        "epoch": epoch,
        "prompt_id": turn.prompt_id,
        "turn": turn.turn,
        "branch": turn.branch,
        "step": turn.step,
        "agent": turn.agent,
    }


async def _run_tool(request: ToolRequest, turn: Running, calls: Calls) -> str:
    call = request.call
    summary, write = f"{request.turn}: {call.tool}", call.effect == "write"
    config = options.run_tool(summary, call.timeout_s, write=write, queue=call.queue)
    result = await calls.run(workflow.start_activity_method(ToolActivities.run_tool, request, **config))
    if result.agent:
        turn.handed_over = result.agent  # once the step is done: its other calls are the agent's that planned them
    return str(result.message_id)


async def close_failed(thread: str, epoch: int, turn: Running, reason: str) -> Closed:
    """Record that the turn failed; return the end that it has."""
    return await _close(thread, epoch, turn, status="failed", error=reason)


async def close_interrupted(thread: str, epoch: int, turn: Running) -> Closed:
    """Record that the turn was stopped: what was said stays, and each of its tool calls has an end. Return its end."""
    return await _close(thread, epoch, turn, status="interrupted", error=turn.stop or "interrupted")


async def _close(
    thread: str, epoch: int, turn: Running, *, status: Literal["failed", "interrupted"], error: str
) -> Closed:
    request = CloseRequest(
        **_place(thread, epoch, turn),
        prompt=turn.prompt,
        status=status,
        error=error,
        calls=turn.calls,
        joined=turn.joining,
        replaced_by=turn.replaced_by,
    )
    closed = await workflow.execute_activity_method(
        ClosingActivities.close_turn, request, **options.record(f"{turn.turn}: {status}")
    )
    return closed or Closed(status=status)  # workers of an older release say nothing


async def record_refusals(thread: str, epoch: int, refusals: list[Refusal]) -> None:
    await workflow.execute_activity_method(
        ClosingActivities.close_turn,
        CloseRequest(thread=thread, epoch=epoch, refusals=refusals),
        **options.record(f"{len(refusals)} refused"),
    )


def sentence(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return cause.message
    if isinstance(cause, exceptions.TimeoutError):
        return f"{error.activity_type} did not finish in time ({cause.type.name.lower() if cause.type else 'timeout'})"
    return str(cause or error)
