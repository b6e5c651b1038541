"""Whether a turn ends before its next model call, as its agent or its prompt says."""

from __future__ import annotations

from activities.hooks import call_hook, hook_error
from activities.step import Step
from domain.budgets import total_usage
from domain.messages import Message
from domain.stopping import StopInfo, done_calls

STOPPED = "stopped"  # the finish of such a turn, and of the row that stands for the call that was not made


async def stops(step: Step) -> bool:
    """Not where somebody has just said something more. Raises: HookError."""
    done = step.done
    if not step.agent.stop or step.joined or not done:
        return False
    info = _info(step, done)
    for condition in step.agent.stop:
        met = await call_hook(step.agent, "stop", condition, info)
        if not isinstance(met, bool):
            raise hook_error(step.agent, "stop", f"returned a {type(met).__name__}; return True or False")
        if met:
            return True
    return False


def last_answer(step: Step) -> Message:
    """What a turn that stops has said in the end."""
    return next(row for row in reversed(step.running) if row.role == "assistant" and row.finish != STOPPED)


def _info(step: Step, done: list[Message]) -> StopInfo:
    request, prompt = step.request, step.prompt
    assert prompt is not None
    return StopInfo(
        agent=step.agent.name,
        thread=request.thread,
        turn=request.turn,
        steps=sum(row.role == "assistant" for row in done),
        calls=done_calls(done),
        text=last_answer(step).text,
        usage=total_usage(done),
        author=prompt.author,
        owner=prompt.owner,
        tenant=prompt.tenant,
        metadata=prompt.metadata,
    )
