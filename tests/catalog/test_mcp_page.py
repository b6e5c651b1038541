"""docs/mcp.md can be trusted: its example works, and its table names what there is."""

from __future__ import annotations

import re
from dataclasses import fields

from domain.agent import Agent
from domain.mcp import McpServer
from gateway.mcp_server import Desk
from tests.pages import page, run

PAGE = page("mcp")
OF_OTHERS, OURS = PAGE.split("\n## Agents as tools of other programs\n")


def rows(text: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_the_agent_of_the_page_can_be_made() -> None:
    agent: Agent = run(OF_OTHERS)["clerk"]
    assert [server.name for server in agent.mcp] == ["files", "tickets"]


def test_the_table_tells_every_field_of_a_server() -> None:
    assert rows(OF_OTHERS) == {field.name for field in fields(McpServer)}


def test_the_table_tells_every_tool_of_ours() -> None:
    assert rows(OURS) == {name for name in vars(Desk) if not name.startswith("_")}
