"""Builds the system from settings: adapters into ports, ports into activities, activities into a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    PollerBehaviorAutoscaling,
    Worker,
)

from activities.model import ModelActivities
from activities.ports import Catalog, ChatModel, EventLog, Store
from activities.threads import ThreadActivities
from activities.tools import ToolActivities
from workflows.thread import AgentThread

# An interrupt or a lost lease is heard within this time; a shorter one halves the throughput of the server.
HEARTBEAT_THROTTLE = timedelta(milliseconds=750)
STICKY_TIMEOUT = timedelta(seconds=2)  # so long does an idle thread wait for a worker that is gone
GRACE = timedelta(seconds=2)
BUILD_ID = "everthread"  # else the SDK reads all that is loaded to make one up, which takes up to a second of each start


@dataclass(frozen=True)
class Ports:
    """What activities need from the world, see activities.ports."""

    store: Store
    events: EventLog
    model: ChatModel
    catalog: Catalog
    context_tokens: int


def make_worker(client: Client, task_queue: str, ports: Ports, *, max_activities: int = 200, **options: Any) -> Worker:
    """A worker of the thread workflow and its activities. `options` are further ones of temporalio.worker.Worker."""
    model = ModelActivities(
        ports.store, ports.events, ports.model, ports.catalog, budget_tokens=ports.context_tokens
    )
    tools = ToolActivities(ports.store, ports.events, ports.catalog)
    threads = ThreadActivities(ports.store, ports.events, ports.catalog)
    return Worker(
        client,
        task_queue=task_queue,
        build_id=BUILD_ID,
        workflows=[AgentThread],
        activities=[
            model.call_model,
            tools.run_tool,
            threads.open_thread,
            threads.save_prompts,
            threads.close_turn,
            threads.save_checkpoint,
        ],
        interceptors=[LogContext()],
        max_concurrent_activities=max_activities,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=GRACE,
        **options,
    )


class LogContext(Interceptor):
    """Every log line of an activity names its workflow, activity and attempt."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _BindActivity(next)


class _BindActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        bound = {"workflow_id": info.workflow_id, "activity": info.activity_type, "attempt": info.attempt}
        with structlog.contextvars.bound_contextvars(**bound):
            return await super().execute_activity(input)
