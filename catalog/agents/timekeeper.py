"""An agent with one small real tool."""

from __future__ import annotations

from catalog.tools.clock import current_time
from domain.agent import Agent

timekeeper = Agent(
    name="timekeeper",
    description="Knows what time it is, anywhere.",
    instructions="You are a helpful assistant. Use current_time whenever the answer depends on the date or the time.",
    tools=(current_time,),
)
