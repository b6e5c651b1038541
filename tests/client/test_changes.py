"""Changing what waits and what has ended, by typed calls."""

from __future__ import annotations

import pytest

from domain.errors import InputRefusedError, UnknownPromptError, UnknownThreadError
from domain.prompts import Prompt, PromptOptions
from doubles.scripted_model import Reply
from tests.system import System


async def busy(system: System, thread: str, *waiting: str) -> None:
    """Prompt `a` is being answered, for ever, and these wait."""
    system.model.script(Reply(when="hang", text="Hm", hang_after_chunks=1), "You said: {user}")
    await system.submit(thread, "hang", id="a")
    await system.streaming(thread, "Hm")
    for prompt_id in waiting:
        await system.submit(thread, f"I am {prompt_id}", id=prompt_id)


async def test_a_prompt_that_waits_can_be_withdrawn(system: System, thread: str) -> None:
    await busy(system, thread, "b", "c")
    assert (await system.threads.withdraw(thread, "b")).disposition == "withdrawn"
    await system.threads.interrupt(thread)
    ends = await system.ended(thread, "a", "b", "c")
    assert [row.status for row in ends] == ["interrupted", "withdrawn", "answered"]


async def test_a_prompt_that_waits_can_be_edited(system: System, thread: str) -> None:
    await busy(system, thread, "b")
    assert (await system.threads.edit(thread, "b", "I am new")).disposition == "edited"
    await system.threads.interrupt(thread)
    await system.ended(thread, "b")
    assert (await system.answers(thread, "b"))[-1].text == "You said: I am new"


async def test_an_ended_turn_is_answered_anew_by_another_agent(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.idle(thread)
    system.model.script("A better one.")
    receipt = await system.threads.regenerate(thread, prompt_id="a", agent="poet", options=PromptOptions(max_steps=3))
    assert receipt.prompt_id == "a"
    report = await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    assert (report.status, report.text) == ("answered", "A better one.")


async def test_the_same_wish_twice_is_one(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.idle(thread)
    await system.threads.regenerate(thread, prompt_id="a", id="w")
    await system.threads.regenerate(thread, prompt_id="a", id="w")
    await system.ended(thread, "a")
    await system.idle(thread)
    assert len(system.model.requests) == 2


async def test_an_interrupted_turn_goes_on(system: System, thread: str) -> None:
    await busy(system, thread)
    await system.threads.interrupt(thread)
    await system.ended(thread, "a")
    await system.idle(thread)
    system.model.script("And on.")
    await system.threads.resume(thread, turn=1)
    report = await system.threads.ask(thread, Prompt(id="a", content="hang"))
    assert (report.status, report.text) == ("answered", "And on.")


async def test_what_is_not_there_cannot_be_changed(system: System, thread: str) -> None:
    with pytest.raises(UnknownThreadError):
        await system.threads.regenerate(thread)
    await system.ask(thread, "Hi", id="a")
    with pytest.raises(UnknownPromptError):
        await system.threads.withdraw(thread, "a")
    with pytest.raises(UnknownPromptError):
        await system.threads.regenerate(thread, prompt_id="b")


async def test_a_thread_that_must_exist_is_not_made(system: System, thread: str) -> None:
    with pytest.raises(UnknownThreadError):
        await system.threads.submit(thread, Prompt(content="Hi", must_exist=True))
    assert await system.store.get_thread(thread) is None


async def test_a_thread_that_does_not_run_is_opened_again_to_be_changed(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.workflow(thread).terminate()
    await system.threads.regenerate(thread, prompt_id="a")
    report = await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    assert report.status == "answered"
    assert len(system.model.requests) == 2


async def test_what_cannot_be_meant_is_refused_before_it_is_sent(system: System, thread: str) -> None:
    threads = system.threads
    for call in (
        threads.withdraw(thread, ""),
        threads.edit(thread, "a", " "),
        threads.regenerate(thread, turn=0),
        threads.resume(thread, agent="no agent"),
        threads.interrupt(thread, turn=-1),
    ):
        with pytest.raises(InputRefusedError):
            await call
