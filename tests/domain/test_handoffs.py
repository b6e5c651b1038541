"""What an agent is offered for handing over, and what of a prompt's options goes along."""

from __future__ import annotations

import pytest

from catalog.agent_tool import agent_tool
from catalog.registry import Registry
from domain.agent import Agent
from domain.errors import SetupError
from domain.handoffs import REASON_CHARS, options_after, with_handoffs
from domain.prompts import PromptOptions

ASK = agent_tool("b", description="Knows.")
AGENTS = {
    agent.name: agent for agent in (Agent("a", handoffs=("b", "c.d")), Agent("b"), Agent("c.d", description="Pays."))
}


def test_each_hand_off_is_a_tool_that_says_to_whom() -> None:
    tools = with_handoffs(AGENTS["a"], AGENTS).tools
    assert [tool.name for tool in tools] == ["transfer_to_b", "transfer_to_c_d"]
    assert tools[1].description == "Hand this conversation over to the agent c.d, who answers from now on. Pays."


def test_it_is_the_same_however_often_it_is_done() -> None:
    once = with_handoffs(AGENTS["a"], AGENTS)
    assert with_handoffs(once, AGENTS) == once


@pytest.mark.parametrize("arguments", ["", "{", "[]", '{"reason": 5}', '{"because": "x"}', "null"])
def test_a_reason_that_cannot_be_read_is_none(arguments: str) -> None:
    [tool, _] = with_handoffs(AGENTS["a"], AGENTS).tools
    assert tool.parse(arguments) == {"reason": ""}


def test_a_long_reason_is_cut() -> None:
    [tool, _] = with_handoffs(AGENTS["a"], AGENTS).tools
    assert tool.parse(f'{{"reason": "{"x" * 9_999}"}}') == {"reason": "x" * REASON_CHARS}


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (Agent("a", handoffs=("x",)), "agent 'a': handoffs names agent 'x', but the agents are: a, b"),
        (
            Agent("a", tools=(agent_tool("x", description="?"),)),
            "agent 'a': a tool names agent 'x', but the agents are: a, b",
        ),
    ],
)
def test_an_agent_that_names_one_that_is_not_there_is_refused_at_the_start(agent: Agent, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        Registry([agent, Agent("b")], "a")


@pytest.mark.parametrize("handoffs", [("a",), ("b", "b")])
def test_an_agent_hands_over_to_others_each_once(handoffs: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="handoffs names other agents, each once"):
        Agent("a", handoffs=handoffs)


def test_options_go_along_as_far_as_they_fit() -> None:
    options = PromptOptions(
        tools=["ask_b", "look"], tool_choice="look", instructions="x", max_steps=3, settings={"seed": 1}
    )
    assert options_after(options, Agent("a", tools=(ASK,))) == PromptOptions(
        tools=["ask_b"], max_steps=3, settings={"seed": 1}
    )
    assert options_after(PromptOptions(), Agent("a")) == PromptOptions()
