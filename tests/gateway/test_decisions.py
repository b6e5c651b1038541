"""What a person answers in the chat about a call that waits."""

from __future__ import annotations

from typing import Any

import pytest

from domain.approvals import Resolution
from domain.errors import UnknownCallError
from domain.events import Event
from gateway.decisions import Decisions
from gateway.notes import resolved_words

DIGEST = "0" * 20


def waiting(call_id: str = "c1", waits: str = "approval", **fields: Any) -> Event:
    data = {"call_id": call_id, "tool": "pay", "arguments": '{"amount": 5}', "waits": waits, "digest": DIGEST}
    return Event(id="1.1", kind="tool.waiting", data=data | fields)


def heard(*events: Event) -> Decisions:
    decisions = Decisions("t", "eve")
    for event in events:
        decisions.hear(event)
    return decisions


def decide(decisions: Decisions, said: str) -> tuple[str, Resolution]:
    """What was asked first is answered."""
    asked = decisions.first
    assert asked is not None
    return decisions.decide(asked, said)


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
    thread, decided = decide(heard(waiting()), said)
    assert (thread, decided.call_id, decided.by) == ("t", "c1", "eve")
    assert (decided.decision, decided.reason) == (decision, reason)


def test_an_approval_is_bound_to_the_call_that_was_shown() -> None:
    decisions = heard(waiting())
    assert decisions.question() == 'pay {"amount": 5} — run it? (yes, or no and why)'
    assert decide(decisions, "yes")[1].digest == DIGEST


@pytest.mark.parametrize(("said", "result"), [('{"cm": 5}', {"cm": 5}), ("a foot", "a foot")])
def test_the_result_of_a_call_that_others_run_may_be_typed(said: str, result: Any) -> None:
    decisions = heard(waiting(waits="result"))
    assert decisions.question().endswith("its result?")
    assert decide(decisions, said)[1].result == result


def test_calls_are_asked_about_one_after_the_other_until_somebody_decides() -> None:
    decisions = heard(waiting("c1"), waiting("c2"), waiting("c3"))
    assert decide(decisions, "yes")[1].call_id == "c1"
    assert decisions.hear(Event(id="1.2", kind="tool.resolved", data={"call_id": "c2"}))
    assert decide(decisions, "yes")[1].call_id == "c3"
    assert not decisions.pending


def test_nothing_is_asked_any_more_when_the_turn_has_ended() -> None:
    decisions = heard(waiting())
    assert decisions.hear(Event(id="1.2", kind="turn.finished", data={}))
    assert not decisions.pending


def test_a_call_cannot_drive_the_terminal() -> None:
    decisions = heard(waiting(tool="p\x1b[2Jay", arguments="\x1b[31m"))
    assert "\x1b" not in decisions.question()


def test_a_call_of_an_agent_that_is_asked_is_decided_on_its_own_thread() -> None:
    decisions = heard(waiting("c1"))
    assert decisions.hear(waiting("c1", agent="clerk"), "sub-1")
    assert decide(decisions, "yes")[0] == "t"
    assert decisions.question().startswith("clerk: pay ")
    assert decide(decisions, "yes")[0] == "sub-1"


def test_the_end_of_one_thread_leaves_what_waits_on_another() -> None:
    decisions = heard(waiting("c1"))
    decisions.hear(waiting("c2"), "sub-1")
    assert decisions.hear(Event(id="1.2", kind="turn.finished", data={}), "sub-1")
    assert decide(decisions, "yes")[1].call_id == "c1"
    assert not decisions.pending


def test_what_somebody_else_decided_is_told() -> None:
    data = {
        "call_id": "c1",
        "tool": "pay",
        "decision": "deny",
        "by": "the deadline",
        "reason": "nobody decided in time",
    }
    event = Event(id="1.2", kind="tool.resolved", data=data)
    assert resolved_words(event) == "pay was denied by the deadline: nobody decided in time"


def test_an_answer_is_about_the_call_that_was_asked_about_and_no_other() -> None:
    decisions = heard(waiting("c1"), waiting("c2"))
    asked = decisions.first
    assert asked is not None
    decisions.hear(Event(id="1.2", kind="tool.resolved", data={"call_id": "c1"}))
    with pytest.raises(UnknownCallError, match="waits no more"):
        decisions.decide(asked, "yes")
    assert decisions.question().startswith("pay ")


def test_of_long_arguments_the_rest_can_be_seen_too() -> None:
    long = '{"to": "' + "x" * 400 + '", "amount": 5000}'
    decisions = heard(waiting(arguments=long))
    assert "5000" not in decisions.question()
    assert decisions.rest() == long
    assert heard(waiting()).rest() is None
