"""What is killed, stopped or lost in the middle of an answer: each prompt is answered once, whole, and soon."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from domain.prompts import ThreadStart, read_prompt
from doubles.scripted_model import RecordedRequest, Reply, ScriptedModel
from runtime.local import temporal_binary
from tests.e2e.driver import Everthread, alive, until, until_gone

WORDS = " ".join(f"word{number}" for number in range(30))
SLOW = Reply(text=WORDS, delay_s=0.1, times=1)  # three seconds, time enough to be killed
FIRST_TOKEN_S = 10.0
IN_FLIGHT = 100
ALL_ANSWERED_S = 40.0  # of a hundred turns, on a busy machine

pytestmark = pytest.mark.timeout(90)


def new_thread() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def calls_for(model: ScriptedModel, content: str) -> list[RecordedRequest]:
    return [request for request in model.requests if asks(request, content)]


def asks(request: RecordedRequest, content: str) -> bool:
    return bool(request.body["messages"][-1]["content"] == content)


async def until_streaming(everthread: Everthread, model: ScriptedModel, thread: str, content: str) -> None:
    """The model is in mid-sentence, and part of it is stored."""
    await model.until(lambda request: asks(request, content) and request.chunks_sent > 2)

    async def partly_stored() -> bool:
        return any(row["text"] for row in await everthread.messages(thread) if row["role"] == "assistant")

    await until(partly_stored, 5.0, "some of the answer is stored")


def answered_once(everthread: Everthread, rows: list[dict[str, Any]], text: str = WORDS) -> None:
    assert [(row["role"], row["status"]) for row in rows] == [("user", "answered"), ("assistant", "complete")]
    assert rows[1]["text"] == text
    assert len(everthread.finished(rows[1]["id"])) == 1


async def test_after_kill_9_of_everything_each_prompt_is_answered_once_in_order_and_soon(
    running: Everthread, model: ScriptedModel
) -> None:
    """One thread is in mid-sentence; another has more prompts waiting."""
    thread, prompt, other = new_thread(), "Tell me, in spite of kill -9.", new_thread()
    waiting = ["first of three", "second of three", "third of three"]
    model.script(*(Reply(when=slow, text=WORDS, delay_s=0.1, times=1) for slow in (prompt, waiting[0])), WORDS)
    await running.signal(thread, prompt)
    for content in waiting:
        await running.submit(other, content)
    await until_streaming(running, model, thread, prompt)
    await until_streaming(running, model, other, waiting[0])

    await running.kill9_tree()
    await running.start()

    assert "Going on with 4 cut-off turns:" in running.said()
    assert f"  {thread}: {prompt}\n" in running.said()
    answered_once(running, await running.answered(thread))
    first, again = calls_for(model, prompt)
    assert first.client_left
    assert again.first_chunk_at is not None
    assert again.first_chunk_at - running.started_at < FIRST_TOKEN_S
    assert len(again.body["messages"]) == len(first.body["messages"])  # half an answer is not shown to the model
    rows = await running.answered(other, prompts=3)
    assert [row["text"] for row in rows] == [text for content in waiting for text in (content, WORDS)]
    assert [len(running.finished(row["id"])) for row in rows] == [0, 1] * 3


async def test_after_kill_9_with_a_hundred_turns_in_flight_each_is_answered_once_and_soon(
    running: Everthread, model: ScriptedModel
) -> None:
    """None is stuck, none is lost, and what the new life lists as cut off is what was."""
    prompts = {new_thread(): f"Tell me too, number {number}." for number in range(IN_FLIGHT)}
    model.script(Reply(when="^Tell me too", text=WORDS, delay_s=1.0), WORDS)  # half a minute, so that none ends
    threads = await running.threads()
    for thread, prompt in prompts.items():
        await threads.signal(thread, read_prompt({"content": prompt}), ThreadStart())

    async def all_streaming() -> bool:
        streaming = (request for request in model.requests if request.chunks_sent > 1)
        return set(prompts.values()) <= {request.body["messages"][-1]["content"] for request in streaming}

    await until(all_streaming, 20.0, "all in mid-answer")

    await running.kill9_tree()
    model.script(WORDS)
    await running.start()

    assert f"Going on with {IN_FLIGHT} cut-off turns:" in running.said()
    rows = {thread: await running.answered(thread, timeout_s=ALL_ANSWERED_S) for thread in prompts}
    assert time.time() - running.started_at < ALL_ANSWERED_S
    finished = Counter(line["message_id"] for line in running.log("message.finished"))
    calls = Counter(request.body["messages"][-1]["content"] for request in model.requests)
    for thread, prompt in prompts.items():
        assert [row["text"] for row in rows[thread]] == [prompt, WORDS]
        assert finished[rows[thread][1]["id"]] == 1
        assert calls[prompt] >= 2


async def test_after_kill_9_of_the_parent_nothing_is_left_and_the_next_start_finishes(
    running: Everthread, model: ScriptedModel
) -> None:
    thread, prompt = new_thread(), "Tell me, in spite of a lost parent."
    model.script(SLOW, WORDS)
    await running.submit(thread, prompt)
    await until_streaming(running, model, thread, prompt)

    children = await running.kill9_parent_only()

    assert "temporal" in {process.name() for process in children if alive(process)}
    await until_gone(children, 10.0)
    await running.start()
    assert "left behind" not in running.said()
    answered_once(running, await running.answered(thread))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_after_a_signal_in_mid_answer_nothing_is_left_and_the_next_start_finishes(
    running: Everthread, model: ScriptedModel, number: signal.Signals
) -> None:
    thread, prompt = new_thread(), f"Tell me, in spite of {number.name}."
    model.script(SLOW, WORDS)
    await running.signal(thread, prompt)
    await until_streaming(running, model, thread, prompt)
    family = running.family()

    running.send(number)

    assert await running.wait(7.0) == 0
    assert not [process for process in family if alive(process)]
    assert "Traceback" not in running.said()
    await running.start()
    answered_once(running, await running.answered(thread))


async def test_what_a_crash_leaves_behind_is_ended_and_nothing_else(running: Everthread) -> None:
    leash, *_ = [process for process in running.family() if "runtime/leash.py" in " ".join(process.cmdline())]
    orphans = leash.children(recursive=True)
    for process in (psutil.Process(running.pid), leash):
        process.kill()
    await running.wait(5)
    assert [process.name() for process in orphans if alive(process)] == ["temporal"]
    foreign = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    record(running.data / "pids.json", foreign.pid)  # as if it had got the number of a child

    await running.start()

    assert foreign.returncode is None
    assert not [process for process in orphans if alive(process)]
    assert "Ended what an earlier run left behind: temporal" in running.said()
    foreign.kill()
    await foreign.wait()


def record(pids: Path, pid: int) -> None:
    long_ago = psutil.Process(pid).create_time() - 3600
    entries = json.loads(pids.read_text())
    pids.write_text(json.dumps([*entries, {"name": "temporal", "pid": pid, "create_time": long_ago}]))


async def test_a_zombie_does_not_finish_in_the_place_of_the_attempt_that_took_over(
    running: Everthread, model: ScriptedModel
) -> None:
    """Stopped for longer than a heartbeat: attempts 1 and 2 then run side by side, and attempt 2 finishes.

    One answer goes on coming after the stop; the other lies complete in attempt 1's socket by then.
    """
    slow, short = "Tell me slowly.", "Tell me quickly."
    threads = {slow: new_thread(), short: new_thread()}
    texts = {slow: " ".join([WORDS] * 4), short: WORDS}
    first = [Reply(when=prompt, text=texts[prompt], delay_s=0.1, times=1) for prompt in threads]
    model.script(*first, *(Reply(when=prompt, text=texts[prompt], delay_s=0.02) for prompt in threads))
    for prompt, thread in threads.items():
        await running.signal(thread, prompt)
    for prompt, thread in threads.items():
        await until_streaming(running, model, thread, prompt)

    running.send(signal.SIGSTOP)
    await asyncio.sleep(8)
    running.send(signal.SIGCONT)
    [cut_short] = calls_for(model, short)
    assert cut_short.finished  # all of it had been sent while nobody could read

    for prompt, thread in threads.items():
        rows = await running.answered(thread, timeout_s=40)
        answered_once(running, rows, texts[prompt])
        assert [line["attempt"] for line in running.finished(rows[1]["id"])] == [2]
        assert len(calls_for(model, prompt)) == 2


async def test_a_terminated_thread_goes_on_when_it_is_started_again(running: Everthread, model: ScriptedModel) -> None:
    thread, prompt = new_thread(), "Tell me, terminated or not."
    model.script(SLOW, WORDS)
    await running.submit(thread, prompt)
    await until_streaming(running, model, thread, prompt)

    await temporal(running, "workflow", "terminate", "--workflow-id", f"thread/{thread}", "--reason", "test")
    start = [
        "--workflow-id",
        f"thread/{thread}",
        "--type",
        "AgentThread",
        "--task-queue",
        "everthread",
        "--input",
        "{}",
    ]
    again = ["--signal-name", "prompt", "--signal-input", json.dumps({"content": "And then?"})]
    await temporal(running, "workflow", "signal-with-start", *start, *again)

    rows = await running.answered(thread, prompts=2, timeout_s=30)
    assert [(row["role"], row["text"]) for row in rows] == [
        ("user", prompt),
        ("assistant", WORDS),
        ("user", "And then?"),
        ("assistant", WORDS),
    ]
    assert [len(running.finished(row["id"])) for row in rows] == [0, 1, 0, 1]


async def temporal(everthread: Everthread, *command: str) -> str:
    address = ("--address", f"127.0.0.1:{everthread.temporal_port}")
    process = await asyncio.create_subprocess_exec(
        str(temporal_binary()), *command, *address, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, out.decode()
    return out.decode()
