"""Passing a conversation on to another agent: what the model is offered for it, and what changes with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from domain.agent import Agent, AgentFactory, Tool
from domain.prompts import PromptOptions

REASON_CHARS = 500
_PARAMETERS = {
    "type": "object",
    "properties": {"reason": {"type": "string", "description": "Why, in a sentence, for whoever reads on."}},
    "additionalProperties": False,
}


def with_handoffs(agent: Agent, agents: Mapping[str, Agent | AgentFactory]) -> Agent:
    """The agent with a tool for each agent that it may hand over to.

    Raises: ValueError if it names one that is not there, or asks one by a tool.
    """
    asked = [tool.delegate.agent for tool in agent.tools if tool.delegate is not None]
    for name in [*agent.handoffs, *asked]:
        if name not in agents:
            how = "handoffs" if name in agent.handoffs else "a tool"
            raise ValueError(
                f"agent {agent.name!r}: {how} names agent {name!r}, but the agents are: {', '.join(sorted(agents))}"
            )
    own = [tool for tool in agent.tools if tool.handoff is None]
    return replace(agent, tools=(*own, *(_transfer(agents[name]) for name in agent.handoffs)))


def options_after(options: PromptOptions, agent: Agent) -> PromptOptions:
    """A prompt's options for the agent that took over: its own instructions count, and of the tools those that it has."""
    known = None if options.tools is None else [name for name in options.tools if agent.tool(name) is not None]
    return options.model_copy(update={"instructions": None, "tools": known, "tool_choice": None})


def _transfer(to: Agent | AgentFactory) -> Tool:
    description = (
        f"Hand this conversation over to the agent {to.name}, who answers from now on. {to.description}".strip()
    )
    return Tool(
        name=f"transfer_to_{re.sub(r'[^A-Za-z0-9_-]', '_', to.name)}"[:64],
        description=description,
        parameters=_PARAMETERS,
        parse=_reason,
        function=_nothing,
        effect="idempotent",
        handoff=to.name,
    )


def _reason(arguments: str) -> dict[str, Any]:
    """Of whatever the model wrote: no conversation shall stay with the wrong agent for want of a reason."""
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return {"reason": ""}
    reason = given.get("reason") if isinstance(given, dict) else None
    return {"reason": reason[:REASON_CHARS] if isinstance(reason, str) else ""}


def _nothing(reason: str = "") -> None:
    raise NotImplementedError(f"the thread itself hands over: {reason}")
