"""An agent that asks another one, and hands over to a third."""

from __future__ import annotations

from catalog.agent_tool import agent_tool
from domain.agent import Agent

concierge = Agent(
    name="concierge",
    description="Finds out who can help.",
    instructions=(
        "You are a concierge. Ask the timekeeper whatever depends on the date or the time. "
        "Hand over to the assistant who only wants to chat."
    ),
    tools=(agent_tool("timekeeper", description="Ask an agent who knows what time it is, anywhere."),),
    handoffs=("assistant",),
)
