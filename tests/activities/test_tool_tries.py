"""What a later attempt of a tool's call finds of the earlier ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from activities.rows import said_row
from catalog.tool import tool
from domain import ids
from domain.agent import Agent
from domain.messages import Message
from domain.steps import fence
from domain.tooling import Asker, ToolContext
from tests.activities.fakes import LaggingStore, failure, run
from tests.activities.test_tools import Calls


class Tried(Calls):
    """Calls of the test's own agent."""

    mine: Agent | None = None

    async def agent(self, name: str, asker: Asker | None = None) -> Agent:
        return self.mine or await super().agent(name, asker)


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LaggingStore]:
    store = LaggingStore(tmp_path_factory.mktemp("tries"))
    yield store
    store.close()


@pytest.fixture
def calls(store: LaggingStore) -> Tried:
    return Tried(store)


async def test_what_a_lost_attempt_has_said_is_seen_by_the_later_steps_of_the_turn(calls: Tried) -> None:
    """It was killed between saving the message and noting it."""
    request = await calls.planned("pay", '{"amount": 5}', "write")
    begun = Message(
        id=ids.message_id(calls.thread, "p", "tool:0"),
        thread=calls.thread,
        prompt_id="p",
        slot="tool:0",
        role="tool",
        turn=1,
        attempt=fence(1, 0, 1),
    )
    said = said_row(request, 0, "I am on it.", fence(1, 0, 1), None, 1.0)
    await calls.store.insert([begun, said])
    await run(2, calls.run_tool, request)
    row = await calls.result()
    assert (row.status, row.said) == ("failed", [said.id])
    assert "The outcome is unknown" in row.text


async def test_tries_that_a_tool_asked_for_are_not_taken_for_lost_workers(calls: Tried) -> None:
    tried: list[int] = []

    @tool(effect="read", retries=5)
    async def flaky(context: ToolContext[None]) -> str:
        """Work at last."""
        tried.append(context.attempt)
        if len(tried) < 5:
            raise ConnectionError
        return "Worked."

    calls.mine = Agent("helper", tools=(flaky,))
    request = await calls.planned("flaky")
    for number in range(1, 5):
        error = await failure(number, calls.run_tool, request)
        assert (error.type, error.non_retryable) == ("ToolFailedError", False)
        assert error.next_retry_delay is not None
    await run(5, calls.run_tool, request)
    assert (await calls.result()).text == "Worked."
    assert tried == [1, 2, 3, 4, 5]
