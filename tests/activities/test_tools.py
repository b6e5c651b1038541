"""`run_tool`: a call's result is saved once, and an unsafe tool runs at most once."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.delegation import Delegations
from activities.results import as_text
from activities.rows import said_row, tool_row
from activities.tools import ToolActivities
from catalog.tool import tool
from domain import ids
from domain.agent import Agent, Effect
from domain.approvals import Resolution
from domain.errors import UnavailableError
from domain.messages import Message, ToolCall
from domain.steps import PlannedCall, ToolRequest, attempt_of, fence
from domain.tooling import Asker, ToolContext
from tests.activities.fakes import LaggingStore, NoAgents, attempt, failure, run
from tests.agents import Workbench
from tests.system import Pulse, RecordedEvents, new_thread


class Calls:
    """One planned call of each tool, over one store."""

    def __init__(self, store: LaggingStore) -> None:
        self.store, self.thread, self.bench = store, new_thread(), Workbench()
        self.events = RecordedEvents(Pulse())
        self.agents: list[Agent] = []  # before the workbench's
        self.away = False  # the agents are
        delegations = Delegations(store, self.events, self, NoAgents())
        self.run_tool = ToolActivities(store, self.events, self, delegations).run_tool

    default = "helper"

    async def agent(self, name: str, asker: Asker | None = None) -> Agent:
        if self.away:
            raise UnavailableError("the agents are away")
        return next(agent for agent in [*self.agents, *self.bench.agents()] if agent.name == name)

    def names(self) -> list[str]:
        return [self.default]

    async def planned(self, tool: str, arguments: str = "{}", effect: Effect = "read") -> ToolRequest:
        """What the workflow asks for once the model has planned the call."""
        answer = Message(
            id=ids.message_id(self.thread, "p", "answer"),
            thread=self.thread,
            prompt_id="p",
            slot="answer",
            role="assistant",
            status="complete",
            turn=1,
            tool_calls=[ToolCall(call_id="c", name=tool, arguments=arguments)],
        )
        await self.store.insert([answer])
        call = PlannedCall(call_id="c", tool=tool, effect=effect)
        return ToolRequest(thread=self.thread, epoch=1, prompt_id="p", turn=1, agent="helper", call=call)

    async def result(self) -> Message:
        [row] = await self.store.get([ids.message_id(self.thread, "p", "tool:0")])
        return row

    def ran(self) -> list[str]:
        return [tool for tool, _ in self.bench.ran]


@pytest.fixture(scope="module")
async def lagging(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LaggingStore]:
    store = LaggingStore(tmp_path_factory.mktemp("tools"))
    yield store
    store.close()


@pytest.fixture
def calls(lagging: LaggingStore) -> Calls:
    return Calls(lagging)


async def test_the_result_is_saved_for_the_model_to_read(calls: Calls) -> None:
    request = await calls.planned("look", '{"what": "the sea"}')
    result = await run(1, calls.run_tool, request)
    row = await calls.result()
    assert (result.message_id, result.status) == (row.id, "complete")
    assert (row.text, row.call_id, row.name, row.status) == ("I see the sea.", "c", "look", "complete")
    assert [kind for _, kind, _ in calls.events.published] == ["tool.started", "tool.finished"]


async def test_a_call_whose_result_is_there_does_not_run_again(calls: Calls) -> None:
    request = await calls.planned("look")
    first = await run(1, calls.run_tool, request)
    assert await run(2, calls.run_tool, request) == first
    assert calls.ran() == ["look"]


async def _lost_and_tried_again(calls: Calls, request: ToolRequest) -> None:
    """The second attempt comes while the first, whose worker was lost, is in the tool; then that goes on and ends."""
    lost = asyncio.create_task(run(1, calls.run_tool, request))
    while not calls.ran():
        await asyncio.sleep(0)
    await run(2, calls.run_tool, request)
    assert "The outcome is unknown" in (await calls.result()).text
    assert calls.ran() == ["hold"]
    calls.bench.release()
    await lost


async def test_a_write_tool_whose_worker_was_lost_is_not_repeated(calls: Calls) -> None:
    request = await calls.planned("hold", effect="write")
    await _lost_and_tried_again(calls, request)
    assert "The outcome is unknown" in (await calls.result()).text, "what the model has read does not change"


async def _approved(calls: Calls) -> ToolRequest:
    """A call of a tool that writes, which has waited for its approval."""
    request = await calls.planned("hold", effect="write")
    row = tool_row(request, 0, None, 1.0).model_copy(update={"waits": "approval", "args_digest": "0" * 20})
    await calls.store.insert([row])
    decision = Resolution(call_id="c", decision="approve", digest="0" * 20)
    return request.model_copy(update={"resolution": decision})


async def test_an_approved_write_tool_whose_worker_was_lost_is_not_repeated(calls: Calls) -> None:
    request = await _approved(calls)
    await _lost_and_tried_again(calls, request)


async def test_an_approved_write_tool_is_begun_once_though_two_attempts_find_it_waiting(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one has seen that it waits, and only then the other takes it: as with a store whose replicas lag."""
    request = await _approved(calls)
    earlier: list[asyncio.Task[Any]] = []
    amend = calls.store.amend

    async def overtaken(message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        if not earlier and attempt_of(attempt) == 2:
            earlier.append(asyncio.create_task(run(1, calls.run_tool, request)))
            while not calls.ran():
                await asyncio.sleep(0)
        return await amend(message_id, attempt, changes)

    monkeypatch.setattr(calls.store, "amend", overtaken)
    late = asyncio.create_task(run(2, calls.run_tool, request))
    await asyncio.wait({late}, timeout=1)
    calls.bench.release()
    await asyncio.gather(late, *earlier)
    assert calls.ran() == ["hold"]
    assert "The outcome is unknown" in (await calls.result()).text


async def test_a_tool_that_became_a_write_tool_is_not_repeated(calls: Calls) -> None:
    """The user edits the tool while the call waits for its next try; either declaration counts."""
    request = await calls.planned("pay", '{"amount": 5}', effect="read")
    await calls.store.insert([await _begun(calls)])
    await run(2, calls.run_tool, request)
    assert calls.ran() == []


async def test_a_write_tool_that_had_not_begun_runs(calls: Calls) -> None:
    """An attempt that only waited for the store has not begun the call."""
    request = await calls.planned("pay", '{"amount": 5}', "write")
    calls.store.hidden = {ids.message_id(calls.thread, "p", "answer")}
    assert (await failure(1, calls.run_tool, request)).type == "NotVisibleYetError"
    await run(2, calls.run_tool, request)
    assert calls.ran() == ["pay"]
    assert (await calls.result()).text == "Paid 5."


async def test_a_write_tool_whose_agent_was_away_for_a_moment_had_not_begun(calls: Calls) -> None:
    request = await calls.planned("pay", '{"amount": 5}', "write")
    calls.away = True
    assert (await failure(1, calls.run_tool, request)).type == "UnavailableError"
    calls.away = False
    await run(2, calls.run_tool, request)
    assert (await calls.result()).text == "Paid 5."
    calls.away = True
    await run(3, calls.run_tool, request)
    assert calls.ran() == ["pay"], "and a result that is there needs no agent"


async def test_a_tool_that_may_be_repeated_is_given_up_after_three_lost_workers(calls: Calls) -> None:
    request = await calls.planned("look")
    await calls.store.insert([await _begun(calls)])
    await run(4, calls.run_tool, request)
    assert "did not finish in 3 tries" in (await calls.result()).text
    assert calls.ran() == []


async def test_a_process_that_was_stopped_saves_no_result_when_it_goes_on(calls: Calls) -> None:
    request = await calls.planned("hold")
    call = asyncio.create_task(attempt(heartbeat_timeout_s=1.0).run(calls.run_tool, request))
    while not calls.ran():
        await asyncio.sleep(0)
    time.sleep(1.1)  # noqa: ASYNC251 - as SIGSTOP does
    calls.bench.release()
    with pytest.raises(ApplicationError) as lost:
        await call
    assert lost.value.type == "SupersededError"
    assert (await calls.result()).status == "pending"


async def test_a_late_attempt_does_not_run_the_tool(calls: Calls) -> None:
    request = await calls.planned("look")
    row = await _begun(calls)
    await calls.store.insert([row.model_copy(update={"attempt": fence(1, 0, 5)})])
    assert (await failure(1, calls.run_tool, request)).type == "SupersededError"
    assert calls.ran() == []


async def test_without_a_place_to_keep_it_a_result_is_cut_to_a_length_that_a_model_can_read(calls: Calls) -> None:
    request = await calls.planned("look", '{"what": "' + "x" * 40_000 + '"}')
    await run(1, calls.run_tool, request)
    row = await calls.result()
    assert len(row.text) <= 20_000
    assert re.search(r"\[Cut: \d+ of 40007 characters are left out here\.\]", row.text)
    assert (row.text[:8], row.text[-3:], row.blob) == ("I see xx", "xx.", None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, "null"),
        ({"a": [1, "ä"]}, '{"a": [1, "ä"]}'),
        ({1, 2}, "[1, 2]"),
        (b"bytes", '"bytes"'),
        (complex(1, 2), '"1+2j"'),
    ],
)
def test_any_value_of_a_tool_can_be_read(value: Any, text: str) -> None:
    assert as_text(value) == text


async def test_what_a_lost_attempt_has_said_is_seen_by_the_later_steps_of_the_turn(calls: Calls) -> None:
    """It was killed between saving the message and noting it."""
    request = await calls.planned("pay", '{"amount": 5}', "write")
    said = said_row(request, 0, "I am on it.", fence(1, 0, 1), None, 1.0)
    await calls.store.insert([await _begun(calls), said])
    await run(2, calls.run_tool, request)
    row = await calls.result()
    assert (row.status, row.said) == ("failed", [said.id])
    assert "The outcome is unknown" in row.text


async def test_tries_that_a_tool_asked_for_are_not_taken_for_lost_workers(calls: Calls) -> None:
    tried: list[int] = []

    @tool(effect="read", retries=5)
    async def flaky(context: ToolContext[None]) -> str:
        """Work at last."""
        tried.append(context.attempt)
        if len(tried) < 5:
            raise ConnectionError
        return "Worked."

    calls.agents = [Agent("helper", tools=(flaky,))]
    request = await calls.planned("flaky")
    for number in range(1, 5):
        error = await failure(number, calls.run_tool, request)
        assert (error.type, error.non_retryable) == ("ToolFailedError", False)
        assert error.next_retry_delay is not None
    await run(5, calls.run_tool, request)
    assert (await calls.result()).text == "Worked."
    assert tried == [1, 2, 3, 4, 5]


async def _begun(calls: Calls) -> Message:
    return Message(
        id=ids.message_id(calls.thread, "p", "tool:0"),
        thread=calls.thread,
        prompt_id="p",
        slot="tool:0",
        role="tool",
        turn=1,
        attempt=fence(1, 0, 1),
    )
