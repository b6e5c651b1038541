"""The floor: the least that Temporal can do for an answer. One update, one activity that makes the same HTTP call, one
reply; no memory, no stream, no record. What a turn of ours costs is measured against it.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

with workflow.unsafe.imports_passed_through():
    from adapters.openai_chat import OpenAIChat
    from domain.context import ChatMessage
    from domain.messages import preview
    from domain.model import Completion, ModelRequest
    from runtime.wiring import HEARTBEAT_THROTTLE, STICKY_TIMEOUT


@workflow.defn(name="Floor")
class Floor:
    """Answers updates until it is terminated."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update(name="ask")
    async def ask(self, text: str) -> str:
        limit = timedelta(minutes=1)
        return await workflow.execute_activity_method(FloorActivities.call, text, start_to_close_timeout=limit)


class FloorActivities:
    """The call, through the same adapter."""

    def __init__(self, model: OpenAIChat) -> None:
        self._model = model

    @activity.defn(name="floor_call")
    async def call(self, text: str) -> str:
        async for piece in self._model.stream(ModelRequest(None, [ChatMessage("user", text)])):
            if isinstance(piece, Completion):
                return preview(piece.text)
        raise AssertionError


def floor_worker(client: Client, task_queue: str, model: OpenAIChat) -> Worker:
    """A worker with the same settings as ours."""
    pollers = PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20)
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Floor],
        activities=[FloorActivities(model).call],
        max_concurrent_activities=200,
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
    )
