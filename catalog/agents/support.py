"""A support agent: it looks up accounts, files tickets and sends mails, over a stand-in for a help desk."""

from __future__ import annotations

from pathlib import Path

from catalog.tools.support import Desk, account_lookup, file_ticket, send_email
from domain.agent import Agent

support = Agent(
    name="support",
    description="Answers customers: looks up accounts, files tickets, sends emails.",
    instructions=[
        "You are the support agent of a shop. Answer briefly and kindly.",
        "Look up the account before you say anything about orders.",
        "File a ticket for what you cannot settle yourself. Send an email only if the customer asks for one.",
    ],
    tools=(account_lookup, file_ticket, send_email),
    deps=Desk(Path(".everthread", "support")),
)
