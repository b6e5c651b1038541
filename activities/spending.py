"""What a turn has used so far, and what is left of its limits: for those that it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from activities.ports import Store
from domain import ids
from domain.agent import Agent
from domain.budgets import total_usage, waited_s
from domain.messages import Message, Usage

STEPS_A_LOOK = 50


@dataclass(frozen=True)
class Left:
    """Of a turn's limits; None where there is none."""

    tokens: int | None
    seconds: float | None

    @property
    def used_up(self) -> str | None:
        """Which of them is."""
        if self.tokens is not None and self.tokens < 1:
            return "tokens"
        return "time" if self.seconds is not None and self.seconds <= 0 else None


async def turn_rows(store: Store, thread: str, prompt_id: str, branch: int) -> list[Message]:
    """The answers of a turn and the results of their calls, as far as there are any."""
    answers: list[Message] = []
    for first in range(0, ids.MAX_STEPS, STEPS_A_LOOK):
        steps = range(first, min(first + STEPS_A_LOOK, ids.MAX_STEPS))
        found = await store.get([_row_id(thread, prompt_id, branch, step, "answer") for step in steps])
        answers += found
        if len(found) < len(steps):
            break
    results = [
        _row_id(thread, prompt_id, branch, answer.step, f"tool:{index}")
        for answer in answers
        for index in range(len(answer.tool_calls))
    ]
    return answers + await store.get(results)


async def turn_usage(store: Store, thread: str, prompt_id: str) -> Usage:
    """What a turn took, with all that the agents took that it asked."""
    prompts = await store.get([ids.message_id(thread, prompt_id, "prompt")])
    rows = [row for prompt in prompts for row in await turn_rows(store, thread, prompt_id, prompt.branch)]
    return total_usage(rows)


def left_of(agent: Agent, prompt: Message, rows: Sequence[Message], now: float) -> Left:
    """What the running turn of a prompt may still use; `agent` as the prompt wants it, `rows` are the turn's."""
    done = [row for row in rows if row.step >= prompt.from_step]
    usage = total_usage(done)
    started_at = min((row.created_at for row in done if row.role == "assistant"), default=now) + waited_s(done)
    return Left(
        None if agent.max_tokens is None else agent.max_tokens - usage.prompt_tokens - usage.completion_tokens,
        None if agent.max_seconds is None else started_at + agent.max_seconds - now,
    )


def _row_id(thread: str, prompt_id: str, branch: int, step: int, slot: str) -> str:
    return ids.message_id(thread, prompt_id, slot, branch=branch, step=step)
