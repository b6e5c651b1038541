"""A step's model call as it goes out: the conversation, the agent's words and tools, and what its hook changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from activities.forms import Forms
from activities.handling import handled
from activities.hooks import call_hook, hook_error
from activities.outputs import instruction
from activities.ports import TokenCounter
from activities.results import with_reader
from activities.step import Step
from domain.agent import CHOICES, Agent, Tool
from domain.budgets import total_usage
from domain.chat import ChatMessage, close_calls
from domain.context import Context, Options, Parts, Past, build_context
from domain.errors import InputRefusedError
from domain.hooks import StepChanges, StepInfo
from domain.model import ModelRequest
from domain.tokens import ESTIMATE, Counter

HOOK = "prepare_step"


class Estimates:
    """A TokenCounter that knows no model."""

    def counter(self, model: str | None) -> Counter:  # noqa: ARG002 - the port's
        return ESTIMATE


async def model_request(step: Step, past: Past, budget_tokens: int, forms: Forms, tokens: TokenCounter) -> ModelRequest:
    """What the model is asked, within the budget; what it is shown is then recorded in the step. Raises: HookError."""
    agent, choice = with_reader(step.agent, [*past.history, *step.running]), _choice(step)
    context = await handled(step, _context(step, agent, past, budget_tokens, forms, tokens))
    spoken = context.spoken
    step.info = _info(step, spoken)
    messages = context.messages
    if agent.prepare_step is not None:
        agent, choice, spoken = _changed(agent, await _prepare(step, step.info), spoken, choice)
        messages = context.system(_instructions(step, agent, forms)) + spoken
    step.offered = agent.tools
    step.context = context.record
    model, *fallbacks = agent.models
    return ModelRequest(
        model,
        messages,
        _schemas(agent),
        tool_choice="none" if step.last else choice,
        parallel_tool_calls=agent.parallel_tool_calls,
        options=agent.options,
        answer_format=forms.form(model, agent.output) if agent.output else None,
        fallbacks=[name for name in fallbacks if name is not None],
    )


def _context(step: Step, agent: Agent, past: Past, budget_tokens: int, forms: Forms, tokens: TokenCounter) -> Context:
    schemas, counter = _schemas(agent), tokens.counter(agent.models[0])
    tools = counter.count(json.dumps(schemas)) if schemas else 0
    options = Options(
        recent_messages=agent.recent_messages,
        recalled_share=agent.recalled_share,
        longest=agent.max_message_tokens,
        exclude_tool_messages=agent.exclude_tool_messages,
        thoughts=step.thoughts,
        shorten_running=step.refused_whole,
    )
    parts = Parts(_instructions(step, agent, forms), step.running, past, step.prompt_text)
    context = build_context(parts, budget_tokens - tools, options, counter.count)
    context.record.counted_by = counter.name
    context.record.budget = budget_tokens
    context.record.tokens["tools"] = tools
    return context


def _choice(step: Step) -> str:
    """The agent's, which forces a tool in the first call of a turn only: in all of them it would never end.

    Raises: InputRefusedError if it names no tool of the agent's.
    """
    choice, names = step.agent.tool_choice, [tool.name for tool in step.agent.tools]
    if choice not in (*CHOICES, *names):
        if step.agent.may_be_served(choice):  # its server is away
            return "auto"
        choices = ", ".join([*CHOICES, *names])
        raise InputRefusedError(
            f"tool_choice {choice!r} is no tool of agent {step.agent.name!r}; it is one of: {choices}"
        )
    return choice if choice in ("auto", "none") or not step.done else "auto"


async def _prepare(step: Step, info: StepInfo) -> StepChanges:
    """What the agent's hook says. Raises: HookError."""
    assert step.agent.prepare_step is not None
    changes = await call_hook(step.agent, HOOK, step.agent.prepare_step, info)
    if changes is not None and not isinstance(changes, StepChanges):
        raise hook_error(step.agent, HOOK, f"returned a {type(changes).__name__}; return StepChanges or None")
    return changes or StepChanges()


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


def _changed(
    agent: Agent, changes: StepChanges, spoken: list[ChatMessage], choice: str
) -> tuple[Agent, str, list[ChatMessage]]:
    """The agent, the choice of tools and the conversation as the hook wants them. Raises: HookError."""
    given: dict[str, Any] = {"model": changes.model, "instructions": changes.instructions, "options": changes.settings}
    try:
        json.dumps(changes.settings)
        tools = agent.tools if changes.tools is None else agent.only(changes.tools)
    except (TypeError, ValueError) as error:
        raise hook_error(agent, HOOK, f"returned what cannot be used: {error}") from None
    names = [tool.name for tool in tools]
    if changes.tool_choice not in (None, *CHOICES, *names):
        choices = ", ".join([*CHOICES, *names])
        raise hook_error(agent, HOOK, f"chose {changes.tool_choice!r}; tool_choice is one of: {choices}")
    if changes.messages is not None:
        spoken = close_calls(changes.messages)
    if not spoken:
        raise hook_error(agent, HOOK, "left no message for the model")
    agent = replace(agent, tools=tools, **{name: value for name, value in given.items() if value is not None})
    return agent, changes.tool_choice or (choice if choice in (*CHOICES, *names) else "auto"), spoken


def _instructions(step: Step, agent: Agent, forms: Forms) -> list[str]:
    """With a word to the model why it must end, and what it must answer with, where that is not said otherwise.

    Not as messages of their own: some take a single one, and only in front.
    """
    said = agent.instructions
    *first, last = [said] if isinstance(said, str) else list(said) or [""]
    notes = step.notes
    if agent.output is not None:
        form = forms.form(agent.models[0], agent.output)
        notes += [instruction(agent.output)] if form is None or form.schema is None else []
    return [*first, "\n\n".join([last, *notes]).strip() if notes else last]


def _schemas(agent: Agent) -> list[dict[str, Any]]:
    return [*map(_schema, agent.tools), *agent.provider_tools]


def _schema(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function | ({"strict": True} if tool.strict else {})}
