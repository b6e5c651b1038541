"""The support agent as a careful house has it: what leaves the house is looked at first."""

from __future__ import annotations

from dataclasses import replace

from catalog.agents.support import support
from domain.approvals import ApprovalPolicy

supervised = replace(
    support,
    name="supervised",
    description="Helps customers; a person approves its tickets and mails.",
    approvals=ApprovalPolicy(require=("fileTicket", "sendEmail")),
)
