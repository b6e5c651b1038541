"""Timeouts and retries of the thread's activities. Permanent errors are named non-retryable where they are raised."""

from __future__ import annotations

from datetime import timedelta

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig, LocalActivityConfig

# The provider's errors come with their own delay (activities.failures); this one is for a lost worker or a lost store.
_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
    non_retryable_error_types=["PayloadsTooLarge", "PayloadSizeError"],
)

MODEL_HEARTBEAT = timedelta(seconds=5)  # so long does a lost worker hold up a turn
WRITE_HEARTBEAT = timedelta(seconds=30)  # a write tool's "unknown" is worse than a wait
TOOL_MARGIN = timedelta(seconds=30)

CALL_MODEL = ActivityConfig(
    start_to_close_timeout=timedelta(hours=1),  # the adapter's own limits are shorter
    heartbeat_timeout=MODEL_HEARTBEAT,
    retry_policy=_RETRY,
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)
RECORD = ActivityConfig(start_to_close_timeout=timedelta(seconds=30), retry_policy=_RETRY)
# Local activities: they run within the workflow task, take a millisecond, and cost one event instead of six. Their
# input is not in the history, which matters for prompts and checkpoints. All of them may be repeated.
SHORT = LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=_RETRY,
    local_retry_threshold=timedelta(seconds=5),  # longer waits become timers, so that the task can end
)


def run_tool(timeout_s: float, *, write: bool) -> ActivityConfig:
    return ActivityConfig(
        start_to_close_timeout=timedelta(seconds=timeout_s) + TOOL_MARGIN,
        heartbeat_timeout=WRITE_HEARTBEAT if write else MODEL_HEARTBEAT,
        retry_policy=_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
