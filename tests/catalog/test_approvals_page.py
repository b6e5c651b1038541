"""docs/approvals.md can be trusted: its example works, and its commands are ours."""

from __future__ import annotations

import re

from client.commands import threads
from domain.agent import Agent
from tests.pages import page, run

PAGE = page("approvals")


def test_the_agent_of_the_page_works() -> None:
    clerk: Agent = run(PAGE)["clerk"]
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
