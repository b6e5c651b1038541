"""What an agent is, and what a prompt makes of it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.agent import Agent, Tool, with_options
from domain.errors import InputRefusedError
from domain.prompts import PromptOptions
from domain.stopping import step_count


def tool(name: str) -> Tool:
    return Tool(name, "", {}, lambda _: {}, lambda: None)


AGENT = Agent("a", tools=(tool("look"), tool("pay"), tool("fly")), options={"temperature": 0.1, "seed": 7})
OPTIONS: dict[str, Any] = {
    "model": ["groq/llama", "openai/gpt-5-nano"],
    "instructions": ["Rhyme.", "In verse."],
    "settings": {"temperature": 0.9},
    "max_steps": 3,
    "max_tokens": 100,
    "max_seconds": 1.5,
    "recent_messages": 0,
    "exclude_tool_messages": True,
    "output": ["yes", "no"],
    "tool_choice": "pay",
    "parallel_tool_calls": False,
}
OF_AGENT = {"settings": "options"}  # what an option is called there


def test_every_option_of_a_prompt_is_tried_here() -> None:
    assert {*OPTIONS, "tools", "stop_after_tools", "context_prompt", "searchable"} == set(PromptOptions.model_fields)


@given(st.sets(st.sampled_from(sorted(OPTIONS))))
def test_each_option_replaces_the_agents_as_a_whole_and_nothing_else(given_options: set[str]) -> None:
    """So settings are not merged: `seed` is gone when a prompt gives settings without it."""
    chosen = {name: OPTIONS[name] for name in given_options}
    expected = {OF_AGENT.get(name, name): value for name, value in chosen.items()}
    assert with_options(AGENT, PromptOptions(**chosen)) == replace(AGENT, **expected)


@pytest.mark.parametrize(("names", "kept"), [(["fly", "look"], ["look", "fly"]), ([], []), (["pay", "pay"], ["pay"])])
def test_a_prompt_may_use_some_of_the_agents_tools(names: list[str], kept: list[str]) -> None:
    assert [t.name for t in with_options(AGENT, PromptOptions(tools=names)).tools] == kept


def test_a_prompt_that_takes_a_tool_away_takes_away_that_it_must_be_called() -> None:
    forced = replace(AGENT, tool_choice="pay")
    assert with_options(forced, PromptOptions(tools=["look"])).tool_choice == "auto"
    assert with_options(forced, PromptOptions(tools=["pay"])).tool_choice == "pay"
    assert with_options(forced, PromptOptions(tools=["look"], tool_choice="look")).tool_choice == "look"


def test_a_prompt_replaces_the_conditions_of_the_agent() -> None:
    stopping = replace(AGENT, stop=[step_count(1)])
    [condition] = with_options(stopping, PromptOptions(stop_after_tools=["pay"])).stop
    assert condition is not stopping.stop[0]
    assert with_options(stopping, PromptOptions(stop_after_tools=[])).stop == []


def test_a_tool_that_the_agent_does_not_have_is_told_with_the_choice() -> None:
    with pytest.raises(InputRefusedError, match="has no tool 'dig'; its tools are: look, pay, fly"):
        with_options(AGENT, PromptOptions(tools=["look", "dig"]))
    with pytest.raises(InputRefusedError, match="its tools are: none"):
        with_options(Agent("b"), PromptOptions(tools=["look"]))


@pytest.mark.parametrize("options", [{"max_tokens": 10**15}, {"max_seconds": 1e-9}])
def test_an_option_that_no_agent_could_have_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match=next(iter(options))):
        with_options(AGENT, PromptOptions(**options))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_steps": 0},
        {"max_tokens": 0},
        {"max_seconds": 0},
        {"max_repeats": 1},
        {"max_failing_steps": 0},
        {"recent_messages": -1},
        {"max_message_tokens": 10},
        {"recalled_share": 1.0},
        {"busy_mode": "wait"},
        {"instructions": ["Be brief.", 5]},
        {"tools": (tool("look"), tool("look"))},
        {"output": ["yes", "yes"]},
        {"stop": "pay"},
        {"model": []},
        {"provider_tools": [{"type": "function"}]},
        {"tool_choice": "a b"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_an_agent_that_cannot_work_is_told_in_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^agent 'a': ") as caught:
        Agent("a", **wrong)
    assert next(iter(wrong)).removesuffix("s") in str(caught.value)


def test_an_agent_needs_nothing_but_a_name() -> None:
    required = [field.name for field in fields(Agent) if field.default is field.default_factory]
    assert required == ["name"]
    assert Agent("a").busy_mode == "queue"
