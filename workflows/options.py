"""Timeouts and retries of the thread's activities. Permanent errors are named non-retryable where they are raised."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig, LocalActivityConfig

with workflow.unsafe.imports_passed_through():
    from domain.agent import LONGEST_TOOL_S

# Errors come with their own delay (activities.failures). This one is for a lost worker alone, and the same each time:
# with doubling, the fifth crash in one turn would hold it up for eight seconds, the seventh for half a minute.
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=1.0,
    non_retryable_error_types=["PayloadsTooLarge", "PayloadSizeError"],
)

MODEL_HEARTBEAT = timedelta(seconds=5)  # so long does a lost worker hold up a turn
WRITE_HEARTBEAT = timedelta(seconds=30)  # a write tool's "unknown" is worse than a wait
MODEL_LIMIT = timedelta(hours=1)  # the adapter's own limits are shorter
TOOL_MARGIN = timedelta(seconds=30)
RECORD_LIMIT = timedelta(seconds=30)
DELIVER_LIMIT = timedelta(days=8)
ERASE_LIMIT, ERASE_HEARTBEAT = timedelta(hours=1), timedelta(seconds=30)

LOCAL_WAIT = timedelta(seconds=5)  # a longer wait between local retries becomes a timer, so that the task can end


def call_model(summary: str) -> ActivityConfig:
    return ActivityConfig(
        start_to_close_timeout=MODEL_LIMIT,
        heartbeat_timeout=MODEL_HEARTBEAT,
        retry_policy=RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


def run_tool(summary: str, timeout_s: float, *, write: bool, queue: str = "") -> ActivityConfig:
    """`queue` is the task queue if it is not the thread's own."""
    config = ActivityConfig(
        start_to_close_timeout=timedelta(seconds=min(timeout_s, LONGEST_TOOL_S)) + TOOL_MARGIN,
        heartbeat_timeout=WRITE_HEARTBEAT if write else MODEL_HEARTBEAT,
        retry_policy=RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )
    if queue:
        config["task_queue"] = queue
    return config


def record(summary: str) -> ActivityConfig:
    return ActivityConfig(start_to_close_timeout=RECORD_LIMIT, retry_policy=RETRY, summary=summary)


def notify(summary: str, within_s: float) -> ActivityConfig:
    return ActivityConfig(
        start_to_close_timeout=RECORD_LIMIT,
        schedule_to_close_timeout=timedelta(seconds=within_s) + RECORD_LIMIT,
        retry_policy=RETRY,
        summary=summary,
    )


def deliver(summary: str) -> ActivityConfig:
    """It retries by itself until the sender's deadline."""
    return ActivityConfig(
        start_to_close_timeout=RECORD_LIMIT,
        schedule_to_close_timeout=DELIVER_LIMIT,
        retry_policy=RETRY,
        summary=summary,
    )


def short(summary: str) -> LocalActivityConfig:
    """Of a local activity: it runs within the workflow task, takes a millisecond, and costs one event instead of six.

    Its input is not in the history, which matters for prompts and checkpoints. It may be repeated.
    """
    return LocalActivityConfig(
        start_to_close_timeout=RECORD_LIMIT, retry_policy=RETRY, local_retry_threshold=LOCAL_WAIT, summary=summary
    )


def erase() -> ActivityConfig:
    """One part of an erasure; it ends by itself after a while, and is gone on with by the next."""
    return ActivityConfig(start_to_close_timeout=ERASE_LIMIT, heartbeat_timeout=ERASE_HEARTBEAT, retry_policy=RETRY)
