"""What may be asked to be forgotten, and the words in which the rest is refused."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from domain.erasure import Part, read_erasure, read_forget
from domain.errors import InputRefusedError
from domain.ledger import ENDED_KEPT
from domain.prompts import Prompt
from domain.state import Shown
from domain.thread import ThreadState
from domain.wishes import TurnReport

ID = str(uuid4())


@pytest.mark.parametrize(
    ("value", "whole", "person", "subject"),
    [
        ({"thread": "t"}, True, None, "thread t"),
        ({"thread": "t", "turns": {"first": 2, "last": 3}}, False, None, "thread t, turns 2 to 3"),
        ({"thread": "t", "before": 5.0}, False, None, "thread t, older than 5"),
        ({"messages": [ID]}, False, None, "1 messages"),
        ({"owner": "ada"}, True, Part(tenant="", owner="ada"), "owner "),
        ({"owner": "ada", "tenant": "shop"}, True, Part(tenant="shop", owner="ada"), "owner "),
        ({"tenant": "shop", "before": 5.0}, False, Part(tenant="shop"), "tenant "),
    ],
)
def test_an_erasure_says_what_it_is_about(
    value: dict[str, Any], whole: bool, person: Part | None, subject: str
) -> None:
    request = read_erasure(value)
    assert (request.whole_threads, request.person) == (whole, person)
    assert request.subject().startswith(subject)
    assert "ada" not in request.subject()
    assert "shop" not in request.subject()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "one of messages, thread, owner or tenant; nothing is named"),
        ({"before": 5.0}, "nothing is named"),
        ({"thread": "t", "owner": "ada"}, "thread and owner are given"),
        ({"messages": [ID], "thread": "t"}, "messages and thread are given"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages.0"),
        ({"messages": [ID] * 1_001}, "messages"),
        ({"owner": "ada", "turns": {"first": 1, "last": 2}}, "turns, which are of a thread"),
        ({"thread": "t", "turns": {"first": 3, "last": 2}}, "turns ends with turn 2, before its first, 3"),
        ({"thread": "t", "turns": {"first": 1, "last": 2}, "before": 5.0}, "leave it out"),
        ({"messages": [ID], "histories": True}, "with whole threads only"),
        ({"thread": "a/b"}, "thread is none: thread id 'a/b'"),
        ({"thread": "t", "before": 101.0}, "lies ahead, it is 100"),
        ({"thread": "t", "colour": 1}, "'colour' is not a field"),
        ([], "an erasure is a JSON object such as"),
    ],
)
def test_what_cannot_be_erased_is_refused_in_words(value: Any, words: str) -> None:
    with pytest.raises(InputRefusedError) as refused:
        read_erasure(value, now=100.0)
    assert words in str(refused.value)


# --- the thread's own memory


def test_a_thread_shows_an_erased_turn_no_more_and_still_knows_its_prompt() -> None:
    state = ThreadState(
        shown=[Shown(turn=n, prompt=f"p{n}", answer="x", status="answered") for n in (1, 2)],
        ended={f"p{n}": TurnReport(prompt_id=f"p{n}", status="answered", turn=n, text="card") for n in (1, 2)},
        recent={"p1": "d", "p2": "e"},
    )
    assert state.erase(["p1"], []) == []
    assert [shown.turn for shown in state.shown] == [2]
    assert state.ended["p1"] == TurnReport(prompt_id="p1", status="answered", turn=1)
    assert state.ended["p2"].text == "card"
    assert state.recent == {"p1": "d", "p2": "e"}


def test_what_waits_or_runs_is_not_forgotten() -> None:
    state = ThreadState(epoch=1, agent="a")
    for name in ("p1", "p2"):
        state.admit(Prompt(id=name, content="Hi"))
    state.start_turn()
    assert state.erase(["p1", "p2", "p0"], [1]) == ["p1", "p2"]
    assert state.running is not None


def test_a_turn_whose_end_is_no_longer_kept_is_forgotten_by_its_number() -> None:
    state = ThreadState(shown=[Shown(turn=7, prompt="card", answer="x", status="answered")])
    assert len(state.ended) < ENDED_KEPT
    state.erase(["p7"], [7])
    assert state.shown == []


@pytest.mark.parametrize(
    "value", [{}, {"prompt_ids": []}, {"prompt_ids": ["a b"]}, {"prompt_ids": ["p"], "turns": [0]}]
)
def test_what_a_thread_cannot_forget_is_refused(value: Any) -> None:
    with pytest.raises(InputRefusedError):
        read_forget(value)
