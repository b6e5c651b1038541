"""The chat on a terminal, as a person uses it."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator

import pexpect
import pytest

from doubles.scripted_model import Reply, ScriptedModel, ToolCall
from tests.e2e.driver import Everthread, family_of, kill9

WORDS = " ".join(f"word{number}" for number in range(30))
ESCAPE = r"\x1b\[[0-9;?]*[A-Za-z]"


class Terminal:
    """The program on a pseudo-terminal of 100 columns and 50 rows. A space may be drawn as a move of the cursor."""

    def __init__(self, everthread: Everthread, *options: str) -> None:
        program, *arguments = everthread.command(*options)
        self._child: pexpect.spawn[str] = pexpect.spawn(
            program, arguments, cwd=str(everthread.folder), env=everthread.environment | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8", dimensions=(50, 100), timeout=20,
        )  # fmt: skip
        self._child.delaybeforesend = None

    async def shows(self, words: str) -> str:
        """Wait for the words. Returns all that came up to them since the last call, without escape sequences."""
        await asyncio.to_thread(self._child.expect, f"(?:{ESCAPE})*".join(" ?" if c == " " else c for c in words))
        return plain(f"{self._child.before}{self._child.after}")

    def type(self, text: str) -> None:
        self._child.send(text)

    async def ended(self) -> int | None:
        await asyncio.to_thread(self._child.expect, pexpect.EOF)
        await asyncio.to_thread(self._child.wait)
        return self._child.exitstatus

    async def kill9_tree(self) -> None:
        assert self._child.pid is not None
        await kill9(family_of(self._child.pid))
        await self.ended()

    def close(self) -> None:
        if not self._child.terminate(force=True):  # it takes its time, even to die
            self._child.wait()
        self._child.close()


def plain(text: str) -> str:
    return re.sub(ESCAPE, "", text).replace("\r", "")


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


async def test_an_answer_streams_and_ctrl_d_leaves(
    fresh: Everthread, model: ScriptedModel, terminals: list[Terminal]
) -> None:
    model.script(Reply(text=WORDS, delay_s=0.05))
    terminal = open_chat(fresh, terminals)
    await terminal.shows("you ›")

    terminal.type("Count the words.\r")

    await terminal.shows("assistant › word0")
    assert not model.requests[-1].finished
    rest = await terminal.shows("you ›")
    assert rest.replace("\n", "").rstrip().removesuffix("you ›").split() == WORDS.split()[1:]
    terminal.type("\x04")
    assert await terminal.ended() == 0


async def test_ctrl_c_in_mid_answer_stops_the_answer_and_the_chat_goes_on(
    fresh: Everthread, model: ScriptedModel, terminals: list[Terminal]
) -> None:
    model.script(Reply(text=WORDS, delay_s=0.2))
    terminal = open_chat(fresh, terminals)
    await terminal.shows("you ›")
    terminal.type("Count the words.\r")
    await terminal.shows("word5")

    terminal.type("\x03")

    await terminal.shows("stopped: Ctrl-C")
    await terminal.shows("you ›")
    terminal.type("\x04")
    assert await asyncio.wait_for(terminal.ended(), 6) == 0


async def test_a_prompt_from_another_terminal_is_answered_in_the_open_chat(
    fresh: Everthread, model: ScriptedModel, terminals: list[Terminal]
) -> None:
    """By the command line that the banner gives; what was typed so far is kept."""
    terminal = open_chat(fresh, terminals)
    banner = await terminal.shows("you ›")
    [command] = [line for line in banner.splitlines() if "temporal workflow signal" in line]
    terminal.type("half a ")
    await terminal.shows("half a ")

    shell = await asyncio.create_subprocess_shell(command, stdout=DEVNULL, stderr=DEVNULL)

    assert await asyncio.wait_for(shell.wait(), 15) == 0
    await terminal.shows("from elsewhere › Say hello to the other terminal.")
    await terminal.shows("assistant › You said: Say hello to the other terminal.")
    await terminal.shows("you › half a ")
    terminal.type("line\r")
    await terminal.shows("You said: half a line")
    await terminal.shows("you ›")
    terminal.type("\x04")
    assert await terminal.ended() == 0


async def test_after_kill_9_the_chat_opens_the_same_thread_and_shows_the_finished_answer_once(
    fresh: Everthread, model: ScriptedModel, terminals: list[Terminal]
) -> None:
    model.script(Reply(text=WORDS, delay_s=0.1, times=1), Reply(text=WORDS, delay_s=0.02))
    first = open_chat(fresh, terminals)
    await first.shows("you ›")
    first.type("Count the words.\r")
    await first.shows("word12")
    await first.kill9_tree()

    again = open_chat(fresh, terminals)

    screen = await again.shows("word29") + await again.shows("you ›")
    assert "Going on with 1 cut-off turn:" in screen
    assert screen.count("you › Count the words.") == 1
    assert " ".join(screen.partition("assistant ›")[2].split()) == f"{WORDS} you ›"
    again.type("And now?\r")
    await again.shows("word29")
    await again.shows("you ›")
    assert [message["content"] for message in model.requests[-1].body["messages"][1:]] == [
        "Count the words.",
        WORDS,
        "And now?",
    ]


async def test_an_approval_is_asked_for_in_the_chat_and_after_kill_9_in_the_next_one(
    fresh: Everthread, model: ScriptedModel, terminals: list[Terminal]
) -> None:
    ticket = ToolCall(name="fileTicket", arguments={"subject": "Kettle", "description": "It leaks."})
    model.script(Reply(tool_calls=[ticket], times=1), Reply(after_tool=True, text="Filed."))
    asked = len(model.requests)
    first = open_chat(fresh, terminals, "--agent", "supervised")
    await first.shows("you ›")
    first.type("My kettle leaks.\r")
    await first.shows("yes, or no and why")
    await first.kill9_tree()

    again = open_chat(fresh, terminals, "--agent", "supervised")

    assert 'fileTicket {"subject":"Kettle"' in await again.shows("yes, or no and why")
    again.type("yes\r")
    await again.shows("supervised › Filed.")
    await again.shows("you ›")
    assert len(model.requests) - asked == 2, "the model was not asked again"


def open_chat(everthread: Everthread, terminals: list[Terminal], *options: str) -> Terminal:
    terminal = Terminal(everthread, *options)
    terminals.append(terminal)
    return terminal
