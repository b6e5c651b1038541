"""What happens to a tool whose worker is killed, frozen or stopped: one that writes never runs twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from domain.messages import Message
from doubles.scripted_model import Reply, ScriptedModel, ToolCall
from tests.client.wedging import Said, cli
from tests.e2e.driver import until
from tests.e2e.fleet import Fleet, Worker, run_fleet
from tests.system import new_thread

UNKNOWN = "The outcome is unknown: the worker was lost while the tool ran. It was not repeated."
BEGIN_S = 15.0

pytestmark = pytest.mark.timeout(90)


@dataclass(frozen=True)
class Run:
    """That a tool has begun, once."""

    thread: str
    tool: str
    key: str
    pid: int


class Office:
    """A fleet whose clerk's tools wait for `let_go`, and remember each of their runs."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet, self.folder = fleet, folder
        folder.mkdir()

    async def launch(self, **settings: str) -> Worker:
        worker = await self.fleet.launch(TEST_LEDGER=str(self.folder), **settings)
        await self.fleet.ready(worker)
        return worker

    async def begin(self, *tools: str) -> dict[str, str]:
        """A thread for each tool, in which it runs. Returns them by tool."""
        threads = {tool: new_thread() for tool in tools}
        for tool, thread in threads.items():
            await self.fleet.submit(thread, f"{tool}, please.", agent="clerk")

        async def all_run() -> bool:
            return {run.tool for run in self.runs()} >= set(tools)

        await until(all_run, BEGIN_S, "all tools run", self.runs)
        return threads

    async def cli(self, *arguments: str) -> Said:
        return await cli(self.fleet.client, "threads", *arguments, EVERTHREAD_TASK_QUEUE=self.fleet.task_queue)

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def runs(self, tool: str | None = None) -> list[Run]:
        ledger = self.folder / "ledger"
        lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
        runs = [Run(thread, name, key, int(pid)) for thread, name, key, pid in lines]
        return [run for run in runs if tool in {None, run.tool}]

    async def result(self, thread: str) -> Message:
        """Of the thread's only call, once the turn has ended."""
        rows = await self.fleet.answered(thread)
        [result] = [row for row in rows if row.role == "tool"]
        assert [row.status for row in rows if row.role == "user"] == ["answered"]
        assert rows[-1].text == f"I read: {result.text}"
        return result

    def finished(self, row: Message) -> int:
        """How often a worker made the result final."""
        lines = [line for worker in self.fleet.workers for line in worker.log("tool.finished")]
        return sum(line["message_id"] == row.id for line in lines)


@pytest.fixture(scope="module")
async def the_fleet(
    temporal: Client, the_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    program = "tests/e2e/clerk_worker.py"
    async with run_fleet(tmp_path_factory.mktemp("office"), temporal, the_model.base_url, program=program) as fleet:
        yield fleet


@pytest.fixture
async def office(the_fleet: Fleet, model: ScriptedModel, tmp_path: Path) -> AsyncIterator[Office]:
    """Without workers."""
    tools = ("pay", "pay_in_a_thread", "put", "refund")
    asked = [Reply(when=rf"^{tool}, ", tool_calls=[ToolCall(name=tool)]) for tool in tools]
    model.script(*asked, Reply(after_tool=True, text="I read: {tool}"))
    yield Office(the_fleet, tmp_path / "office")
    await asyncio.gather(*(worker.end(signal.SIGKILL) for worker in the_fleet.workers))


async def test_after_kill_9_in_a_tool_one_that_writes_is_not_repeated_and_an_idempotent_one_is(office: Office) -> None:
    """The heartbeat of tools that write is shortened, from half a minute."""
    short = {"TEST_WRITE_HEARTBEAT_S": "4"}
    first = await office.launch(**short)
    threads = await office.begin("pay", "pay_in_a_thread", "put")
    second = await office.launch(**short)

    await first.end(signal.SIGKILL)
    office.let_go()

    for tool in ("pay", "pay_in_a_thread"):
        unknown = await office.result(threads[tool])
        assert (unknown.status, unknown.text) == ("failed", UNKNOWN)
        assert [run.pid for run in office.runs(tool)] == [first.process.pid]
    put = await office.result(threads["put"])
    assert (put.status, put.text) == ("complete", f"Put by {second.process.pid}.")
    assert [run.pid for run in office.runs("put")] == [first.process.pid, second.process.pid]
    assert {run.key for run in office.runs("put")} == {put.id}, "the key is the same each time"


async def test_a_worker_frozen_for_8_s_goes_on_with_the_tool_that_writes_and_leaves_the_other_to_who_took_over(
    office: Office,
) -> None:
    frozen = await office.launch()
    threads = await office.begin("pay", "put")
    await office.launch()

    frozen.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(8)
    office.let_go()
    frozen.process.send_signal(signal.SIGCONT)

    paid, put = await office.result(threads["pay"]), await office.result(threads["put"])
    assert (paid.status, paid.text) == ("complete", "Paid.")
    assert len(office.runs("pay")) == 1, "the heartbeat of a tool that writes bears longer than that"
    assert (put.status, put.attempt % 10**6 > 1) == ("complete", True), "the attempt that was frozen is not the one"
    assert len(office.runs("put")) > 1
    assert [office.finished(row) for row in (paid, put)] == [1, 1]


async def test_a_worker_frozen_for_longer_than_the_heartbeat_of_a_tool_that_writes_does_not_finish_it(
    office: Office,
) -> None:
    short = {"TEST_WRITE_HEARTBEAT_S": "2"}
    frozen = await office.launch(**short)
    threads = await office.begin("pay")
    await office.launch(**short)

    frozen.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(5)
    office.let_go()
    frozen.process.send_signal(signal.SIGCONT)

    async def given_up() -> bool:
        return "another attempt has taken over" in frozen.log_path.read_text()

    await until(given_up, BEGIN_S, "the first attempt is given up", frozen.log_path.read_text)
    unknown = await office.result(threads["pay"])
    assert (unknown.status, unknown.text) == ("failed", UNKNOWN)
    assert len(office.runs("pay")) == 1
    assert office.finished(unknown) == 1


async def test_a_worker_that_is_told_to_stop_ends_its_tools_that_write_first(office: Office) -> None:
    stopped = await office.launch()
    threads = await office.begin("pay", "pay_in_a_thread")
    await office.launch()

    stopped.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(1)  # time enough to make a mistake in
    assert stopped.running
    office.let_go()

    assert await asyncio.wait_for(stopped.process.wait(), 15) == 0
    for tool, thread in threads.items():
        paid = await office.result(thread)
        assert (paid.status, paid.text) == ("complete", "Paid.")
        assert [run.pid for run in office.runs(tool)] == [stopped.process.pid]


async def test_a_call_whose_worker_is_killed_while_it_waits_is_approved_from_the_command_line_and_run_once(
    office: Office,
) -> None:
    first, thread = await office.launch(), new_thread()
    await office.fleet.submit(thread, "refund, please.", agent="clerk")

    async def waits() -> bool:
        return any(row.waits == "approval" for row in await office.fleet.rows(thread))

    await until(waits, BEGIN_S, "the call waits")
    [call] = [row for row in await office.fleet.rows(thread) if row.waits]
    await first.end(signal.SIGKILL)
    second = await office.launch()

    told = await office.cli("approve", thread, call.call_id or "", "--digest", call.args_digest or "", "--by", "eve")
    assert (told.status, told.err) == (0, "")
    refunded = await office.result(thread)
    assert (refunded.status, refunded.text) == ("complete", "Refunded.")
    assert [run.pid for run in office.runs("refund")] == [second.process.pid]
    again = await office.cli("deny", thread, call.call_id or "")
    assert (again.status, again.err) == (2, f"error: call {call.call_id} was approved by eve; it has ended\n")
