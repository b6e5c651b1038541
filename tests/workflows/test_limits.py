"""Odd and large input: what comes of it is what docs/limits.md says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from domain.content import MAX_PROMPT_BYTES
from domain.errors import InboxFullError
from domain.prompts import Prompt
from domain.thread import MAX_WAITING, ThreadState
from doubles.scripted_model import Reply, ToolCall
from tests.system import System
from tests.workflows.test_doors import raw

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def sentence(what: str) -> str:
    """What the page says in code of one kind of input."""
    [said] = re.findall(r"`([^`]+)`", ROWS[what])
    return str(said)


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


ODD = [
    ("a longer prompt", {"content": "x" * (MAX_PROMPT_BYTES + 1)}),
    ("a prompt without text", {"content": ""}),
    ("half a character (a lone surrogate)", raw(rb'{"content": "a\ud83d"}')),
    ("metadata of a hundred levels", {"content": "Hi", "metadata": deep(100)}),
    ("metadata over 16 kB", {"content": "Hi", "metadata": {"a": "x" * 20_000}}),
    ("an output over 32 kB", {"content": "Hi", "options": {"output": {"description": "x" * 40_000}}}),
    ("an id again, with another text", {"id": "a", "content": "Another"}),
]


@pytest.mark.parametrize(("what", "value"), ODD, ids=[what for what, _ in ODD])
async def test_odd_input_by_update_is_refused_in_these_words(
    system: System, thread: str, what: str, value: Any
) -> None:
    await system.ask(thread, "Hello", id="a")
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await system.workflow(thread).execute_update("submit", value)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.message == sentence(what)
    assert await system.ask(thread, "Still there?", id="b") == "You said: Still there?"


@pytest.mark.parametrize(("what", "value"), ODD, ids=[what for what, _ in ODD])
async def test_odd_input_by_signal_is_recorded_in_these_words(
    system: System, thread: str, what: str, value: Any
) -> None:
    await system.ask(thread, "Hello", id="a")
    await system.workflow(thread).signal("prompt", value)
    [row] = await system.refused(thread)
    assert row.error == sentence(what)
    assert (await system.prompt(thread, "a")).status == "answered"


async def test_a_prompt_of_one_megabyte_reaches_the_model(system: System, thread: str) -> None:
    text = "x" * (MAX_PROMPT_BYTES - 2)
    await system.submit(thread, text, id="a")
    [row] = await system.ended(thread, "a")
    assert (row.status, row.text) == ("answered", text)
    assert system.asked()[-1]["content"] == text


async def test_an_id_again_with_the_same_text_is_the_same_prompt(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a")
    assert (await system.submit(thread, "Hello", id="a")).disposition == sentence("an id again, with the same text")


async def test_of_a_huge_tool_result_the_model_reads_the_ends(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="flood")]), Reply(after_tool=True, text="Much."))
    assert await system.ask(thread, "Flood!", agent="helper") == "Much."
    note = re.findall(r"`([^`]+)`", ROWS["a tool result of 5 MB"])[0]
    content = system.asked()[-1]["content"]
    assert len(content) <= 20_000
    assert re.sub(r"\(result=.*?\)", "(…)", content.strip("x").strip()) == f"{note[:-1]}.]"


def test_a_full_inbox_says_so() -> None:
    state = ThreadState(epoch=1, agent="assistant")
    for number in range(MAX_WAITING):
        state.admit(Prompt(id=f"p{number}", content="Hi"))
    with pytest.raises(InboxFullError) as caught:
        state.check(Prompt(id="one-too-many", content="Hi"))
    assert str(caught.value) == sentence("more than 1,000 prompts that wait")


def test_an_inbox_with_too_much_to_save_says_so_to_who_can_hear_it() -> None:
    state = ThreadState(epoch=1, agent="assistant")
    state.admit(Prompt(id="large", content="x" * 300_000))
    with pytest.raises(InboxFullError) as caught:
        state.check_room(Prompt(id="more", content="Hi"))
    assert str(caught.value) == re.findall(r"`([^`]+)`", ROWS["more than 256 kB that wait to be saved"])[0]
    assert state.admit(Prompt(id="more", content="Hi")).disposition == "queued"
    state.saved(["large"], [])
    state.check_room(Prompt(id="later", content="Hi"))


async def test_more_than_the_server_takes_is_refused_by_it_and_harms_nothing(system: System, thread: str) -> None:
    await system.ask(thread, "Hello", id="a")
    with pytest.raises(RPCError):
        await system.workflow(thread).signal("prompt", {"content": "x" * 3_000_000})
    assert await system.ask(thread, "Still there?", id="b") == "You said: Still there?"
