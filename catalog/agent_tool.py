"""`agent_tool()`: an agent becomes a tool of another one."""

from __future__ import annotations

import re
from dataclasses import replace

from catalog.tool import tool
from domain.agent import AGENT_NAME, Tool
from domain.delegation import OWN, Delegate


def agent_tool(
    agent: str, *, description: str, name: str | None = None, thread: str = OWN, timeout_s: float = 600.0
) -> Tool:
    """A tool that asks the agent and gives its answer to the model.

    The agent sees the question, not the conversation. It is asked on a thread that belongs to the call, or, with the name
    of a `thread`, on one that all calls of the conversation share that name it, one after another. It is stopped with the
    turn that asks, uses what is left of that turn's `max_tokens` and `max_seconds`, and may be asked again after a crash
    without harm. `description` tells the model what the agent is good for. Raises: ValueError.
    """
    if not AGENT_NAME.fullmatch(agent):
        raise ValueError(f"agent_tool {agent!r}: the name of an agent is 1 to 64 letters, digits, _, . and -")
    if not description.strip():
        raise ValueError(f"agent_tool {agent!r} needs a description: the model chooses tools by it")
    if not thread:
        raise ValueError(f"agent_tool {agent!r}: thread is {OWN!r} or a name, not empty")
    made = tool(
        name=name or re.sub(r"[^A-Za-z0-9_-]", "_", f"ask_{agent}")[:64], effect="idempotent", timeout_s=timeout_s
    )(_ask)
    return replace(made, description=description, delegate=Delegate(agent, thread))


async def _ask(prompt: str) -> str:
    """Ask another agent.

    Args:
        prompt: What is asked or to be done, with all that has to be known for it: this conversation is not shown.
    """
    raise NotImplementedError(f"the agent itself answers: {prompt}")
