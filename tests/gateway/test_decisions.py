"""What a person answers in the chat about a call that waits."""

from __future__ import annotations

from typing import Any

import pytest

from domain.events import Event
from gateway.decisions import Decisions

DIGEST = "0" * 20


def waiting(call_id: str = "c1", waits: str = "approval", **fields: Any) -> Event:
    data = {"call_id": call_id, "tool": "pay", "arguments": '{"amount": 5}', "waits": waits, "digest": DIGEST}
    return Event(id="1.1", kind="tool.waiting", data=data | fields)


def heard(*events: Event) -> Decisions:
    decisions = Decisions("eve")
    for event in events:
        decisions.hear(event)
    return decisions


@pytest.mark.parametrize(
    ("said", "decision", "reason"),
    [
        ("yes", "approve", None),
        (" Y ", "approve", None),
        ("no", "deny", None),
        ("no, too much", "deny", "too much"),
        ("ask me tomorrow", "deny", "ask me tomorrow"),
    ],
)
def test_anything_but_a_yes_is_a_no(said: str, decision: str, reason: str | None) -> None:
    decided = heard(waiting()).decide(said)
    assert (decided.call_id, decided.decision, decided.reason, decided.by) == ("c1", decision, reason, "eve")


def test_an_approval_is_bound_to_the_call_that_was_shown() -> None:
    decisions = heard(waiting())
    assert decisions.question() == 'pay {"amount": 5} — run it? (yes, or no and why)'
    assert decisions.decide("yes").digest == DIGEST


@pytest.mark.parametrize(("said", "result"), [('{"cm": 5}', {"cm": 5}), ("a foot", "a foot")])
def test_the_result_of_a_call_that_others_run_may_be_typed(said: str, result: Any) -> None:
    decisions = heard(waiting(waits="result"))
    assert decisions.question().endswith("its result?")
    assert decisions.decide(said).result == result


def test_calls_are_asked_about_one_after_the_other_until_somebody_decides() -> None:
    decisions = heard(waiting("c1"), waiting("c2"), waiting("c3"))
    assert decisions.decide("yes").call_id == "c1"
    assert decisions.hear(Event(id="1.2", kind="tool.resolved", data={"call_id": "c2"}))
    assert decisions.decide("yes").call_id == "c3"
    assert not decisions.pending


def test_nothing_is_asked_any_more_when_the_turn_has_ended() -> None:
    decisions = heard(waiting())
    assert decisions.hear(Event(id="1.2", kind="turn.finished", data={}))
    assert not decisions.pending


def test_a_call_cannot_drive_the_terminal() -> None:
    decisions = heard(waiting(tool="p\x1b[2Jay", arguments="\x1b[31m"))
    assert "\x1b" not in decisions.question()
