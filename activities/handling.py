"""The context as an agent's own function makes it of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from activities.hooks import call_hook, hook_error
from activities.step import Step
from domain.chat import ChatMessage, close_calls
from domain.context import Context
from domain.hooks import ContextParts

HANDLER = "context_handler"


async def handled(step: Step, context: Context) -> Context:
    """As the agent's function wants it, made valid for the provider; as it is if it has none. Raises: HookError."""
    handler = step.agent.context_handler
    if handler is None:
        return context
    messages = _checked(step, await call_hook(step.agent, HANDLER, handler, _parts(step, context)))
    head = next((place for place, chat in enumerate(messages) if chat.role != "system"), len(messages))
    if head == len(messages):
        raise hook_error(step.agent, HANDLER, "left no message for the model")
    record = context.record.model_copy(update={"handled": True})
    search = "\n\n".join(chat.text for chat in messages[:head])  # in front there is one message of the system's
    return replace(context, search=search, recent=close_calls(messages[head:]), prompt=(), running=(), record=record)


def _parts(step: Step, context: Context) -> ContextParts:
    request, prompt = step.request, step.prompt
    assert prompt is not None
    return ContextParts(
        agent=step.agent.name,
        thread=request.thread,
        turn=request.turn,
        step=request.step,
        search=[ChatMessage("system", context.search)] if context.search else [],
        recent=list(context.recent),
        prompt=list(context.prompt),
        running=list(context.running),
        budget_tokens=context.record.budget,
        author=prompt.author,
        owner=prompt.owner,
        tenant=prompt.tenant,
        metadata=prompt.metadata,
    )


def _checked(step: Step, messages: Any) -> Sequence[ChatMessage]:
    if not isinstance(messages, list | tuple) or not all(isinstance(chat, ChatMessage) for chat in messages):
        raise hook_error(step.agent, HANDLER, f"returned a {type(messages).__name__}; return a list of ChatMessage")
    return messages
