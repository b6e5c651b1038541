"""`cli.py threads list`, `messages`, `status`, `submit`, `ask`, `interrupt`, as a user runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.prompts import ThreadStart
from doubles.scripted_model import Reply, ReplyError
from tests.gateways import Shell, gateway
from tests.system import System, new_thread


@pytest.fixture
async def shell(system: System) -> AsyncIterator[Shell]:
    async with gateway(system) as port:
        yield Shell(system, port)


@pytest.fixture
async def alone(shell: Shell, system: System) -> Shell:
    """Where no gateway runs."""
    return Shell(system, 9)


# --- asking


async def test_ask_prints_the_whole_answer(system: System, shell: Shell, thread: str) -> None:
    system.model.script("Line one.\n" * 100 + "\x1b[2JEnd.")
    told = await shell.run("ask", thread, "Hi", "--id", "a", "--author", "ada", "--owner", "acme", "--model", "other")
    assert (told.status, told.err) == (0, "")
    assert told.out == "Line one.\n" * 100 + "[2JEnd.\n"
    assert (await system.prompt(thread, "a")).author == "ada"
    assert (await system.record(thread)).owner == "acme"
    assert system.model.requests[-1].body["model"] == "other"


async def test_ask_without_a_gateway_prints_the_start_and_says_so(system: System, alone: Shell, thread: str) -> None:
    system.model.script("word " * 1000)
    told = await alone.run("ask", thread, "Hi", "--json")
    assert told.status == 0
    assert told.objects[0]["text"].endswith("…")
    assert "the start of the answer" in told.err


async def test_ask_ends_with_1_and_the_reason_if_the_turn_failed(system: System, shell: Shell, thread: str) -> None:
    system.model.script(Reply(status=400, error=ReplyError(message="Nothing today.")))
    told = await shell.run("ask", thread, "Hi")
    assert (told.status, told.out) == (1, "")
    assert told.err.startswith("failed: Nothing today.")


async def test_ask_ends_with_2_where_there_is_no_answer_in_time(system: System, shell: Shell, thread: str) -> None:
    system.model.script(Reply(text="Hm", hang_after_chunks=1))
    told = await shell.run("ask", thread, "Hi", "--timeout", "0.5", "--id", "a")
    assert (told.status, told.out) == (2, "")
    assert "no answer within 0.5 s" in told.err
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")


# --- submitting and stopping


async def test_submit_tells_what_becomes_of_the_prompt(system: System, shell: Shell, thread: str) -> None:
    first = await shell.run("submit", thread, "Hi", "--id", "a")
    again = await shell.run("submit", thread, "Hi", "--id", "a", "--json")
    assert (first.status, first.out) == (0, "a started\n")
    assert again.objects == [{"prompt_id": "a", "disposition": "duplicate"}]
    await system.ended(thread, "a")


async def test_what_is_not_taken_is_one_line_and_status_2(system: System, shell: Shell, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    conflict = await shell.run("submit", thread, "Bye", "--id", "a")
    mode = await shell.run("submit", thread, "Hi", "--mode", "polite")
    empty = await shell.run("ask", thread, " ")
    for told, words in ((conflict, "used before"), (mode, "polite"), (empty, "is empty")):
        assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
        assert words in told.err


async def test_interrupt_stops_the_turn_it_names_and_no_other(system: System, shell: Shell, thread: str) -> None:
    system.model.script(Reply(text="Hm", hang_after_chunks=1))
    await system.submit(thread, "Hi", id="a")
    await system.streaming(thread, "Hm")
    other = await shell.run("interrupt", thread, "--turn", "7")
    assert (other.status, other.out) == (1, "nothing of that runs\n")
    mine = await shell.run("interrupt", thread, "--prompt", "a", "--reason", "enough")
    assert (mine.status, mine.out) == (0, "turn 1 is being stopped\n")
    [row] = await system.ended(thread, "a")
    assert (row.status, row.error) == ("interrupted", "enough")


# --- looking


async def test_a_prompt_that_waits_is_edited_and_withdrawn(system: System, shell: Shell, thread: str) -> None:
    system.model.script(Reply(when="Count", text="one two three", hang_after_chunks=2), "Fine.")
    await system.submit(thread, "Count!", id="a")
    await system.submit(thread, "Second", id="b")
    await system.submit(thread, "Third", id="c")
    assert (await shell.run("edit", thread, "b", "Number two")).out == "b edited\n"
    assert (await shell.run("withdraw", thread, "c")).out == "c withdrawn\n"
    refused = await shell.run("withdraw", thread, "a")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == "error: prompt a does not wait: it is running; interrupt its turn instead\n"
    await system.threads.interrupt(thread)
    _, b, c = await system.ended(thread, "a", "b", "c")
    assert (b.text, b.status, c.status) == ("Number two", "answered", "withdrawn")


async def test_an_ended_turn_is_answered_anew_and_gone_on_with(system: System, shell: Shell, thread: str) -> None:
    await system.ask(thread, "First", id="a")
    assert (await shell.run("regenerate", thread, "--agent", "poet", "--id", "w")).out == "a started\n"
    await system.idle(thread)
    assert (await shell.run("resume", thread, "--prompt", "a")).out == "a started\n"
    await system.idle(thread)
    answers = sorted((row.branch, row.step, row.agent) for row in await system.answers(thread, "a"))
    assert answers == [(0, 0, "assistant"), (1, 0, "poet"), (1, 1, "poet")]


async def test_status_tells_that_the_model_is_away(system: System, shell: Shell, thread: str) -> None:
    away = Reply(status=503, headers={"retry-after": "30"}, error=ReplyError(message="Overloaded."))
    system.model.script(away)
    await system.submit(thread, "Hi", id="a")
    await system.submit(thread, "Ho", id="b")

    async def retrying() -> bool:
        return bool((await system.threads.status(thread))["retrying"])

    await system.until(retrying)
    told = await shell.run("status", thread)
    assert told.status == 0
    assert "answering  a, turn 1, step 1" in told.out
    assert "retrying   call_model: attempt 2, next in" in told.out
    assert "Overloaded." in told.out
    assert "waiting    1: b" in told.out
    system.model.script()
    await system.threads.interrupt(thread)
    await system.ended(thread, "a", "b")


async def test_the_status_of_no_thread_is_one_line_and_status_2(shell: Shell) -> None:
    told = await shell.run("status", "nobody")
    assert (told.status, told.out, told.err) == (
        2,
        "",
        "error: thread 'nobody' does not run; a prompt starts it\n",
    )


async def test_threads_are_listed_by_what_is_asked_for(system: System, shell: Shell) -> None:
    owner, threads = new_thread(), [new_thread() for _ in range(3)]
    for thread in threads:
        await system.ask(thread, f"About {thread}", start=ThreadStart(owner=owner))
    mine = await shell.run("list", "--owner", owner, "--json")
    assert [record["thread"] for record in mine.objects] == threads[::-1]
    some = await shell.run("list", "--owner", owner, "--limit", "2")
    assert [line.split()[0] for line in some.out.splitlines()] == threads[:0:-1]
    assert "there are more" in some.err
    said = await shell.run("list", "--text", f"{threads[1]} about", "--json")
    assert [record["thread"] for record in said.objects] == [threads[1]]
    refused = await shell.run("list", "--status", "closed")
    assert refused.status == 2
    assert "'closed' is not one of 'active', 'waiting', 'failed'" in refused.err


async def test_the_last_messages_of_a_thread_are_printed_in_order(system: System, shell: Shell, thread: str) -> None:
    system.model.script(Reply(when="bad", status=400, error=ReplyError(message="No.")), "Hello!")
    await system.ask(thread, "Hi", id="a", author="ada")
    await system.submit(thread, "bad", id="b")
    await system.ended(thread, "b")
    told = await shell.run("messages", thread, "--limit", "3")
    lines = told.out.splitlines()
    assert lines[0] == "assistant (turn 1): Hello!"
    assert lines[1] == "user (turn 2, failed): bad"
    assert lines[2].startswith("  No.")
    whole = await shell.run("messages", thread, "--json")
    assert (whole.objects[0]["author"], whole.objects[0]["text"]) == ("ada", "Hi")


async def test_where_no_gateway_runs_the_settings_are_named(alone: Shell) -> None:
    for arguments in (["list"], ["messages", "x"]):
        told = await alone.run(*arguments)
        assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
        assert "EVERTHREAD_PORT" in told.err


async def test_the_messages_of_no_thread_are_status_2(shell: Shell) -> None:
    told = await shell.run("messages", "no body/x")
    assert (told.status, told.out) == (2, "")
    assert "There is no thread" in told.err or "Not found" in told.err or "routes" in told.err
