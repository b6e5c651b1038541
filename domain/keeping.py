"""What the workflow that keeps memory and its activity say to each other."""

from __future__ import annotations

from domain.wire import Wire

WORKFLOW_PREFIX = "memory/"


def workflow_id(task_queue: str) -> str:
    """The one that keeps the memory of the threads of a task queue."""
    return WORKFLOW_PREFIX + task_queue


class KeepRequest(Wire):
    v: int = 1
    seconds: float = 600.0


class KeepResult(Wire):
    done: int = 0  # pieces of work
