"""The help desk of the support agent: nothing is filed twice, and nothing that was confirmed is lost."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catalog.agents.support import support
from catalog.tools.support import Desk, account_lookup, file_ticket, send_email
from domain.agent import Tool
from domain.errors import ToolError
from domain.tooling import ToolContext


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def lines(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (desk.folder / name).read_text(encoding="utf-8").splitlines()]


def use(tool: Tool, desk: Desk, key: str = "k", **arguments: Any) -> Any:
    return tool.function(**tool.parse(json.dumps(arguments)), context=ToolContext(desk, thread="t", key=key))


TICKET = {"subject": "Kettle", "description": "It leaks. ä\U0001f600\nada@example.com"}
MAIL = {"to": "ADA@example.com", "subject": "Hello", "body": "Yes."}


def test_the_support_agent_has_the_three_tools_of_which_two_write() -> None:
    effects = {tool.name: tool.effect for tool in support.tools}
    assert effects == {"accountLookup": "read", "fileTicket": "write", "sendEmail": "write"}


def test_what_has_the_same_key_is_filed_once(desk: Desk) -> None:
    assert use(file_ticket, desk, **TICKET) == use(file_ticket, desk, **TICKET) == "Filed as ticket 1."
    assert use(file_ticket, desk, "other", **TICKET) == "Filed as ticket 2."
    assert [line["key"] for line in lines(desk, "tickets.jsonl")] == ["k", "other"]
    assert lines(desk, "tickets.jsonl")[0]["description"] == TICKET["description"]


def test_many_at_once_are_all_kept(desk: Desk) -> None:
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda n: use(send_email, desk, f"k{n % 50}", **MAIL), range(100)))
    assert len(set(said)) == len(lines(desk, "mails.jsonl")) == 50


def test_a_line_that_a_crash_cut_off_is_filed_anew(desk: Desk) -> None:
    use(file_ticket, desk, **TICKET)
    with (desk.folder / "tickets.jsonl").open("ab") as file:
        file.write(b'{"key": "half", "subj')
    assert use(file_ticket, desk, "half", **TICKET) == "Filed as ticket 2."
    assert [line["key"] for line in lines(desk, "tickets.jsonl")] == ["k", "half"]


def test_accounts_are_found_by_their_address_however_it_is_written(desk: Desk) -> None:
    assert use(account_lookup, desk, email=" Ada@Example.com ").plan == "pro"


@pytest.mark.parametrize("email", ["eve@example.com", "ada", "", "@", "ada@example.com\nbcc: x@example.com"])
def test_an_address_that_is_nobodys_is_told_in_words(desk: Desk, email: str) -> None:
    for tool, arguments in ((account_lookup, {"email": email}), (send_email, MAIL | {"to": email})):
        with pytest.raises(ToolError, match=r"no account of|no customer of ours|not an email address"):
            use(tool, desk, **arguments)
    assert not (desk.folder / "mails.jsonl").exists()
