"""`KeepMemory`: the one workflow that keeps the background work of memory going, for ever.

It has no state: what is due is in the store. Its history is flat, a few events in ten minutes, and begins anew each day.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType, ActivityConfig

with workflow.unsafe.imports_passed_through():
    from activities.keeping import KeepingActivities
    from domain.keeping import KeepRequest
    from workflows import options

ROUND_S = 600.0
ROUNDS = 144  # of a run


@workflow.defn(name="KeepMemory")
class KeepMemory:
    @workflow.run
    async def run(self) -> None:
        for _ in range(ROUNDS):
            await workflow.execute_activity_method(
                KeepingActivities.keep_memory, KeepRequest(seconds=ROUND_S), **_config()
            )
            if workflow.info().is_continue_as_new_suggested():
                break
        workflow.continue_as_new()


def _config() -> ActivityConfig:
    return ActivityConfig(
        start_to_close_timeout=timedelta(seconds=2 * ROUND_S),
        heartbeat_timeout=options.MODEL_HEARTBEAT,
        retry_policy=options.RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary="keep memory: embeddings, facts, summaries, documents",
    )
