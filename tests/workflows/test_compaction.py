"""A thread that is longer than its context goes on knowing what was said first, through its summary."""

from __future__ import annotations

from typing import Any

import pytest

from activities.compaction import Compaction
from domain import ids
from domain.agent import Agent
from doubles.scripted_model import Reply
from runtime.wiring import summaries_of
from tests.system import System

SUMMARY = '{"summary": "Ada has a cat.", "facts": ["Her cat is called Tom."], "decisions": [], "open_tasks": []}'
LONG = "I tell you of my garden, of its roses and its apple trees. " * 12


@pytest.fixture
def small(system: System) -> System:
    """Whose contexts hold some ten turns."""
    system.budget = 2_500
    system.add_agent(Agent("brief", instructions="Be brief."))
    system.add_agent(Agent("forgetful", instructions="Be brief.", compaction=False))
    return system


async def talk(system: System, thread: str, turns: int, agent: str = "brief") -> None:
    await system.stop_workers()
    await system.start_worker()
    await system.ask(thread, "My cat is called Tom.", id="first", agent=agent)
    for turn in range(turns):
        await system.ask(thread, f"{turn}: {LONG}", id=f"p{turn}", agent=agent)


async def compact(system: System) -> None:
    system.model.script(Reply(text=SUMMARY, when="What was said after it"), Reply(text="Go on."))
    chore = Compaction(summaries_of(system.store), system.chat, system.catalog, budget_tokens=system.budget)
    while await chore.work():
        pass


async def context_of(system: System, thread: str, prompt_id: str) -> dict[str, Any]:
    [row] = await system.store.get([ids.message_id(thread, prompt_id, "answer")])
    assert row.context is not None
    return row.context


async def test_an_early_fact_is_known_through_the_summary(small: System, thread: str) -> None:
    await talk(small, thread, 14)
    assert "Tom" not in str(small.model.requests[-1].body["messages"])
    await compact(small)
    await small.ask(thread, "What is my cat called?", id="last", agent="brief")
    [system, *spoken] = small.model.requests[-1].body["messages"]
    assert "- Her cat is called Tom." in system["content"]
    assert spoken[-1]["content"] == "What is my cat called?"
    record = await context_of(small, thread, "last")
    assert record["summary_through"] >= 1
    assert record["turns"][0] == record["summary_through"] + 1


async def test_after_a_summary_the_next_turns_need_no_other_one(small: System, thread: str) -> None:
    await talk(small, thread, 14)
    await compact(small)
    await small.ask(thread, "And?", id="next", agent="brief")
    found = await small.store.get_thread(thread)
    assert found is not None
    assert (found.compaction, found.summary_through > 0) == ("", True)


async def test_an_agent_may_do_without(small: System, thread: str) -> None:
    await talk(small, thread, 14, "forgetful")
    found = await small.store.get_thread(thread)
    assert found is not None
    assert found.compaction == ""


async def test_a_turn_that_is_made_anew_is_not_told_of_what_came_later(small: System, thread: str) -> None:
    await talk(small, thread, 14)
    await compact(small)
    await small.threads.regenerate(thread, prompt_id="first")
    await small.idle(thread)
    assert "Summary of what was said" not in str(small.model.requests[-1].body["messages"])
