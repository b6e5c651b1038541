"""Work of a thread that failed and is tried again, such as calls of a model that is away."""

from __future__ import annotations

from pydantic import BaseModel
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from domain.messages import preview

ERROR_CHARS = 300


class Retrying(BaseModel):
    """`attempt` comes next, in `next_retry_in_s` seconds, or runs now (None); `error` is why the one before it failed."""

    activity: str
    attempt: int
    next_retry_in_s: float | None
    error: str

    @property
    def sentence(self) -> str:
        return retry_words(self.attempt, self.next_retry_in_s, self.error)


def retry_words(attempt: int, next_in_s: float | None, error: str) -> str:
    """For people, such as: attempt 4, next in 20 s: The server is overloaded."""
    when = "running" if next_in_s is None else f"next in {next_in_s:.0f} s"
    return f"attempt {attempt}, {when}: {preview(error, ERROR_CHARS)}"


def retrying_of(description: DescribeWorkflowExecutionResponse, now: float) -> list[Retrying]:
    """What Temporal says is tried again; `now` in seconds since 1970."""
    return [_retrying(pending, now) for pending in description.pending_activities if pending.attempt > 1]


def _retrying(pending: PendingActivityInfo, now: float) -> Retrying:
    due = pending.next_attempt_schedule_time
    waits = pending.HasField("next_attempt_schedule_time")
    return Retrying(
        activity=pending.activity_type.name,
        attempt=pending.attempt,
        next_retry_in_s=max(0.0, round(due.seconds + due.nanos / 1e9 - now, 1)) if waits else None,
        error=preview(_root(pending.last_failure).message, ERROR_CHARS),
    )


def _root(failure: Failure) -> Failure:
    """The failure that says most: the first of ours; of a chain without words, the last."""
    while not failure.message and failure.HasField("cause"):
        failure = failure.cause
    return failure
