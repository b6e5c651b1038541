"""Deploys: a run of a thread stays on the build of the workers it began on, and the thread moves on when it rolls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType, RoutingConfigUpdateState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.worker import Worker

from client.visibility import count_running
from domain.approvals import Resolution
from doubles.scripted_model import Reply, ToolCall
from runtime.settings import Settings
from runtime.wiring import Ports, make_worker, version
from tests.client.wedging import cli
from tests.server import TEMPORAL
from tests.system import System, new_thread

KNOWN = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED
COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


@dataclass
class Fleet:
    """Workers of several builds side by side; `current` is where new runs begin."""

    system: System
    name: str
    stack: AsyncExitStack

    async def deploy(self, build: str) -> None:
        """As a release does: start its workers, then make it the current version."""
        await self.stack.enter_async_context(self.worker(build))
        await self.make_current(build)

    def worker(self, build: str) -> Worker:
        system = self.system
        settings = Settings(deployment_name=self.name, build_id=build)
        ports = Ports(system.store, system.events, system.chat, system.catalog, 8_000)
        return make_worker(system.client, system.task_queue, ports, **version(settings))

    async def begin(self, thread: str) -> None:
        """Deploy build 1 and say something to the thread."""
        await self.deploy("1")
        await self.system.ask(thread, "Hello")
        await self.system.idle(thread)

    async def make_current(self, build: str) -> None:
        """By the command of docs/temporal.md, repeated until the server has heard of the build; then all of it knows."""
        await self.system.until(lambda: self._command("set-current-version", "--yes", "--build-id", build))

        async def known() -> bool:
            await asyncio.sleep(0.1)  # the server allows few such questions a second
            told = await self.system.client.workflow_service.describe_worker_deployment(
                DescribeWorkerDeploymentRequest(namespace=self.system.client.namespace, deployment_name=self.name)
            )
            return told.worker_deployment_info.routing_config_update_state == KNOWN

        await self.system.until(known, timeout_s=45)

    async def _command(self, verb: str, *options: str) -> bool:
        process = await asyncio.create_subprocess_exec(
            TEMPORAL,
            *["worker", "deployment", verb, "--deployment-name", self.name, *options],
            *["--address", self.system.client.service_client.config.target_host],
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait() == 0

    async def roll(self, thread: str) -> None:
        """Tell a thread to roll, and wait until it has."""
        runs = len(await self.system.runs(thread))
        await self.system.workflow(thread).signal("roll")

        async def rolled() -> bool:
            return len(await self.system.runs(thread)) > runs

        await self.system.until(rolled)

    async def builds(self, thread: str) -> list[set[str]]:
        """By which builds each run's tasks were done, the oldest run first."""
        return [_builds(run) for run in await self.system.runs(thread)]


def _builds(run: Sequence[HistoryEvent]) -> set[str]:
    done = [event.workflow_task_completed_event_attributes for event in run if event.event_type == COMPLETED]
    return {task.deployment_version.build_id for task in done}


@pytest.fixture
async def fleet(system: System) -> AsyncIterator[Fleet]:
    """The system without its own workers, which have no version."""
    async with AsyncExitStack() as stack:
        await system.stop_workers()
        yield Fleet(system, f"everthread-{uuid4().hex}", stack)


async def test_a_thread_stays_on_its_build_until_it_rolls(fleet: Fleet, thread: str) -> None:
    await fleet.deploy("1")
    await fleet.system.ask(thread, "I am Ada.")
    await fleet.system.idle(thread)
    await fleet.deploy("2")
    await fleet.system.idle(thread)
    assert await fleet.builds(thread) == [{"1"}]
    await fleet.roll(thread)
    assert await fleet.system.ask(thread, "Who am I?") == "You said: Who am I?"
    assert await fleet.builds(thread) == [{"1"}, {"2"}]
    assert [message["content"] for message in fleet.system.asked()[1:]] == [
        "I am Ada.",
        "You said: I am Ada.",
        "Who am I?",
    ]


async def test_a_thread_that_is_spoken_to_moves_by_itself(fleet: Fleet, thread: str) -> None:
    """Temporal tells a run of a new version with its next task, within a second of the deploy."""
    await fleet.deploy("1")
    await fleet.system.ask(thread, "Hello")
    await fleet.deploy("2")

    async def moved() -> bool:
        await fleet.system.ask(thread, "And now?")
        return (await fleet.builds(thread))[-1] == {"2"}

    await fleet.system.until(moved)
    assert await fleet.builds(thread) == [{"1"}, {"2"}]


async def test_a_turn_that_runs_during_a_deploy_goes_on_at_its_next_step(fleet: Fleet, thread: str) -> None:
    fleet.system.model.script(Reply(step=1, tool_calls=[ToolCall(name="hold")]), Reply(step=2, text="Done: {tool}"))
    await fleet.deploy("1")
    receipt = await fleet.system.submit(thread, "Hold!", agent="helper")
    await fleet.system.until(lambda: _holding(fleet.system))
    await fleet.deploy("2")
    await fleet.system.workflow(thread).signal("roll")
    fleet.system.bench.release()
    await fleet.system.ended(thread, receipt.prompt_id)
    await fleet.system.idle(thread)
    assert await fleet.builds(thread) == [{"1"}, {"2"}]
    assert (await fleet.system.prompt(thread, receipt.prompt_id)).status == "answered"


async def test_a_call_that_waits_for_an_approval_outlives_two_deploys(fleet: Fleet, thread: str) -> None:
    """One right after the other; the decision is carried out by the build of the last."""
    system = fleet.system
    system.model.script(
        Reply(tool_calls=[ToolCall(name="refund", arguments={"amount": 5}, id="c1")], step=1),
        Reply(after_tool=True, text="I read: {tool}"),
    )
    await fleet.deploy("1")
    await system.submit(thread, "Refund!", id="a", agent="cashier")
    [call] = await system.waiting(thread)
    await fleet.deploy("2")
    await fleet.deploy("3")
    await system.threads.resolve(thread, Resolution(call_id="c1", decision="approve", digest=call["digest"]))
    await system.ended(thread, "a")
    await system.idle(thread)
    assert system.bench.ran == [("refund", 5)]
    assert (await fleet.builds(thread))[-1] == {"3"}
    assert len(system.model.requests) == 2


async def _holding(system: System) -> bool:
    return ("hold", None) in system.bench.ran


async def test_a_deploy_can_be_taken_back(fleet: Fleet, thread: str) -> None:
    await fleet.begin(thread)
    async with fleet.worker("2"):
        await fleet.make_current("2")
        await fleet.roll(thread)
        await fleet.system.ask(thread, "On the new build")
        await fleet.system.idle(thread)
        await fleet.make_current("1")
        await fleet.roll(thread)
    assert await fleet.system.ask(thread, "Back again") == "You said: Back again"
    assert await fleet.builds(thread) == [{"1"}, {"2"}, {"1"}]


async def test_a_thread_whose_new_build_never_worked_goes_back(fleet: Fleet, thread: str) -> None:
    """It rolled to a build whose workers were gone by then: nothing of it ran there yet, so it is free."""
    await fleet.begin(thread)
    async with fleet.worker("2"):
        await fleet.make_current("2")
    await fleet.roll(thread)
    await fleet.make_current("1")
    assert await fleet.system.ask(thread, "Back again") == "You said: Back again"
    assert await fleet.builds(thread) == [{"1"}, {"1"}]


async def test_a_thread_from_before_versions_moves_to_the_first_build(fleet: Fleet, thread: str) -> None:
    await fleet.system.start_worker()
    await fleet.system.ask(thread, "Hello")
    await fleet.system.idle(thread)
    await fleet.system.stop_workers()
    await fleet.deploy("1")
    assert await fleet.system.ask(thread, "Still there?") == "You said: Still there?"
    assert (await fleet.builds(thread))[-1] >= {"1"}


async def test_the_threads_of_a_build_are_told_to_roll_and_no_others(fleet: Fleet, thread: str) -> None:
    old, new = thread, new_thread()
    await fleet.deploy("1")
    await fleet.system.ask(old, "Hello")
    await fleet.system.idle(old)
    await fleet.deploy("2")
    await fleet.system.ask(new, "Hello")
    await fleet.system.idle(new)
    await fleet.system.until(lambda: _is_listed(fleet, "1"))
    told = await cli(fleet.system.client, "threads", "roll", "--all", "--on", f"{fleet.name}:1", "--json")
    assert [fields["thread"] for fields in told.objects] == [old]
    await fleet.system.until(lambda: _has_moved(fleet, old))
    assert await fleet.builds(new) == [{"2"}]


async def _is_listed(fleet: Fleet, build: str) -> bool:
    return await count_running(fleet.system.client, f"TemporalWorkerDeploymentVersion = '{fleet.name}:{build}'") == 1


async def _has_moved(fleet: Fleet, thread: str) -> bool:
    return await fleet.builds(thread) == [{"1"}, {"2"}]
