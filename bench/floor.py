"""The floor: the least that Temporal can do for an answer. One update, one activity that makes the same HTTP call, one
reply; no memory, no stream, no record. With a tool, three activities: a call, the tool, a call, each watched by
heartbeats as ours are. What a turn of ours costs is measured against it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import PollerBehaviorAutoscaling, Worker

with workflow.unsafe.imports_passed_through():
    from activities.lease import Lease
    from adapters.openai_chat import OpenAIChat
    from catalog.tools.clock import current_time
    from domain.chat import ChatMessage
    from domain.messages import ToolCall, preview
    from domain.model import Completion, ModelRequest
    from runtime.wiring import HEARTBEAT_THROTTLE, STICKY_TIMEOUT
    from workflows.options import MODEL_HEARTBEAT

LIMIT = timedelta(minutes=1)
SCHEMA = {
    "type": "function",
    "function": {
        "name": current_time.name,
        "description": current_time.description,
        "parameters": current_time.parameters,
    },
}


class Called(BaseModel):
    """What the second call is told."""

    text: str
    call: ToolCall
    result: str


@workflow.defn(name="Floor")
class Floor:
    """Answers updates until it is terminated."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update(name="ask")
    async def ask(self, text: str) -> str:
        return await workflow.execute_activity_method(FloorActivities.call, text, start_to_close_timeout=LIMIT)

    @workflow.update(name="ask_with_tool")
    async def ask_with_tool(self, text: str) -> str:
        watched: Any = {"start_to_close_timeout": LIMIT, "heartbeat_timeout": MODEL_HEARTBEAT}
        call = await workflow.execute_activity_method(FloorActivities.plan, text, **watched)
        result = await workflow.execute_activity_method(FloorActivities.run_tool, call, **watched)
        called = Called(text=text, call=call, result=result)
        return await workflow.execute_activity_method(FloorActivities.conclude, called, **watched)


class FloorActivities:
    """The call, through the same adapter, and the same tool."""

    def __init__(self, model: OpenAIChat) -> None:
        self._model = model

    @activity.defn(name="floor_call")
    async def call(self, text: str) -> str:
        return preview((await self._completion([ChatMessage("user", text)])).text)

    @activity.defn(name="floor_plan")
    async def plan(self, text: str) -> ToolCall:
        async with Lease.of_activity():
            return (await self._completion([ChatMessage("user", text)], SCHEMA)).tool_calls[0]

    @activity.defn(name="floor_run_tool")
    async def run_tool(self, call: ToolCall) -> str:
        async with Lease.of_activity():
            return str(current_time.function(**current_time.parse(call.arguments)))

    @activity.defn(name="floor_conclude")
    async def conclude(self, called: Called) -> str:
        call = called.call
        messages = [
            ChatMessage("user", called.text),
            ChatMessage("assistant", "", [call]),
            ChatMessage("tool", called.result, call_id=call.call_id, name=call.name),
        ]
        async with Lease.of_activity():
            return preview((await self._completion(messages, SCHEMA)).text)

    async def _completion(self, messages: Sequence[ChatMessage], *tools: dict[str, Any]) -> Completion:
        async for piece in self._model.stream(ModelRequest(None, messages, tools)):
            if isinstance(piece, Completion):
                return piece
        raise AssertionError


def floor_worker(client: Client, task_queue: str, model: OpenAIChat) -> Worker:
    """A worker with the same settings as ours."""
    activities = FloorActivities(model)
    pollers = PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20)
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Floor],
        activities=[activities.call, activities.plan, activities.run_tool, activities.conclude],
        max_concurrent_activities=200,
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
    )


async def start_floor(client: Client, task_queue: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(Floor.run, id=uuid.uuid4().hex, task_queue=task_queue)
