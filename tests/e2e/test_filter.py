"""`cli.py dev` with piped input: each line a prompt, each answer a line, nothing else on standard output."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from doubles.scripted_model import Reply, ReplyError, ScriptedModel
from tests.e2e.driver import Ended, Everthread
from tests.programs import ROOT

KEY_REFUSED = ReplyError(message="Incorrect API key provided: sk-dead.", code="invalid_api_key")


@pytest.mark.timeout(180)  # so small a model may talk to the limit of its tokens
async def test_the_real_local_model_answers_each_line_and_a_second_start_works(tmp_path: Path) -> None:
    everthread = Everthread(tmp_path)

    # In this order: asked about France second, so small a model says something else one time in twenty-five.
    first = await everthread.run(typed="What is the capital of France?\nMy name is Ada and I live in Bern.\n")

    assert first.status == 0, first.err
    assert "Paris" in first.out
    assert "smollm2-135m-instruct" in first.err
    assert f"http://127.0.0.1:{everthread.ui_port}" in first.err

    await everthread.start()
    [thread] = (await everthread.get("/api/threads")).json()["items"]
    rows = await everthread.messages(thread["thread"])
    assert [row["role"] for row in rows] == ["user", "assistant"] * 2
    assert first.out == "".join(f"{row['text'].rstrip()}\n" for row in rows if row["role"] == "assistant")
    assert await everthread.stop() == 0
    assert "cut-off" not in everthread.said()


async def test_no_input_is_no_output(fresh: Everthread) -> None:
    ended = await fresh.run()

    assert (ended.status, ended.out) == (0, "")


STRANGE = "Zürich 👩‍🚀 \u202e\x07 \x1b[31mred"
LONG = "x" * 300_000


async def test_each_answer_is_ended_by_one_newline_whatever_was_asked(fresh: Everthread, model: ScriptedModel) -> None:
    """One with lines of its own, a model that was busy first, a tool, a strange line, and a long one without an end."""
    model.script(
        Reply(when="^lines", text="One.\n\nTwo.\n\n\n"),
        Reply(when="^busy", status=429, headers={"Retry-After": "0.5"}, times=1),
        Reply(when="^busy", text="At last."),
        Reply.model_validate({"when": "^time", "tool_calls": [{"name": "current_time", "arguments": {}}]}),
        Reply(after_tool=True, text="By the clock."),
        Reply(text="Read."),
    )

    ended = await fresh.run("--agent", "timekeeper", typed=f"lines\nbusy\ntime\n  \n{STRANGE}\n{LONG}")

    assert (ended.status, ended.out) == (0, "One.\n\nTwo.\nAt last.\nBy the clock.\nRead.\nRead.\n"), ended.err
    asked = [request.body["messages"][-1] for request in model.requests]  # one may ask for a summary in the background
    assert [message["content"] for message in asked if message["content"] in (STRANGE, LONG)] == [STRANGE, LONG]
    assert "tool" in [message["role"] for message in asked]


async def test_a_refusal_ends_it_after_the_answers_before(fresh: Everthread, model: ScriptedModel) -> None:
    model.script(Reply(text="Fine.", when="one"), Reply(status=401, error=KEY_REFUSED))

    ended = await fresh.run(typed="one\ntwo\nthree\n")

    assert (ended.status, ended.out) == (1, "Fine.\n")
    assert "Incorrect API key provided: sk-dead." in last_line(ended)
    assert "Traceback" not in ended.err
    assert [request.body["messages"][-1]["content"] for request in model.requests[-2:]] == ["one", "two"]


async def test_a_line_that_cannot_be_a_prompt_is_refused_in_one_line(fresh: Everthread, tmp_path: Path) -> None:
    other = Everthread(tmp_path / "other", fresh.model_url)

    not_text, too_long = await asyncio.gather(
        fresh.run(typed=b"hello\nfoo \xff\xfe bar\n"), other.run(typed="x" * 1_100_000)
    )

    assert (not_text.status, not_text.out) == (1, "You said: hello\n")
    assert "line 2 of the input is not UTF-8" in last_line(not_text)
    assert (too_long.status, too_long.out) == (1, "")
    assert "1000000" in last_line(too_long)
    assert len(last_line(too_long)) < 500


async def test_a_thread_is_continued_by_its_name(fresh: Everthread, model: ScriptedModel) -> None:
    first = await fresh.run("--thread", "mine", typed="My name is Ada.\n")
    second = await fresh.run("--thread", "mine", typed="\n   \nWho am I?")

    assert first == Ended(0, "You said: My name is Ada.\n", first.err)
    assert second == Ended(0, "You said: Who am I?\n", second.err)
    said = [message["content"] for message in model.requests[-1].body["messages"][1:]]
    assert said == ["My name is Ada.", "You said: My name is Ada.", "Who am I?"]


async def test_a_reader_that_leaves_ends_it_quietly(fresh: Everthread) -> None:
    def piped() -> subprocess.CompletedProcess[str]:
        command = 'set -o pipefail; printf "one\\ntwo\\nthree\\n" | "$@" | head -n 1'
        return subprocess.run(
            ["bash", "-c", command, "bash", *fresh.command()],
            capture_output=True, text=True, check=False, cwd=fresh.folder, env=fresh.environment, timeout=30,
        )  # fmt: skip

    ended = await asyncio.to_thread(piped)

    assert ended.stdout == "You said: one\n"
    assert ended.returncode == 141
    assert "Traceback" not in ended.stderr
    assert "Broken" not in ended.stderr


async def test_make_run_is_the_filter_too(fresh: Everthread) -> None:
    def made() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "run", 'ARGS=--agent timekeeper'],
            input="one\ntwo", capture_output=True, text=True, check=False, cwd=ROOT, env=fresh.environment, timeout=50,
        )  # fmt: skip

    ended = await asyncio.to_thread(made)

    assert (ended.returncode, ended.stdout) == (0, "You said: one\nYou said: two\n"), ended.stderr


async def test_a_signal_ends_it_while_it_waits_for_input(fresh: Everthread) -> None:
    process = await asyncio.create_subprocess_exec(
        *fresh.command(), stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=fresh.folder, env=fresh.environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"one\n")
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"You said: one\n"

    process.terminate()
    _, err = await asyncio.wait_for(process.communicate(), 5)

    assert process.returncode == 128 + signal.SIGTERM
    assert err.decode().splitlines()[-1].startswith("everthread: stopped by SIGTERM before the end of the input")


async def test_no_answer_in_time_is_told_and_the_prompt_is_kept(fresh: Everthread, model: ScriptedModel) -> None:
    model.script(Reply(hang_after_chunks=1, text="never said", times=1), "Kept.")

    ended = await fresh.run("--thread", "slow", "--timeout", "1", typed="hello\n")

    assert (ended.status, ended.out) == (1, "")
    assert "it is kept" in last_line(ended)
    await fresh.start()
    rows = await fresh.answered("slow")
    assert [row["text"] for row in rows] == ["hello", "Kept."]


async def test_a_call_that_waits_for_somebody_is_told(fresh: Everthread, model: ScriptedModel) -> None:
    ticket = {"name": "fileTicket", "arguments": {"subject": "Kettle", "description": "It leaks."}, "id": "c1"}
    model.script(Reply.model_validate({"tool_calls": [ticket]}))

    ended = await fresh.run("--agent", "supervised", "--thread", "gated", "--timeout", "5", typed="My kettle leaks.\n")

    assert (ended.status, ended.out) == (1, "")
    assert "waits: c1 for an approval: fileTicket" in ended.err
    assert "python cli.py threads approve gated c1" in ended.err


def last_line(ended: Ended) -> str:
    line = ended.err.splitlines()[-1]
    assert line.startswith("everthread: "), json.dumps(ended.err)
    return line
