"""The chat over a whole system, with keys that a test types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.plain_text import PlainTextOutput

from catalog.agent_tool import agent_tool
from client.reading import ThreadReader
from domain.prompts import ThreadStart
from doubles.scripted_model import Reply
from gateway.chat import Chat
from tests.system import System
from tests.workflows.test_approvals import REFUND
from tests.workflows.test_approvals import resolve as decide
from tests.workflows.test_subagents import READS, asked, asks, leads


@dataclass
class Keyboard:
    """Of a terminal. What is typed while no line is open waits for the next one."""

    keys: PipeInput
    screen: StringIO  # the input lines, as they were drawn

    def type(self, line: str) -> None:
        self.keys.send_text(f"{line}\r")


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    screen = StringIO()
    with create_pipe_input() as keys, create_app_session(input=keys, output=PlainTextOutput(screen)):
        yield Keyboard(keys, screen)


@pytest.fixture
async def asking(system: System) -> None:
    """The agent `lead` asks another one when it hears `Go!`, and a call of that one needs an approval."""
    ask = agent_tool("cashier", description="Pays.")
    system.add_agent(replace(await system.catalog.agent("lead"), tools=(ask,)))
    refund = Reply(when="Pay", step=1, tool_calls=[REFUND])
    system.model.script(leads(asks("ask_cashier", "Pay!")), refund, Reply(when="Pay", step=2, text="{tool}"), READS)


@asynccontextmanager
async def chatting(system: System, thread: str) -> AsyncIterator[None]:
    reader = ThreadReader(system.store, system.events)
    running = asyncio.create_task(Chat(system.threads, reader, thread=thread, start=ThreadStart(agent="lead")).run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def waiting_child(system: System, thread: str) -> tuple[str, dict[str, Any]]:
    """The thread of the agent that was asked, and its call that waits."""
    [told] = await asked(system, thread)
    child = str(told["child"])
    await system.until(lambda: system.store.get_thread(child))
    [call] = await system.waiting(child)
    return child, call


async def answer(system: System, thread: str) -> str:
    async def ended() -> list[str]:
        rows = [row for row in await system.rows(thread) if row.role == "user" and row.status == "answered"]
        return [(await system.answers(thread, row.prompt_id))[-1].text for row in rows]

    [text] = await system.until(ended)
    return text


@pytest.mark.usefixtures("asking")
async def test_a_call_of_an_agent_that_is_asked_is_decided_where_one_chats(
    system: System, thread: str, keyboard: Keyboard
) -> None:
    async with chatting(system, thread):
        keyboard.type("Go!")
        keyboard.type("no, too much")
        assert await answer(system, thread) == "I read: The call was denied by you: too much"
    assert system.bench.ran == []
    assert 'cashier: refund {"amount":5} — run it?' in keyboard.screen.getvalue()


@pytest.mark.usefixtures("asking")
async def test_a_chat_that_is_opened_again_asks_for_what_waited_meanwhile(
    system: System, thread: str, keyboard: Keyboard
) -> None:
    await system.submit(thread, "Go!", agent="lead")
    await waiting_child(system, thread)
    async with chatting(system, thread):
        keyboard.type("yes")
        assert await answer(system, thread) == "I read: Refunded 5."


@pytest.mark.usefixtures("asking")
async def test_what_somebody_else_decides_meanwhile_is_told_and_no_longer_asked(
    system: System, thread: str, keyboard: Keyboard, capsys: pytest.CaptureFixture[str]
) -> None:
    async with chatting(system, thread):
        keyboard.type("Go!")
        child, call = await waiting_child(system, thread)
        await system.until(lambda: shown(keyboard, "run it?"))
        await decide(system, child, call, by="eve")
        assert await answer(system, thread) == "I read: Refunded 5."
        await system.until(lambda: shown(keyboard, "you ›", 2))
    assert "refund was approved by eve" in capsys.readouterr().out


async def shown(keyboard: Keyboard, words: str, times: int = 1) -> bool:
    return keyboard.screen.getvalue().count(words) >= times
