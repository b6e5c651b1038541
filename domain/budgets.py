"""What a turn may use, and when it goes in circles: decided before each model call from what the turn has done so far."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from domain.agent import Agent
from domain.messages import Message, Usage

ANSWER_NOW = "Do not call any more tools. Answer now with what was found so far, and say what is missing."


@dataclass(frozen=True)
class Ending:
    """Why the next model call is the turn's last: `finish` for programs, `note` for the model."""

    finish: str  # token_limit, time_limit or loop
    note: str


def ending(agent: Agent, turn: Sequence[Message], elapsed_s: float) -> Ending | None:
    """Returns None if the turn may go on. `turn` holds its answers and results so far, in order."""
    if agent.max_tokens is not None and (used := _tokens(turn)) >= agent.max_tokens:
        return _end("token_limit", f"This turn has used {used} of its {agent.max_tokens} tokens.")
    if agent.max_seconds is not None and elapsed_s >= agent.max_seconds:
        return _end("time_limit", f"The {agent.max_seconds:g} seconds of this turn are over.")
    if agent.max_repeats is not None and (repeated := _most_repeated(turn)) is not None:
        name, times = repeated
        if times >= agent.max_repeats:
            return _end("loop", f"The tool {name} was called {times} times with the same arguments.")
    if agent.max_failing_steps is not None and (steps := _failing_steps(turn)) >= agent.max_failing_steps:
        return _end("loop", f"Every tool call of the last {steps} steps has failed.")
    return None


def total_usage(turn: Sequence[Message]) -> Usage:
    """What the answers of a turn took together, as far as the provider counted."""
    counted = [row.usage for row in turn if row.usage is not None]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in counted),
        completion_tokens=sum(usage.completion_tokens for usage in counted),
    )


def waited_s(turn: Sequence[Message]) -> float:
    """For how long calls of the turn waited for somebody to decide about them: that is no time of the turn's."""
    decided = [row for row in turn if row.decided_at is not None]
    steps = [[row for row in decided if row.step == step] for step in {row.step for row in decided}]
    return sum(max(row.decided_at or 0.0 for row in rows) - min(row.created_at for row in rows) for rows in steps)


def _end(finish: str, why: str) -> Ending:
    return Ending(finish, f"{why} {ANSWER_NOW}")


def _tokens(turn: Sequence[Message]) -> int:
    used = total_usage(turn)
    return used.prompt_tokens + used.completion_tokens


def _most_repeated(turn: Sequence[Message]) -> tuple[str, int] | None:
    """The name of the call that was made most often with the same arguments, and how often."""
    calls = Counter((call.name, _canonical(call.arguments)) for row in turn for call in row.tool_calls)
    return next(((name, times) for (name, _), times in calls.most_common(1)), None)


def _canonical(arguments: str) -> str:
    """The same text for the same arguments, however they were written."""
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _failing_steps(turn: Sequence[Message]) -> int:
    """The steps at the end of the turn in each of which every result is a failure."""
    by_step: dict[int, list[bool]] = {row.step: [] for row in turn if row.role == "assistant"}
    for row in turn:
        if row.role == "tool":
            by_step.setdefault(row.step, []).append(row.status == "failed")
    count = 0
    for _, failed in sorted(by_step.items(), reverse=True):
        if not failed or not all(failed):
            break
        count += 1
    return count
