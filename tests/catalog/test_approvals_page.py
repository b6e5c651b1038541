"""docs/approvals.md can be trusted: its example works, and its commands are ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from client.commands import threads
from domain.agent import Agent

PAGE = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text(encoding="utf-8")


def test_the_agent_of_the_page_works() -> None:
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/approvals.md", "exec"), names)
    clerk: Agent = names["clerk"]
    refund, measure = clerk.tools
    assert callable(refund.needs_approval)
    assert (refund.needs_approval({"amount": 101}), refund.needs_approval({"amount": 100})) == (True, False)
    assert measure.outside
    assert clerk.approvals.asks("delete_all", wanted=False)


def test_the_commands_of_the_page_exist() -> None:
    shown = set(re.findall(r"cli\.py threads (\w+)", PAGE))
    assert shown == {"calls", "approve", "deny", "supply"}
    assert shown <= {
        command.name or getattr(command.callback, "__name__", "") for command in threads.app.registered_commands
    }
