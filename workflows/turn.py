"""One turn of a thread: model calls and tools until the model stops. The order only; the work is in the activities."""

from __future__ import annotations

import asyncio

from temporalio import exceptions, workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.model import ModelActivities
    from activities.threads import ThreadActivities
    from activities.tools import ToolActivities
    from domain.messages import preview
    from domain.prompts import Refusal
    from domain.steps import CloseRequest, PlannedCall, StepRequest, StepResult, ToolRequest
    from domain.thread import Running
    from workflows import options

SUMMARY_CHARS = 40


async def call_model(thread: str, epoch: int, turn: Running) -> StepResult:
    request = StepRequest(
        thread=thread,
        epoch=epoch,
        prompt_id=turn.prompt_id,
        turn=turn.turn,
        branch=turn.branch,
        step=turn.step,
        agent=turn.agent,
        prompt=turn.prompt,
        expect=turn.expect,
    )
    what = preview(turn.preview, SUMMARY_CHARS) if turn.step == 0 else f"step {turn.step + 1}"
    return await workflow.execute_activity_method(
        ModelActivities.call_model, request, **options.call_model(f"{turn.turn}: {what}")
    )


async def run_tools(thread: str, epoch: int, turn: Running, plan: list[PlannedCall]) -> list[str]:
    """Run the step's calls side by side; return the ids of their results, in the order of the calls."""
    requests = [
        ToolRequest(
            thread=thread,
            epoch=epoch,
            prompt_id=turn.prompt_id,
            turn=turn.turn,
            branch=turn.branch,
            step=turn.step,
            index=index,
            agent=turn.agent,
            call=call,
        )
        for index, call in enumerate(plan)
    ]
    return list(await asyncio.gather(*map(_run_tool, requests)))


async def _run_tool(request: ToolRequest) -> str:
    call = request.call
    config = options.run_tool(f"{request.turn}: {call.tool}", call.timeout_s, write=call.effect == "write")
    result = await workflow.execute_activity_method(ToolActivities.run_tool, request, **config)
    return result.message_id


async def close_failed(thread: str, epoch: int, turn: Running, error: ActivityError) -> str:
    """Record that the turn failed, with the sentence of whoever refused it; return the sentence."""
    reason = sentence(error)
    request = CloseRequest(
        thread=thread,
        epoch=epoch,
        prompt_id=turn.prompt_id,
        turn=turn.turn,
        branch=turn.branch,
        step=turn.step,
        agent=turn.agent,
        prompt=turn.prompt,
        error=reason,
    )
    await workflow.execute_activity_method(
        ThreadActivities.close_turn, request, **options.record(f"{turn.turn}: failed")
    )
    return reason


async def record_refusals(thread: str, epoch: int, refusals: list[Refusal]) -> None:
    await workflow.execute_activity_method(
        ThreadActivities.close_turn,
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
