"""What a support agent does: look up an account, file a ticket, send a mail. Over small stand-ins on this machine.

To use a real help desk, write another `Desk`: the tools only know its three methods.
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from catalog.tool import tool
from domain.errors import ToolError
from domain.tooling import ToolContext

ACCOUNTS = {
    "ada@example.com": {"name": "Ada", "plan": "pro", "orders": ["A-17: a kettle, sent on Monday"]},
    "bob@example.com": {"name": "Bob", "plan": "free", "orders": []},
}
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

Email = Annotated[str, Field(description="An email address.", max_length=254)]
Text = Annotated[str, Field(min_length=1, max_length=5_000)]


class Account(BaseModel):
    """What is known of a customer."""

    email: str
    name: str
    plan: str
    orders: list[str]


@dataclass
class Desk:
    """Tickets and mails as lines of JSON in a folder. What has the key of a line that is there is not written again."""

    folder: Path
    accounts: dict[str, dict[str, Any]] = field(default_factory=lambda: ACCOUNTS)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def account(self, email: str) -> Account | None:
        found = self.accounts.get(email.strip().lower())
        return Account(email=email.strip().lower(), **found) if found else None

    def file_ticket(self, key: str, ticket: dict[str, Any]) -> int:
        """Returns its number, the same for the same key."""
        return self._write("tickets.jsonl", key, ticket)

    def send_mail(self, key: str, mail: dict[str, Any]) -> int:
        """Returns its number, the same for the same key."""
        return self._write("mails.jsonl", key, mail)

    def _write(self, name: str, key: str, record: dict[str, Any]) -> int:
        path = self.folder / name
        with self._lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            keys = self._keys(path)
            if key in keys:
                return keys.index(key) + 1
            line = json.dumps({"key": key, "at": datetime.now(UTC).isoformat()} | record, ensure_ascii=False)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
                file.flush()
                os.fsync(file.fileno())
            return len(keys) + 1

    @staticmethod
    def _keys(path: Path) -> list[str]:
        """Of the lines there are. One that a crash has cut off is taken away: it was never confirmed."""
        if not path.exists():
            return []
        whole, _, cut = path.read_bytes().rpartition(b"\n")
        if cut:
            os.truncate(path, len(whole) + 1 if whole else 0)
        return [json.loads(line)["key"] for line in whole.splitlines()]


@tool(name="accountLookup", effect="read", retries=2, examples=[{"email": "ada@example.com"}])
def account_lookup(email: Email, context: ToolContext[Desk]) -> Account:
    """Look up a customer's account: name, plan and orders."""
    account = context.deps.account(_address(email))
    if account is None:
        raise ToolError(f"There is no account of {email}. Ask the customer for the address they signed up with.")
    return account


@tool(name="fileTicket", effect="write")
def file_ticket(
    subject: Annotated[str, Field(min_length=1, max_length=200)],
    description: Text,
    context: ToolContext[Desk],
    priority: Literal["low", "normal", "high"] = "normal",
) -> str:
    """File a ticket for a person of the support team.

    Args:
        subject: What it is about, in a few words.
        description: All that the person must know, the customer's email address too.
        context: The call.
        priority: How soon somebody must look at it.
    """
    ticket = {"subject": subject, "description": description, "priority": priority, "thread": context.thread}
    return f"Filed as ticket {context.deps.file_ticket(context.key, ticket)}."


@tool(name="sendEmail", effect="write")
def send_email(
    to: Email, subject: Annotated[str, Field(min_length=1, max_length=200)], body: Text, context: ToolContext[Desk]
) -> str:
    """Send an email to a customer who has an account."""
    account = context.deps.account(_address(to))
    if account is None:
        raise ToolError(f"{to} is no customer of ours: mails go to addresses that accountLookup finds.")
    mail = {"to": account.email, "subject": subject, "body": body, "thread": context.thread}
    return f"Sent as mail {context.deps.send_mail(context.key, mail)}."


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text.strip()):
        raise ToolError(f"{text!r} is not an email address such as ada@example.com.")
    return text
