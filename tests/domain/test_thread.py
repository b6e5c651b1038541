"""The thread's rules: a prompt enters once, its turn comes in order, and all of it is carried."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import BaseModel

from domain import thread as rules
from domain.errors import InboxFullError, InputRefusedError, PromptConflictError
from domain.inbox import INLINE_INBOX_BYTES
from domain.ledger import MAX_JOINED, RECENT_IDS
from domain.prompts import Mode, Prompt, ReplyTo
from domain.state import INLINE_PROMPT_BYTES
from domain.thread import (
    CARRIED_BYTES,
    MAX_DELIVERIES,
    MAX_REFUSALS,
    MAX_WAITING,
    ROLL_BYTES,
    ROLL_EVENTS,
    ROLL_SIGNALS,
    ROLL_UPDATES,
    ThreadState,
    must_roll,
    upgrade,
)
from domain.wire import json_size
from tests.domain.states import every_field_set, hostile_id, hostile_prompt, serve, worst


def prompt(prompt_id: str, content: str = "Hello") -> Prompt:
    return Prompt(id=prompt_id, content=content)


def opened(**fields: Any) -> ThreadState:
    return ThreadState(epoch=1, agent="assistant", **fields)


def rolled(state: ThreadState) -> ThreadState:
    """What the next run starts with."""
    return upgrade(json.loads(json.dumps(state.carried())))


def save_all(state: ThreadState) -> None:
    while unsaved := state.unsaved():
        state.saved([waiting.id for waiting in unsaved], [])


# --- prompts in


def test_a_prompt_id_enters_once() -> None:
    state = opened()
    assert state.admit(prompt("a")).disposition == "started"
    assert state.admit(prompt("a")).disposition == "duplicate"
    assert [waiting.id for waiting in state.inbox] == ["a"]


def test_a_prompt_id_is_remembered_after_its_turn() -> None:
    state = opened()
    state.admit(prompt("a"))
    serve(state, "Hi")
    assert state.admit(prompt("a")).disposition == "duplicate"
    assert not state.ready()


def test_an_id_with_another_text_is_a_conflict() -> None:
    state = opened()
    state.admit(prompt("a"))
    with pytest.raises(PromptConflictError, match="'a' was used before for another text; send it under a new id"):
        state.admit(prompt("a", "Something else"))
    assert len(state.inbox) == 1


@pytest.mark.parametrize("change", [{"author": "Eve"}, {"agent": "poet"}, {"metadata": {"a": 1}}, {"content": "Bye"}])
def test_every_part_of_a_prompt_counts_for_a_conflict(change: dict[str, Any]) -> None:
    state = opened()
    state.admit(prompt("a"))
    with pytest.raises(PromptConflictError):
        state.check(prompt("a").model_copy(update=change))


def test_a_full_inbox_refuses_new_prompts_and_still_knows_the_old() -> None:
    state = opened()
    for number in range(MAX_WAITING):
        state.admit(prompt(f"p{number}"))
    with pytest.raises(InboxFullError, match="send this one again when some are answered"):
        state.admit(prompt("one-too-many"))
    assert state.admit(prompt("p0")).disposition == "duplicate"
    state.start_turn()
    assert state.admit(prompt("one-too-many")).disposition == "queued"


def test_only_the_first_prompt_of_an_idle_thread_starts_at_once() -> None:
    state = opened()
    assert [state.admit(prompt(name)).disposition for name in "ab"] == ["started", "queued"]
    state.start_turn()
    serve_next = state.inbox[0].id
    assert serve_next == "b"
    assert state.admit(prompt("c")).disposition == "queued"


# --- refusals


def test_refusals_are_bounded_and_the_rest_is_counted() -> None:
    state = opened()
    for number in range(MAX_REFUSALS + 5):
        state.refuse(str(number), InputRefusedError("no"), "text")
    taken = state.take_refusals("summary")
    assert [refusal.id for refusal in taken] == [*map(str, range(MAX_REFUSALS)), "summary"]
    assert taken[-1].reason.startswith("5 more were refused")
    assert state.take_refusals("next") == []


# --- waiting prompts to the store


def test_what_starts_at_once_is_not_saved_apart() -> None:
    """The first step saves it, which costs no event."""
    state = opened()
    state.admit(prompt("a"))
    assert state.unsaved() == []
    assert state.ready()


def test_what_waits_is_saved() -> None:
    state = opened()
    for name in "abc":
        state.admit(prompt(name))
    assert [waiting.id for waiting in state.unsaved()] == ["b", "c"]
    state.start_turn()
    assert [waiting.id for waiting in state.unsaved()] == ["b", "c"]
    state.saved(["b"], [])
    assert [waiting.id for waiting in state.unsaved()] == ["c"]


def test_a_large_prompt_is_saved_before_it_starts_and_travels_by_its_id() -> None:
    state = opened()
    state.admit(prompt("a", "x" * INLINE_PROMPT_BYTES))
    assert not state.ready()
    save_all(state)
    assert state.ready()
    assert state.start_turn().prompt is None


def test_a_small_waiting_prompt_keeps_its_text() -> None:
    state = opened()
    for name in "ab":
        state.admit(prompt(name))
    save_all(state)
    assert state.inbox[1].prompt == prompt("b")


def test_the_inbox_carries_a_bounded_number_of_bytes() -> None:
    state = opened()
    for number in range(40):
        state.admit(prompt(f"p{number}", "x" * 30_000))
    save_all(state)
    assert state.inline_bytes() <= INLINE_INBOX_BYTES
    assert [waiting.id for waiting in state.inbox] == [f"p{number}" for number in range(40)]


def test_what_the_store_has_already_leaves_the_inbox() -> None:
    state = opened()
    for name in "abc":
        state.admit(prompt(name))
    state.saved(["b", "c"], ["b"])
    assert [waiting.id for waiting in state.inbox] == ["a", "c"]


# --- turns


def test_a_dropped_turn_leaves_no_gap_in_the_numbers() -> None:
    state = opened()
    for name in "ab":
        state.admit(prompt(name))
    assert state.start_turn().turn == 1
    state.drop_turn()
    assert state.start_turn().turn == 1


def test_a_prompt_is_answered_by_its_own_agent_or_by_the_threads() -> None:
    state = opened()
    state.admit(Prompt(id="a", content="Hi", agent="poet"))
    state.admit(prompt("b"))
    assert state.start_turn().agent == "poet"
    state.end_turn("Ho", "answered")
    assert state.start_turn().agent == "assistant"


def test_the_details_show_the_last_turns_only() -> None:
    state = opened()
    for number in range(20):
        state.admit(prompt(f"p{number}"))
        serve(state, "Hi")
    assert [shown.turn for shown in state.shown] == [16, 17, 18, 19, 20]


class Thread(RuleBasedStateMachine):
    """Any order of what can happen to a thread, against a list of what was accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.state = opened()
        self.queue: list[str] = []  # accepted, in order, not started
        self.accepted: dict[str, str] = {}
        self.turns: list[int] = []
        self.steered: list[str] = []  # accepted, to join the running turn
        self.urgent = 0  # so many at the head of the queue came to be next

    @initialize(old=st.sampled_from([0, 3, RECENT_IDS - 2, RECENT_IDS + 3]))
    def remember_older_prompts(self, old: int) -> None:
        for number in range(old):
            self.state.admit(prompt(f"old{number}"))
            serve(self.state, "Hi")
        self.turns = list(range(1, old + 1))

    @rule(size=st.sampled_from([10, 20_000, INLINE_PROMPT_BYTES, 70_000]))
    def send(self, size: int) -> None:
        name = f"p{len(self.accepted)}"
        idle = self.state.running is None and not self.state.inbox
        receipt = self.state.admit(prompt(name, "x" * size))
        assert receipt.disposition == ("started" if idle else "queued")
        self.accepted[name] = "x" * size
        self.queue.append(name)

    @precondition(lambda self: self.state.running is not None)
    @rule(mode=st.sampled_from(["interrupt", "replace"]))
    def send_first(self, mode: Mode) -> None:
        name = f"p{len(self.accepted)}"
        assert self.state.admit(prompt(name).model_copy(update={"mode": mode})).disposition == "interrupting"
        self.accepted[name] = "Hello"
        self.queue.insert(self.urgent, name)
        self.urgent += 1

    @precondition(lambda self: self.state.running is not None)
    @rule()
    def steer(self) -> None:
        name = f"p{len(self.accepted)}"
        assert self.state.running is not None
        stopped = self.state.running.stopped()
        receipt = self.state.admit(prompt(name).model_copy(update={"mode": "steer"}))
        assert receipt.disposition == ("queued" if stopped else "joining")
        self.accepted[name] = "Hello"
        (self.queue if stopped else self.steered).append(name)

    @precondition(lambda self: self.state.running is not None)
    @rule()
    def next_step(self) -> None:
        running = self.state.running
        assert running is not None
        running.step += 1
        before = {waiting.id for waiting in self.state.steered if waiting.in_store}
        self.state.join()
        assert set(running.joining) >= before
        self.steered = [name for name in self.steered if name not in before]
        running.joining = []

    @precondition(lambda self: self.queue or self.steered)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*self.queue, *self.steered]))
        self.state.withdraw(name)
        assert not self.state.is_open(name)
        assert self.state.report(name).status == "withdrawn"
        self.urgent -= name in self.queue[: self.urgent]
        self.queue = [other for other in self.queue if other != name]
        self.steered = [other for other in self.steered if other != name]

    @precondition(lambda self: self.queue or self.steered)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*self.queue, *self.steered]))
        with suppress(InboxFullError):
            self.state.edit(name, "Bye")

    @rule()
    def save_changes(self) -> None:
        self.state.note_withdrawn([waiting.id for waiting in self.state.withdrawn])
        for waiting in [*self.state.inbox, *self.state.steered]:
            if waiting.revision is not None:
                self.state.revised(waiting.id, waiting.revision)
                self.state.saved([waiting.id], [])

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.accepted)))
        assert self.state.admit(prompt(name, self.accepted[name])).disposition == "duplicate"
        with pytest.raises(PromptConflictError):
            self.state.admit(prompt(name, "another text"))

    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        names = [waiting.id for waiting in self.state.unsaved()]
        batch = names[: data.draw(st.integers(0, len(names)))]
        twice = [name for name in batch if data.draw(st.integers(0, 9)) == 0]
        self.state.saved(batch, twice)
        self.urgent -= sum(name in twice for name in self.queue[: self.urgent])
        self.queue = [name for name in self.queue if name not in twice]
        self.steered = [name for name in self.steered if name not in twice]

    @precondition(lambda self: self.state.running is None and self.state.ready())
    @rule()
    def start(self) -> None:
        running = self.state.start_turn()
        assert running.prompt_id == self.queue.pop(0)
        self.urgent = max(0, self.urgent - 1)
        assert running.prompt is None or running.prompt.content == self.accepted[running.prompt_id]

    @precondition(lambda self: self.state.running is not None)
    @rule(status=st.sampled_from(["answered", "failed"]))
    def end(self, status: Literal["answered", "failed"]) -> None:
        assert self.state.running is not None
        self.turns.append(self.state.running.turn)
        joined = list(self.state.running.joined)
        self.state.end_turn("Hi", status)
        assert {self.state.report(name).status for name in joined} <= {"joined"}
        self.keep_late()

    def keep_late(self) -> None:
        """What did not come to its turn any more is next."""
        self.queue[self.urgent : self.urgent] = self.steered
        self.steered = []

    @precondition(lambda self: self.state.running is not None)
    @rule()
    def drop(self) -> None:
        self.state.drop_turn()
        self.keep_late()

    @rule()
    def refuse(self) -> None:
        self.state.refuse("i", InputRefusedError("no"), "text")

    @rule()
    def record_refusals(self) -> None:
        self.state.take_refusals("s")

    @rule()
    def roll(self) -> None:
        before = self.state.model_dump()
        self.state = rolled(self.state)
        assert self.state.model_dump() == before

    @invariant()
    def what_waits_is_what_was_accepted_in_order(self) -> None:
        assert [waiting.id for waiting in self.state.inbox] == self.queue
        assert [waiting.id for waiting in self.state.steered] == self.steered

    @invariant()
    def turns_are_numbered_without_gaps(self) -> None:
        assert self.turns == list(range(1, len(self.turns) + 1))

    @invariant()
    def what_waits_or_runs_is_never_forgotten(self) -> None:
        running = [self.state.running.prompt_id] if self.state.running else []
        assert {*self.queue, *self.steered, *running} <= self.state.recent.keys()

    @invariant()
    def the_memory_is_bounded(self) -> None:
        assert len(self.state.recent) <= RECENT_IDS + len(self.state.inbox) + len(self.state.steered) + MAX_JOINED
        assert len(self.state.refusals) <= MAX_REFUSALS

    @invariant()
    def a_prompt_without_its_text_is_in_the_store(self) -> None:
        waiting = [*self.state.inbox, *self.state.steered]
        assert all(w.saved or w.revision is not None for w in waiting if w.prompt is None)


TestThread = Thread.TestCase
TestThread.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# --- carrying


def defaults_of(model: BaseModel) -> list[str]:
    """The fields, in it and below, that have their default."""
    found = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if not field.is_required() and value == field.get_default(call_default_factory=True):
            found.append(f"{type(model).__name__}.{name}")
        inner = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else [value]
        found += [path for item in inner if isinstance(item, BaseModel) for path in defaults_of(item)]
    return found


def test_every_field_of_the_state_is_carried() -> None:
    """A new field must be added to `every_field_set`, which proves that a roll keeps it."""
    state = every_field_set()
    excluded = {"Part.url", "ReplyTo.url", "Resolution.arguments", "Resolution.result"}
    assert set(defaults_of(state)) == excluded, "by a text, by a workflow, and by each other"
    assert rolled(state) == state


def test_fields_of_a_newer_release_are_carried_through_an_older_one() -> None:
    assert rolled(upgrade({"epoch": 1, "approvals": [1]})).carried()["approvals"] == [1]


def test_a_field_that_a_release_renames_or_removes_loses_nothing_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the release does it that once has to: state of two versions ago, with a queue under its old name."""
    state = opened()
    state.admit(prompt("a"))
    old = json.loads(json.dumps(state.carried() | {"approvals": [{"call": "c"}], "mood": "good"}))
    old["queue"] = old.pop("inbox")
    monkeypatch.setattr(rules, "VERSION", 3)
    renamed = {1: lambda raw: raw | {"inbox": raw["queue"]}, 2: lambda raw: {k: raw[k] for k in raw if k != "mood"}}
    monkeypatch.setattr(rules, "UPGRADES", renamed)
    upgraded = upgrade(old)
    assert [waiting.id for waiting in upgraded.inbox] == ["a"]
    assert upgraded.carried()["approvals"] == [{"call": "c"}]
    assert upgraded.version == 3
    assert upgrade(upgraded.carried()) == upgraded, "no upgrade is done twice"


def test_a_new_thread_carries_next_to_nothing() -> None:
    assert rolled(ThreadState()) == ThreadState()
    assert json_size(ThreadState().carried()) < 20


@pytest.mark.parametrize("char", ["\x01", "\U0001f600", '"', "\u0800", "\x7f"])
def test_the_worst_state_still_fits_into_one_payload(char: str) -> None:
    state = worst(char)
    assert len(state.inbox) == MAX_WAITING
    assert json_size(state.carried()) <= CARRIED_BYTES
    kept = rolled(state)
    assert kept.model_copy(update={"recent": {}}) == state.model_copy(update={"recent": {}})
    assert {waiting.id for waiting in [*kept.inbox, *kept.steered]} <= kept.recent.keys()


# --- opening


def test_what_came_in_before_the_thread_was_opened_comes_last() -> None:
    state = ThreadState()
    state.admit(prompt("new"))
    turned_away = state.adopt(opened(next_turn=7, inbox=every_field_set().inbox, recent={"w": "d"}, places=9))
    assert turned_away == []
    assert [waiting.id for waiting in state.inbox] == ["w", "new"]
    assert (state.next_turn, state.epoch) == (7, 1)
    assert state.inbox[1].place > 9


def test_an_old_prompt_sent_again_before_the_thread_was_opened_is_dropped() -> None:
    state = ThreadState()
    state.admit(prompt("old"))
    assert state.adopt(opened(recent={"old": prompt("old").digest()})) == []
    assert state.inbox == []


def test_a_conflict_found_at_opening_is_told() -> None:
    state = ThreadState()
    state.admit(prompt("old", "another text"))
    [(waiting, error)] = state.adopt(opened(recent={"old": prompt("old").digest()}))
    assert waiting.id == "old"
    assert isinstance(error, PromptConflictError)
    assert state.inbox == []


def test_refusals_from_before_the_opening_are_kept_in_order() -> None:
    state = ThreadState()
    state.refuse("i", InputRefusedError("no"), "text")
    state.adopt(opened(places=9))
    state.refuse("j", InputRefusedError("no"), "text")
    assert [(refusal.id, refusal.place) for refusal in state.refusals] == [("i", 10), ("j", 11)]


def test_opening_keeps_fields_of_a_newer_release() -> None:
    state = ThreadState()
    state.adopt(upgrade({"epoch": 1, "approvals": [1]}))
    assert state.carried()["approvals"] == [1]


@pytest.mark.parametrize("char", ["\x01", "\U0001f600"])
def test_the_worst_state_fits_even_after_a_flood_before_the_opening(char: str) -> None:
    """The checkpoint of a terminated thread may be full, and so may what comes before it is opened again."""
    state = ThreadState()
    for number in range(MAX_WAITING):
        state.admit(hostile_prompt(10_000 + number, char))
    for number in range(MAX_REFUSALS):
        state.refuse(f"{number:036d}", InputRefusedError("r" * 700), f"x{char * 999}", hostile_id(number))
    assert len(state.adopt(worst(char))) == MAX_WAITING
    save_all(state)
    assert json_size(state.carried()) <= CARRIED_BYTES


def test_what_finds_no_room_at_the_opening_is_told_and_can_be_sent_again() -> None:
    state = ThreadState()
    state.admit(prompt("late"))
    full = opened()
    for number in range(MAX_WAITING):
        full.admit(prompt(f"p{number}"))
    [(waiting, error)] = state.adopt(full)
    assert waiting.id == "late"
    assert isinstance(error, InboxFullError)
    assert len(state.inbox) == MAX_WAITING
    serve(state, "Hi")
    assert state.admit(prompt("late")).disposition == "queued"


# --- rolling


@pytest.mark.parametrize("limit", ["events", "size", "signals", "updates"])
def test_a_thread_rolls_before_each_of_the_servers_limits(limit: str) -> None:
    most = {"events": ROLL_EVENTS, "size": ROLL_BYTES, "signals": ROLL_SIGNALS, "updates": ROLL_UPDATES}
    servers = {"events": 51_200, "size": 50_000_000, "signals": 10_000, "updates": 2_000}
    none = dict.fromkeys(most, 0)
    assert most[limit] < servers[limit]
    assert must_roll(suggested=False, **none | {limit: most[limit]})
    assert not must_roll(suggested=False, **none | {limit: most[limit] - 1})


def test_a_thread_rolls_when_the_server_suggests_it() -> None:
    assert must_roll(suggested=True, events=0, size=0, signals=0, updates=0)


# --- many joined, many to be told


def steered(count: int) -> ThreadState:
    """A turn that so many prompts have joined."""
    state = opened()
    state.admit(prompt("a"))
    state.start_turn().step = 1
    for number in range(count):
        state.admit(prompt(f"b{number}").model_copy(update={"mode": "steer"}))
    save_all(state)
    state.join()
    return state


def test_a_turn_is_remembered_however_many_prompts_joined_it() -> None:
    state = steered(MAX_JOINED)
    state.end_turn("Done.", "answered", "m")
    assert state.report("a").status == "answered"
    assert state.report(None).prompt_id == "a"
    assert state.ended_prompt(None, None) == "a"


def test_replies_to_refused_prompts_are_bounded_too() -> None:
    """Each is an activity, and the server fails every task of a workflow that has two thousand of them."""
    state = opened()
    for number in range(3 * MAX_DELIVERIES):
        state.refuse(f"r{number}", InputRefusedError("no"), "text", None, ReplyTo(workflow_id="w"))
        state.deliveries += [refusal.id for refusal in state.take_refusals("s") if refusal.reply_to is not None]
    assert len(state.deliveries) == MAX_DELIVERIES
