"""`cli.py threads calls`, `approve`, `deny`, `supply`, as a user runs them: the approval matrix from the command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pexpect
import pytest

from client.waiting import telling
from doubles.scripted_model import Reply, ToolCall
from tests.client.wedging import CLI, environment
from tests.gateways import Shell, gateway
from tests.system import System
from tests.workflows.test_approvals import READS, asked, ran, results, rolled, strict

ONE, OTHER = (ToolCall(name="refund", arguments={"amount": n}, id=f"c{n}") for n in (1, 2))


@pytest.fixture
async def shell(system: System) -> AsyncIterator[Shell]:
    async with gateway(system) as port:
        yield Shell(system, port)


async def test_what_waits_is_listed_shown_and_approved_by_its_digest(system: System, shell: Shell, thread: str) -> None:
    [call] = await asked(system, thread, ONE)
    listed = await shell.run("calls", thread)
    assert (listed.status, listed.err) == (0, "")
    assert listed.out.startswith(f"{thread}  c1  ")
    assert listed.out.endswith(f'  refund {{"amount":1}}  {call["digest"]}\n')
    assert 'waits      c1 for an approval: refund {"amount":1}' in (await shell.run("status", thread)).out
    told = await shell.run("approve", thread, "c1", "--digest", call["digest"], "--by", "eve")
    assert (told.status, told.out) == (0, "c1 approve\n")
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 1)]
    assert (await shell.run("calls", thread)).out == ""


async def test_an_approval_must_say_which_call_it_means(system: System, shell: Shell, thread: str) -> None:
    await asked(system, thread, ONE)
    told = await shell.run("approve", thread, "c1")
    assert (told.status, told.err) == (
        2,
        "error: say which call you mean by --digest, or --yes for the one that waits now\n",
    )
    told = await shell.run("approve", thread, "c1", "--digest", "0" * 20)
    assert told.status == 2
    assert "is not that of call c1" in told.err
    assert (await shell.run("approve", thread, "c1", "--yes", "--json")).objects[0]["decision"] == "approve"
    await system.ended(thread, "a")


async def test_two_calls_are_decided_one_by_one_and_only_once(system: System, shell: Shell, thread: str) -> None:
    await asked(system, thread, ONE, OTHER)
    told = await shell.run("deny", thread, "c1", "--reason", "too much", "--by", "eve")
    assert (told.status, told.out) == (0, "c1 deny; 1 more of turn 1 wait\n")
    again = await shell.run("approve", thread, "c1", "--digest", "0" * 20)
    assert (again.status, again.err) == (2, "error: call c1 was denied by eve: too much; it has ended\n")
    assert (await shell.run("approve", thread, "c2", "--yes", "--arguments", '{"amount": 7}')).status == 0
    await system.ended(thread, "a")
    assert system.bench.ran == [("refund", 7)]
    assert [row.text for row in await results(system, thread)] == [
        "The call was denied by eve: too much",
        "Refunded 7.",
    ]


async def test_a_decision_behind_the_deadline_is_told_what_was_decided(
    system: System, shell: Shell, thread: str
) -> None:
    strict(system, require=("pay",), deadline_s=0.1)
    await asked(system, thread, ToolCall(name="pay", arguments={"amount": 1}, id="c1"), agent="strict", wait=0)
    await system.ended(thread, "a")
    late = await shell.run("approve", thread, "c1", "--digest", "0" * 20)
    assert (late.status, late.err) == (
        2,
        "error: call c1 was denied by the deadline: nobody decided in time; it has ended\n",
    )


async def test_a_decision_holds_over_a_roll_and_a_lost_worker(system: System, shell: Shell, thread: str) -> None:
    [call] = await asked(system, thread, ONE)
    await system.workflow(thread).signal("roll")
    await system.until(lambda: rolled(system, thread, 1))
    await system.stop_workers()
    await system.start_worker()
    assert (await shell.run("approve", thread, "c1", "--digest", call["digest"])).status == 0
    await system.ended(thread, "a")
    await system.until(lambda: ran(system, [("refund", 1)]))


async def test_a_result_is_supplied_as_json_or_as_text(system: System, shell: Shell, thread: str) -> None:
    await asked(system, thread, *(ToolCall(name="measure", id=f"m{n}") for n in range(3)))
    assert (await shell.run("calls", thread)).out == ""
    assert len((await shell.run("calls", thread, "--outside")).out.splitlines()) == 3
    assert (await shell.run("supply", thread, "m0", '{"cm": 12}')).status == 0
    assert (await shell.run("supply", thread, "m1", "about a foot")).status == 0
    assert (await shell.run("supply", thread, "m2", "--error", "the ruler broke", "--by", "lab")).status == 0
    await system.ended(thread, "a")
    texts = [row.text for row in await results(system, thread)]
    assert texts == ['{"cm": 12}', "about a foot", "The call ended with an error by lab: the ruler broke"]


async def test_who_approves_on_a_terminal_is_shown_all_of_the_arguments(
    system: System, shell: Shell, thread: str
) -> None:
    strict(system, require=("look",))
    await asked(
        system, thread, ToolCall(name="look", arguments={"what": "x" * 400 + " behind it"}, id="c1"), agent="strict"
    )
    settings = environment(system.client, EVERTHREAD_PORT=str(shell.port), EVERTHREAD_TASK_QUEUE=system.task_queue)
    command = [str(CLI), "threads", "approve", thread, "c1"]
    terminal = pexpect.spawn(sys.executable, command, env=settings, timeout=40)
    await asyncio.to_thread(terminal.expect, "behind it.*run it")
    terminal.send("y\r")
    await asyncio.to_thread(terminal.expect, "c1 approve")
    terminal.close()
    await system.ended(thread, "a")
    assert len(system.bench.ran) == 1


async def test_a_supply_of_nothing_says_what_to_give(shell: Shell, thread: str) -> None:
    told = await shell.run("supply", thread, "m1")
    assert (told.status, told.err) == (
        2, "error: give either the result, or --error with the reason why there is none\n",
    )  # fmt: skip


async def test_who_asks_is_told_what_waits_and_how_to_decide(system: System, shell: Shell, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ONE], step=1), READS)
    told = await shell.run("ask", thread, "Do it!", "--agent", "cashier", "--timeout", "5")
    words = (
        f'waits: c1 for an approval: refund {{"amount":1}}; decide with: python cli.py threads approve {thread} c1\n'
    )
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith(words)
    assert told.err.count("waits: ") == 1


async def test_each_call_is_told_once_to_who_waits(system: System, thread: str) -> None:
    said: list[str] = []

    async def heard() -> bool:
        return len(said) == 2

    async with telling(system.threads, thread, said.append):
        await asked(system, thread, ONE, ToolCall(name="measure", id="it's"))
        await system.until(heard)
    assert said[1].endswith(f"""decide with: python cli.py threads supply {thread} 'it'"'"'s'""")
