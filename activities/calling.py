"""A step's model call as it goes out: the conversation, the agent's words and tools, and what its hook changes."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from activities.step import Step
from domain.agent import Agent, Tool
from domain.budgets import total_usage
from domain.context import ChatMessage, build_context, close_calls, system_messages, text_tokens
from domain.errors import HookError
from domain.hooks import StepChanges, StepInfo
from domain.messages import Message, mend_text, preview
from domain.model import ModelRequest

HOOK_S = 30.0
CHOICES = ("auto", "required", "none")


async def model_request(step: Step, history: Sequence[Message], budget_tokens: int) -> ModelRequest:
    """What the model is asked, within the budget. Raises: HookError."""
    agent, choice = step.agent, "auto"
    instructions = _with_notes(agent.instructions, step.notes)
    budget_tokens -= text_tokens(json.dumps([_schema(tool) for tool in agent.tools]))
    messages = build_context(instructions, history, step.running, budget_tokens)
    if agent.prepare_step is not None:
        spoken = messages[len(system_messages(instructions)) :]
        agent, choice, spoken = _changed(agent, await _prepare(step, spoken), spoken)
        messages = system_messages(_with_notes(agent.instructions, step.notes)) + spoken
    step.offered = agent.tools
    schemas = [_schema(tool) for tool in agent.tools]
    return ModelRequest(agent.model, messages, schemas, "none" if step.last else choice, agent.options)


async def _prepare(step: Step, spoken: Sequence[ChatMessage]) -> StepChanges:
    """What the agent's hook says. Raises: HookError."""
    info = _info(step, spoken)
    limit = asyncio.timeout(HOOK_S)
    try:
        async with limit:
            changes = await _invoke(step.agent, info)
    except (Exception, SystemExit) as error:
        if limit.expired():
            raise _error(step.agent, f"did not finish within {HOOK_S:g} s") from error
        raise _error(step.agent, f"failed: {type(error).__name__}: {error}") from error
    if changes is not None and not isinstance(changes, StepChanges):
        raise _error(step.agent, f"returned a {type(changes).__name__}; return StepChanges or None")
    return changes or StepChanges()


async def _invoke(agent: Agent, info: StepInfo) -> object:
    hook = agent.prepare_step
    assert hook is not None
    if inspect.iscoroutinefunction(hook):
        return await hook(info)
    changes = await asyncio.to_thread(hook, info)
    return await changes if inspect.isawaitable(changes) else changes


def _info(step: Step, spoken: Sequence[ChatMessage]) -> StepInfo:
    request, prompt = step.request, step.prompt
    assert prompt is not None
    return StepInfo(
        agent=step.agent.name,
        thread=request.thread,
        turn=request.turn,
        step=request.step,
        last=step.last,
        messages=tuple(spoken),
        usage=total_usage(step.running),
        author=prompt.author,
        owner=prompt.owner,
        tenant=prompt.tenant,
        metadata=prompt.metadata,
    )


def _changed(agent: Agent, changes: StepChanges, spoken: list[ChatMessage]) -> tuple[Agent, str, list[ChatMessage]]:
    """The agent, the choice of tools and the conversation as the hook wants them. Raises: HookError."""
    given: dict[str, Any] = {"model": changes.model, "instructions": changes.instructions, "options": changes.settings}
    try:
        json.dumps(changes.settings)
        tools = agent.tools if changes.tools is None else agent.only(changes.tools)
    except (TypeError, ValueError) as error:
        raise _error(agent, f"returned what cannot be used: {error}") from None
    names = [tool.name for tool in tools]
    if changes.tool_choice not in (None, *CHOICES, *names):
        choices = ", ".join([*CHOICES, *names])
        raise _error(agent, f"chose {changes.tool_choice!r}; tool_choice is one of: {choices}")
    if changes.messages is not None:
        spoken = close_calls(changes.messages)
    if not spoken:
        raise _error(agent, "left no message for the model")
    agent = replace(agent, tools=tools, **{name: value for name, value in given.items() if value is not None})
    return agent, changes.tool_choice or "auto", spoken


def _error(agent: Agent, what: str) -> HookError:
    return HookError(f"The prepare_step of agent {agent.name!r} {preview(mend_text(what))}")


def _with_notes(instructions: str | Sequence[str], notes: Sequence[str]) -> list[str]:
    """With words to the model about this call. Not as a message of its own: some take a single one, and only in front."""
    texts = [instructions] if isinstance(instructions, str) else list(instructions)
    if not notes:
        return texts
    *first, last = texts or [""]
    return [*first, "\n\n".join([last, *notes]).strip()]


def _schema(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
