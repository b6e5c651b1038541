"""An agent whose tool runs on a task queue of its own, and fails at first."""

from __future__ import annotations

from catalog.tool import tool
from domain.agent import Agent


def trainer(queue: str) -> Agent:
    tries: list[int] = []

    @tool(effect="read", queue=queue, retries=1)
    async def train() -> str:
        """Train."""
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return "Trained."

    return Agent("trainer", tools=(train,))
