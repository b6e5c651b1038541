"""`cli.py threads take-over`, `say`, `hand-back`, as an operator runs them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from client.commands.console import UNUSABLE
from tests.client.wedging import Said, cli
from tests.system import System


@pytest.fixture
def run(system: System) -> Any:
    async def threads(*arguments: str) -> Said:
        return await cli(system.client, "threads", *arguments, EVERTHREAD_TASK_QUEUE=system.task_queue)

    return threads


async def test_an_operator_takes_over_answers_and_hands_back(system: System, run: Any, thread: str) -> None:
    await system.ask(thread, "Hi", id="first")
    assert (await run("take-over", thread, "--by", "ada")).out == "ada has the thread\n"
    await system.submit(thread, "Anybody?", id="a")
    shown = (await run("status", thread)).out
    assert "operator   ada has the thread: prompts wait for an answer, or for the hand-back" in shown
    assert (await run("say", thread, "Yes.", "--by", "ada", "--id", "s")).out == "a said\n"
    told = await run("say", thread, "Unasked.", "--by", "ada", "--id", "t", "--json")
    assert json.loads(told.out)["prompt_id"] == "t"
    assert (await run("hand-back", thread, "--by", "ada")).out == "the agent answers\n"
    assert [row.text for row in await system.rows(thread)][2:] == ["Anybody?", "Yes.", "Unasked."]


async def test_what_is_somebody_elses_is_told_in_a_line(system: System, run: Any, thread: str) -> None:
    await system.ask(thread, "Hi")
    await system.threads.take_over(thread, "ada")
    told = await run("take-over", thread, "--by", "bob")
    assert told.status == UNUSABLE
    assert "'ada' has the thread; wait for the hand-back, or take it with force" in told.err
    nobody = await run("take-over", f"{thread}-none", "--by", "bob")
    assert nobody.status == UNUSABLE
    assert f"there is no thread {thread}-none" in nobody.err
