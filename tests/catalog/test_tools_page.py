"""docs/tools.md can be trusted: its example works, and its table names what there is."""

from __future__ import annotations

import inspect
import re
import sys
from types import ModuleType
from typing import Any

import pytest

from catalog.installed import GROUP
from catalog.tool import tool
from domain.agent import AgentFactory
from domain.errors import ToolError
from domain.tooling import Asker, ToolContext
from tests.pages import page, run

PAGE = page("tools")


async def test_the_tools_of_the_page_work(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    names = run(PAGE, vars(module))
    buyer = names["buyer"]
    assert isinstance(buyer, AgentFactory)
    agent: Any = buyer.build(Asker(tenant="acme", owner="ada"))
    search, order = agent.tools
    context = ToolContext(agent.deps, key="k")
    values = [list(value) async for value in search.function("kettle", context)]
    assert [len(value) for value in values] == [1, 2, 3]
    assert await order.function(values[-1][0], context) == "Ordered under k."
    line: Any = context.line
    assert (len(line.reports), line.said) == (3, ["I am ordering https://acme.example/kettle/0 now."])
    with pytest.raises(ToolError):
        await order.function("a house", context)


def test_every_option_of_a_tool_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(inspect.signature(tool).parameters)


def test_the_entry_point_group_of_the_page_is_the_one() -> None:
    assert f'"{GROUP}"' in PAGE
