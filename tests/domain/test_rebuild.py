"""A thread that Temporal lost, or that was terminated, opens again from the store where it stood."""

from __future__ import annotations

import json
from typing import Any

from domain import ids
from domain.ledger import RECENT_IDS
from domain.messages import Message, ThreadRecord
from domain.prompts import Prompt
from domain.rebuild import rebuild, waiting_of
from domain.thread import IDLE_ROLL_S, ThreadState, upgrade

RECORD = ThreadRecord(thread="t", tenant="acme", owner="ada", agent="assistant", turns=3, epoch=2)


def prompt(prompt_id: str) -> Prompt:
    return Prompt(id=prompt_id, content=f"Text of {prompt_id}")


def ended(prompt_id: str, turn: int, status: Any = "answered") -> Message:
    return saved(prompt_id, 0).model_copy(update={"turn": turn, "seq": ids.first_seq(turn), "status": status})


def running(prompt_id: str, turn: int) -> Message:
    return ended(prompt_id, turn, "pending").model_copy(update={"agent": "poet"})


def saved(prompt_id: str, place: int) -> Message:
    return Message(
        id=ids.message_id("t", prompt_id, "prompt"),
        thread="t",
        prompt_id=prompt_id,
        slot="prompt",
        role="user",
        seq=ids.WAITING_SEQ + place,
        text=f"Text of {prompt_id}",
        digest=prompt(prompt_id).digest(),
    )


def checkpoint_with(*waiting: str) -> ThreadState:
    state = ThreadState(epoch=1, agent="assistant")
    for prompt_id in waiting:
        state.admit(prompt(prompt_id))
    return upgrade(json.loads(json.dumps(state.carried())))


def test_a_new_thread_starts_with_turn_one() -> None:
    record = ThreadRecord(thread="t", agent="poet", owner="ada", tenant="acme", epoch=1)
    state = rebuild(None, record, [], [], [])
    assert state == ThreadState(epoch=1, idle_roll_s=IDLE_ROLL_S, agent="poet", owner="ada", tenant="acme")


def test_turn_numbers_go_on_where_they_stood() -> None:
    state = rebuild(None, RECORD, [ended("a", 1), ended("b", 2)], [], [])
    assert state.next_turn == 4
    assert state.running is None


def test_a_turn_that_was_cut_off_runs_again_under_its_number() -> None:
    cut = running("b", 4)
    state = rebuild(None, RECORD, [ended("a", 3), cut], [cut], [])
    assert state.running is not None
    assert (state.running.prompt_id, state.running.turn, state.running.step) == ("b", 4, 0)
    assert (state.running.agent, state.running.digest) == ("poet", cut.digest)
    assert state.next_turn == 5
    assert state.inbox == []


def test_prompts_that_waited_wait_again_in_their_order() -> None:
    cut = running("b", 4)
    state = rebuild(None, RECORD, [ended("a", 3), cut], [cut, saved("c", 1), saved("d", 2)], [])
    assert [waiting.id for waiting in state.inbox] == ["c", "d"]
    assert all(waiting.saved for waiting in state.inbox)
    assert state.ready()


def test_a_prompt_that_only_the_checkpoint_has_is_not_lost() -> None:
    checkpoint = checkpoint_with("a")
    state = rebuild(checkpoint, RECORD, [], [], checkpoint.inbox)
    assert [waiting.prompt for waiting in state.inbox] == [prompt("a")]


def test_prompts_of_the_checkpoint_keep_their_place_before_later_ones() -> None:
    checkpoint = checkpoint_with("first", "second")
    second, later = saved("second", checkpoint.inbox[1].place), saved("third", 3)
    state = rebuild(checkpoint, RECORD, [], [second, later], checkpoint.inbox[:1])
    assert [waiting.id for waiting in state.inbox] == ["first", "second", "third"]


def test_every_known_prompt_is_a_duplicate_after_the_opening() -> None:
    checkpoint = checkpoint_with("w")
    cut = running("b", 4)
    state = rebuild(checkpoint, RECORD, [ended("a", 3), cut], [cut, saved("c", 2)], checkpoint.inbox)
    assert [state.admit(prompt(name)).disposition for name in "abcw"] == ["duplicate"] * 4


def test_what_waits_or_runs_is_never_forgotten_after_the_opening() -> None:
    checkpoint = checkpoint_with("w")
    old = [ended(f"old{number}", number) for number in range(1, RECENT_IDS)]
    cut = running("cut", RECENT_IDS)
    state = rebuild(checkpoint, RECORD, [*old, cut], [cut, saved("c", 2)], checkpoint.inbox)
    for number in range(RECENT_IDS + 500):
        open_ids = [*(waiting.id for waiting in state.inbox), *([state.running.prompt_id] if state.running else [])]
        assert state.recent.keys() >= set(open_ids)
        state.admit(prompt(f"new{number}"))
        if state.running is None:
            state.start_turn()
        else:
            state.end_turn("Hi", "answered")


def test_the_record_says_whose_thread_it_is_whatever_the_checkpoint_says() -> None:
    state = rebuild(ThreadState(epoch=9, owner="eve", agent="x", tenant="y"), RECORD, [], [], [])
    assert (state.epoch, state.owner, state.agent, state.tenant) == (2, "ada", "assistant", "acme")


def test_a_step_that_the_checkpoint_was_in_is_not_believed() -> None:
    """The prompt's row tells whether the turn has ended since."""
    checkpoint = checkpoint_with("a")
    checkpoint.start_turn()
    checkpoint.next_turn = 3
    assert rebuild(checkpoint, RECORD, [ended("a", 3)], [], []).running is None


def test_a_second_started_prompt_gets_its_turn_anew() -> None:
    one, other = running("a", 4), running("b", 5)
    state = rebuild(None, RECORD, [one, other], [one, other, saved("c", 1)], [])
    assert state.running is not None
    assert state.running.prompt_id == "a"
    assert [waiting.id for waiting in state.inbox] == ["b", "c"]
    assert state.next_turn == 6


def test_a_later_arrival_comes_behind_what_waited() -> None:
    state = rebuild(None, RECORD, [], [saved("c", 7)], [])
    state.admit(prompt("d"))
    assert state.inbox[1].place > state.inbox[0].place == waiting_of(saved("c", 7)).place


def test_prompts_that_joined_a_turn_which_goes_on_wait_for_its_end() -> None:
    cut = running("a", 4)
    to = {"workflow_id": "w"}
    joined = ended("b", 4, "joined").model_copy(update={"joins": "a", "step": 1, "reply_to": to})
    state = rebuild(None, RECORD, [cut, joined], [cut], [])
    assert state.running is not None
    assert (state.running.joined, state.deliveries) == ({"b": True}, [])
    assert state.report("b").status == "running"
    state.end_turn("Done.", "answered", "m")
    assert (state.report("b").status, state.deliveries) == ("joined", ["b"])
