"""Several workers on one Temporal server and one Qdrant server (the test double): each prompt is answered once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from adapters.qdrant_edge import EdgeStore
from domain import ids
from domain.prompts import Prompt, ThreadStart
from doubles.scripted_model import Reply, ScriptedModel, ToolCall
from tests.e2e.fleet import Fleet, run_fleet
from tests.system import new_thread, said

WORDS = " ".join(f"word{number}" for number in range(30))

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
async def the_fleet(
    temporal: Client, the_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    async with run_fleet(tmp_path_factory.mktemp("fleet"), temporal, the_model.base_url) as fleet:
        yield fleet


@pytest.fixture
async def fleet(the_fleet: Fleet, model: ScriptedModel) -> Fleet:
    """With two workers, whatever the test before did to them."""
    await the_fleet.scale(2)
    return the_fleet


def slowly(prompt: str, text: str = WORDS) -> Reply:
    """Three seconds, the first time that it is asked."""
    return Reply(when=prompt, text=text, delay_s=0.1, times=1)


async def test_two_workers_share_the_prompts_and_each_is_answered_once(fleet: Fleet) -> None:
    threads = [new_thread() for _ in range(20)]
    await asyncio.gather(*(fleet.submit(thread, "one", "two", "three") for thread in threads))
    for thread in threads:
        rows = await fleet.answered(thread, prompts=3)
        assert [row.text for row in rows if row.role == "user"] == ["one", "two", "three"]
        assert {(row.role, row.status) for row in rows} == {("user", "answered"), ("assistant", "complete")}
        assert max(fleet.finished(rows)) == 1, "where the store answered too late, another attempt found it done"
    assert all(any(worker.answers(thread) for thread in threads) for worker in fleet.workers)


async def test_after_kill_9_of_the_worker_that_answers_the_other_finishes(fleet: Fleet, model: ScriptedModel) -> None:
    thread, prompt = new_thread(), "Tell me, whoever you are."
    model.script(slowly(prompt), WORDS)
    await fleet.submit(thread, prompt)
    killed = await fleet.answering(thread)

    await killed.end(signal.SIGKILL)
    await fleet.submit(thread, "And then?")

    rows = await fleet.answered(thread, prompts=2)
    assert said(rows) == [
        ("user", "answered", prompt),
        ("assistant", "complete", WORDS),
        ("user", "answered", "And then?"),
        ("assistant", "complete", WORDS),
    ]
    assert fleet.finished(rows) == [0, 1, 0, 1]


async def test_the_attempt_of_a_frozen_worker_does_not_finish_in_the_place_of_the_one_that_took_over(
    fleet: Fleet, model: ScriptedModel
) -> None:
    """Stopped for longer than a heartbeat: two attempts then run side by side."""
    thread, prompt = new_thread(), "Tell me, frozen or not."
    text = " ".join([WORDS] * 4)  # twelve seconds, so that it still comes when the worker wakes up
    model.script(slowly(prompt, text), Reply(when=prompt, text=text, delay_s=0.02))
    await fleet.submit(thread, prompt)
    frozen = await fleet.answering(thread)

    frozen.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(8)
    frozen.process.send_signal(signal.SIGCONT)

    rows = await fleet.answered(thread)
    assert said(rows) == [("user", "answered", prompt), ("assistant", "complete", text)]
    assert fleet.finished(rows) == [0, 1]
    assert fleet.attempt_that_finished(rows[1]) == 2


async def test_turns_wait_for_a_store_that_is_gone_and_finish_when_it_is_back(
    fleet: Fleet, model: ScriptedModel
) -> None:
    thread, prompt, late = new_thread(), "Tell me, stored or not.", new_thread()
    model.script(slowly(prompt), WORDS)
    await fleet.submit(thread, prompt)
    await fleet.answering(thread)

    await fleet.double.end(signal.SIGKILL)
    await fleet.threads.signal(late, Prompt(id="late", content="Is anybody there?"), ThreadStart())
    await asyncio.sleep(2)
    await fleet.double.start()

    for asked, content in ((thread, prompt), (late, "Is anybody there?")):
        rows = await fleet.answered(asked)
        assert said(rows) == [("user", "answered", content), ("assistant", "complete", WORDS)]
        assert fleet.finished(rows) == [0, 1]


async def test_a_worker_ends_by_sigterm_and_the_other_goes_on(fleet: Fleet, model: ScriptedModel) -> None:
    thread, prompt = new_thread(), "Tell me, deployed or not."
    model.script(slowly(prompt), WORDS)
    await fleet.submit(thread, prompt)
    stopped = await fleet.answering(thread)

    assert await stopped.end(signal.SIGTERM) == 0

    assert stopped.log("worker.stopped")
    rows = await fleet.answered(thread)
    assert said(rows) == [("user", "answered", prompt), ("assistant", "complete", WORDS)]


async def test_a_worker_without_a_server_is_told_who_has_the_embedded_store_and_which_setting_to_use(
    the_fleet: Fleet,
) -> None:
    embedded = EdgeStore(the_fleet.folder / "data" / "store")
    worker = await the_fleet.launch(EVERTHREAD_QDRANT_URL="")
    assert await asyncio.wait_for(worker.process.wait(), 20) == 1
    embedded.close()
    [line] = worker.log_path.read_text().splitlines()
    assert line.startswith("everthread worker: the store in ")
    assert f"pid {os.getpid()}" in line
    assert "EVERTHREAD_QDRANT_URL" in line


async def test_after_kill_9_while_one_agent_asks_another_each_is_answered_once(
    fleet: Fleet, model: ScriptedModel
) -> None:
    """Whether the worker is lost that asks, or the one that answers, or both at once."""
    thread, prompt, question = new_thread(), "What time, concierge?", "What is the time, please?"
    asks = ToolCall(name="ask_timekeeper", arguments={"prompt": question})
    model.script(
        Reply(when=prompt, step=1, tool_calls=[asks]),
        slowly(question, WORDS),
        Reply(when=question, text="Noon."),
        Reply(when=prompt, step=2, text="It said: {tool}"),
    )
    await fleet.threads.submit(thread, Prompt(id="a", content=prompt, agent="concierge"))
    child = f"sub-{ids.message_id(thread, 'a', 'tool:0')}"
    killed = await fleet.answering(child)
    await killed.end(signal.SIGKILL)

    rows = await fleet.answered(thread)
    assert [row.text for row in rows if row.role == "assistant"][-1] == "It said: Noon."
    assert said(await fleet.rows(child)) == [("user", "answered", question), ("assistant", "complete", "Noon.")]
    assert fleet.finished(await fleet.rows(child)) == [0, 1]
