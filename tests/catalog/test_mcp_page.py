"""docs/mcp.md can be trusted: its example works, and its table names what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from domain.agent import Agent
from domain.mcp import McpServer

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")


def test_the_agent_of_the_page_can_be_made() -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/mcp.md", "exec"), names)
    agent: Agent = names["clerk"]
    assert [server.name for server in agent.mcp] == ["files", "tickets"]


def test_the_table_tells_every_field_of_a_server() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert told == {field.name for field in fields(McpServer)}
