"""What was decided about a call that waited, as its row keeps it and the model reads it."""

from __future__ import annotations

from typing import Any

from activities.results import Outcome, as_text
from domain.approvals import Resolution
from domain.messages import Message


def decided_changes(resolution: Resolution, now: float) -> dict[str, Any]:
    """Of a row that waits no more."""
    return {"waits": None, "decision": resolution.model_dump(mode="json"), "decided_at": now}


def resolution_of(row: Message) -> Resolution | None:
    return None if row.decision is None else Resolution.model_validate(row.decision)


def outcome_of(decided: Resolution) -> Outcome | None:
    """Of a call that is not run; None if it is."""
    said = f"The call {decided.sentence()}"
    match decided.decision:
        case "approve":
            return None
        case "result":
            return Outcome(as_text(decided.result))
        case "deny":
            return Outcome(said, failed=True, status="denied")
        case "error":
            return Outcome(said, failed=True)
