"""The agents that a user has defined are found, and mistakes are told before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.live import discover
from catalog.registry import Registry
from catalog.tools.clock import current_time
from domain.agent import Agent
from domain.errors import SetupError, UnknownAgentError
from runtime.settings import Settings


async def test_the_agents_of_the_catalog_load() -> None:
    registry = discover("assistant")
    assert {"assistant", "timekeeper"} <= set(registry.names())
    assert registry.default == "assistant"
    assert (await registry.agent("timekeeper")).tools == (current_time,)
    assert all([(await registry.agent(name)).description for name in registry.names()])


def test_the_agent_of_the_settings_is_there_by_default() -> None:
    assert Settings.model_fields["agent"].default in discover("assistant").names()


def test_an_unknown_default_is_told_with_the_setting_and_the_choice() -> None:
    with pytest.raises(SetupError, match=r"EVERTHREAD_AGENT is 'nobody', but the agents are: .*assistant"):
        discover("nobody")


def test_two_agents_of_one_name_are_told() -> None:
    with pytest.raises(SetupError, match="two agents are named 'a'"):
        Registry([Agent("a"), Agent("a")], "a")


async def test_an_unknown_agent_is_told_with_the_choice() -> None:
    with pytest.raises(UnknownAgentError, match="there is no agent 'x'; the agents are: a, b"):
        await Registry([Agent("b"), Agent("a")], "a").agent("x")


@pytest.mark.parametrize("fields", [{"max_steps": 0}, {"max_steps": 901}, {"tools": (current_time, current_time)}])
def test_an_agent_that_cannot_work_is_refused_when_it_is_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="agent 'a'"):
        Agent("a", **fields)


def test_the_clock_tells_the_time_anywhere() -> None:
    assert "UTC" in current_time.function()
    assert "CE" in current_time.function(timezone="Europe/Zurich")  # CET or CEST


@pytest.mark.parametrize("zone", ["Nowhere/Atall", "", "../etc/passwd", "/etc/passwd", "Europe", "\x00", "x" * 300])
def test_the_clock_says_what_a_zone_is_called(zone: str) -> None:
    with pytest.raises(ValueError, match="is not an IANA time zone such as Europe/Zurich"):
        current_time.function(timezone=zone)
