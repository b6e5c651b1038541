"""What heals by itself: conversations too long for the model, answers that are cut off, runs that were reset."""

from __future__ import annotations

from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from doubles.scripted_model import Reply, ReplyError
from tests.system import System, said

TOO_LONG = ReplyError(message="This model's maximum context length is 10 tokens.", code="context_length_exceeded")


async def test_a_conversation_that_is_too_long_for_the_model_is_shortened_not_failed(
    system: System, thread: str
) -> None:
    system.model.script("First. " * 400)
    await system.submit(thread, "One", id="a")
    await system.ended(thread, "a")
    system.model.script(Reply(status=400, error=TOO_LONG, times=3), "Second.")
    await system.submit(thread, "Two", id="b")
    await system.ended(thread, "b")
    assert said(await system.rows(thread))[-1] == ("assistant", "complete", "Second.")
    lengths = [sum(len(str(m["content"])) for m in request.body["messages"]) for request in system.model.requests[1:]]
    assert lengths[-1] < lengths[0]


async def test_a_prompt_that_is_too_long_by_itself_fails_with_the_providers_sentence(
    system: System, thread: str
) -> None:
    system.model.script(Reply(status=400, error=TOO_LONG, times=None))
    await system.submit(thread, "Much too long", id="a")
    [prompt] = await system.ended(thread, "a")
    assert (prompt.status, "maximum context length" in str(prompt.error)) == ("failed", True)


async def test_a_run_that_was_reset_ends_its_turn(system: System, thread: str) -> None:
    """After a reset the attempts count from one again, below those that hold the rows."""
    system.model.script(Reply(status=503, error=ReplyError(message="Busy"), times=1), "Hello.")
    await system.submit(thread, "Hi", id="a")
    await system.ended(thread, "a")
    handle = system.workflow(thread)
    description = await handle.describe()
    first_task = next(
        event.event_id
        for event in (await handle.fetch_history()).events
        if event.HasField("workflow_task_completed_event_attributes")
    )
    await system.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=system.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=description.run_id),
            reason="test",
            workflow_task_finish_event_id=first_task,
            request_id=thread,
        ),
        timeout=timedelta(seconds=10),
    )
    system.model.script("Hello again.")
    await system.submit(thread, "Still there?", id="b")
    await system.ended(thread, "b")
    rows = await system.rows(thread)
    assert [(row.prompt_id, row.status) for row in rows if row.role == "user"] == [("a", "answered"), ("b", "answered")]
