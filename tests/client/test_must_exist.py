"""A prompt that must not start a thread, whichever way Temporal tells that there is none."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.errors import UnknownThreadError
from domain.prompts import Prompt, ThreadStart
from tests.client.wedging import broken_worker
from tests.system import System


@workflow.defn(name="AgentThread", sandboxed=False)
class NoThread:
    """Looks for the thread and fails, while an update waits for it; or fails the update itself."""

    @workflow.init
    def __init__(self, start: dict[str, Any]) -> None:
        assert start["must_exist"]
        self._told = False

    @workflow.run
    async def run(self, start: dict[str, Any]) -> None:
        if start.get("owner") == "patient":
            await workflow.wait_condition(lambda: self._told)
            await workflow.sleep(0.05)
        raise ApplicationError("there is no such thread", type="UnknownThreadError", non_retryable=True)

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def submit(self, prompt: dict[str, Any]) -> None:
        self._told = True
        if prompt["content"] == "fail":
            raise ApplicationError("there is no such thread", type="UnknownThreadError")
        await workflow.wait_condition(lambda: False)


@pytest.mark.parametrize("content", ["fail", "wait"])
@pytest.mark.parametrize("owner", ["patient", "hasty"])
async def test_a_thread_that_is_not_there_is_told_as_unknown(
    system: System, thread: str, owner: str, content: str
) -> None:
    prompt = Prompt(id="a", content=content, must_exist=True)
    async with broken_worker(system, NoThread):
        with pytest.raises(UnknownThreadError, match="there is no such thread"):
            await system.threads.submit(thread, prompt, ThreadStart(owner=owner))


async def test_a_thread_that_runs_takes_the_prompt(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    assert await system.ask(thread, "Still there?", id="b", must_exist=True) == "You said: Still there?"
