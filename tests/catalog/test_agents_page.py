"""docs/agents.md can be trusted: its example works, and its tables name what there is."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any, get_args

import pytest

from domain.agent import Agent
from domain.chat import ChatMessage
from domain.hooks import StepInfo
from domain.messages import Usage
from domain.prompts import Mode, PromptOptions, read_prompt
from tests.pages import blocks, page, run

PAGE = page("agents")


@pytest.fixture
def planner() -> Agent:
    agent: Agent = run(PAGE)["planner"]
    return agent


def info(step: int, **metadata: str) -> StepInfo:
    messages = [ChatMessage("user", "Plan!")]
    return StepInfo("planner", "t", 1, step, last=False, messages=messages, usage=Usage(), metadata=metadata)


async def test_the_agent_of_the_page_works(planner: Agent) -> None:
    hook: Any = planner.prepare_step
    assert await hook(info(0)) is None
    assert (await hook(info(1))).model == "openai/gpt-5-nano"
    assert (await hook(info(1, plan="free"))).tools == []


def test_the_prompt_of_the_page_is_accepted() -> None:
    for block in blocks(PAGE, "json"):
        assert read_prompt(json.loads(block)).options is not None


def test_every_option_is_on_the_page_with_what_it_replaces() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|none) \|", PAGE, re.MULTILINE))
    assert set(rows) == set(PromptOptions.model_fields)
    assert set(rows.values()) - {""} <= {field.name for field in fields(Agent)}


def test_what_the_agent_says_of_busy_threads_is_a_mode(planner: Agent) -> None:
    assert planner.busy_mode in get_args(Mode)
