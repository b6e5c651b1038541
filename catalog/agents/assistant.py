"""The plain assistant: it chats."""

from __future__ import annotations

from domain.agent import Agent

assistant = Agent(
    name="assistant",
    description="A plain assistant without tools.",
    instructions="You are a helpful assistant. Answer briefly and plainly.",
)
