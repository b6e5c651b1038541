"""docs/together.md can be trusted: its agents load, and its commands are there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from catalog.registry import Registry
from client.commands.threads import app
from domain.agent import Agent
from domain.routing import RouteInfo
from tests.pages import blocks, page, run

PAGE = page("together")


@pytest.fixture
def registry() -> Registry:
    return Registry([value for value in run(PAGE).values() if isinstance(value, Agent)], "front-desk")


async def test_the_agents_of_the_page_load(registry: Registry) -> None:
    assert registry.names() == ["clerk", "front-desk", "lead", "researcher"]
    offered = [tool.name for tool in (await registry.agent("lead")).tools]
    assert offered == ["ask_researcher", "ask_clerk", "transfer_to_front-desk"]


@pytest.mark.parametrize(("plan", "agent"), [("pro", "lead"), ("free", None)])
async def test_the_route_of_the_page_chooses(registry: Registry, plan: str, agent: str | None) -> None:
    route: Any = (await registry.agent("front-desk")).route
    info = RouteInfo("front-desk", "t", 1, "Hi", agents=registry.names(), metadata={"plan": plan})
    assert route(info) == agent


def test_the_commands_of_the_page_are_there() -> None:
    used = re.findall(r"cli\.py threads (\S+)", "\n".join(blocks(PAGE, "sh")))
    assert used == ["take-over", "say", "hand-back"]
    known = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }
    assert set(used) <= known
