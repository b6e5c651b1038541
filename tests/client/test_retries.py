"""A model that is away, as the caller of a thread sees it."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import ActivityType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from client.retries import Retrying, retry_words, retrying_of
from doubles.scripted_model import Reply, ReplyError
from tests.system import System


async def test_the_status_tells_attempt_next_retry_and_cause_while_the_model_is_away(
    system: System, thread: str
) -> None:
    soon = Reply(status=429, headers={"Retry-After-Ms": "20"}, times=2)
    later = Reply(status=503, headers={"retry-after": "20"}, error=ReplyError(message="The engine is overloaded."))
    system.model.script(soon, later)
    await system.submit(thread, "Hi", id="a")

    async def away() -> list[dict[str, Any]]:
        retrying: list[dict[str, Any]] = (await system.threads.status(thread))["retrying"]
        return [one for one in retrying if one["attempt"] == 4]

    [told] = await system.until(away)
    assert (told["activity"], told["attempt"]) == ("call_model", 4)
    assert 10 < told["next_retry_in_s"] <= 26
    assert told["error"] == "The engine is overloaded. (HTTP 503)"
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")


async def test_a_thread_that_is_well_retries_nothing(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    assert (await system.threads.status(thread))["retrying"] == []


def test_what_runs_for_the_second_time_is_told_without_a_time() -> None:
    again = PendingActivityInfo(
        activity_type=ActivityType(name="run_tool"),
        attempt=2,
        last_failure=Failure(cause=Failure(message="activity Heartbeat timeout")),
    )
    first = PendingActivityInfo(activity_type=ActivityType(name="run_tool"), attempt=1)
    described = DescribeWorkflowExecutionResponse(pending_activities=[again, first])
    [told] = retrying_of(described, 0.0)
    assert told == Retrying(activity="run_tool", attempt=2, next_retry_in_s=None, error="activity Heartbeat timeout")


def test_people_read_one_sentence() -> None:
    assert retry_words(4, 20.2, "Overloaded.\nSorry.") == "attempt 4, next in 20 s: Overloaded. Sorry."
    assert retry_words(2, None, "Overloaded.") == "attempt 2, running: Overloaded."
