"""What the thread asks of the store besides its steps; each activity may be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from activities.closing import ClosingActivities
from activities.rows import prompt_row
from activities.threads import ThreadActivities
from catalog.registry import Registry
from domain import ids
from domain.messages import Message
from domain.prompts import Prompt, Refusal, ThreadStart
from domain.steps import CheckpointRequest, CloseRequest, OpenRequest, SaveRequest, fence
from domain.thread import IDLE_ROLL_S, MAX_WAITING, ThreadState, upgrade
from tests.activities.fakes import NoAgents, run
from tests.agents import Workbench
from tests.system import Pulse, RecordedEvents, WatchedStore


class Keeping:
    """The activities over one store and one thread."""

    def __init__(self, store: WatchedStore, thread: str) -> None:
        self.store, self.thread = store, thread
        self.events = RecordedEvents(Pulse())
        catalog = Registry(Workbench().agents(), "assistant")
        self.activities = ThreadActivities(store, catalog, clock=lambda: 5.0)
        self.closing = ClosingActivities(store, self.events, NoAgents(), clock=lambda: 5.0)

    async def open(self, run_id: str, **start: Any) -> ThreadState:
        request = OpenRequest(thread=self.thread, run_id=run_id, start=ThreadStart(**start))
        return upgrade((await run(1, self.activities.open_thread, request)).state)

    async def save(self, *prompts: Prompt) -> tuple[list[str], list[str]]:
        """The ids found to be duplicates, and conflicts."""
        request = SaveRequest(thread=self.thread, prompts=list(prompts), places=list(range(1, len(prompts) + 1)))
        result = await run(1, self.activities.save_prompts, request)
        return result.duplicates, result.conflicts

    async def close(self, **fields: Any) -> str | None:
        """How the turn has ended."""
        closed = await run(1, self.closing.close_turn, CloseRequest(thread=self.thread, epoch=1, **fields))
        return closed.status if closed else None

    async def had(self, prompt_id: str, turn: int | None, status: str, place: int = 0) -> Message:
        """A prompt as an earlier run left it."""
        row = prompt_row(self.thread, prompt(prompt_id), None, 1.0, place)
        if turn is not None:
            row = row.model_copy(update={"turn": turn, "seq": ids.first_seq(turn)})
        row = row.model_copy(update={"status": status})
        await self.store.insert([row])
        return row

    async def rows(self) -> list[Message]:
        page = await self.store.page(self.thread, cursor=None, limit=100, newest_first=False)
        return page.items


def prompt(prompt_id: str, content: str = "") -> Prompt:
    return Prompt(id=prompt_id, content=content or f"Text of {prompt_id}")


@pytest.fixture
def keeping(shared_store: WatchedStore, thread: str) -> Keeping:
    return Keeping(shared_store, thread)


# --- open_thread


async def test_a_new_thread_is_made_once(keeping: Keeping) -> None:
    state = await keeping.open("run-1", agent="poet", owner="ada", tenant="acme", metadata={"a": 1})
    made = ThreadState(epoch=1, run_id="run-1", agent="poet", owner="ada", tenant="acme", idle_roll_s=IDLE_ROLL_S)
    assert state == made
    assert await keeping.open("run-1", agent="poet") == state, "a repeated attempt opens it once"
    record = await keeping.store.get_thread(keeping.thread)
    assert record is not None
    assert (record.epoch, record.metadata, record.created_at) == (1, {"a": 1}, 5.0)


async def test_each_run_that_opens_a_thread_gets_an_epoch_of_its_own(keeping: Keeping) -> None:
    assert [(await keeping.open(f"run-{n}")).epoch for n in range(1, 4)] == [1, 2, 3]


async def test_a_thread_opens_where_it_stood(keeping: Keeping) -> None:
    await keeping.open("run-1")
    await keeping.had("a", 1, "answered")
    await keeping.had("b", 2, "failed")
    await keeping.had("c", 3, "pending")
    await keeping.had("d", None, "pending", place=1)
    await keeping.had("e", None, "refused", place=2)
    state = await keeping.open("run-2")
    assert state.running is not None
    assert (state.running.prompt_id, state.running.turn, state.next_turn) == ("c", 3, 4)
    assert [waiting.id for waiting in state.inbox] == ["d"]
    assert list(state.recent) == ["a", "b", "c", "d"]


async def test_a_full_thread_opens_with_all_its_prompts(keeping: Keeping) -> None:
    """One runs and a thousand wait: none may be left behind."""
    await keeping.had("running", 1, "pending")
    rows = [prompt_row(keeping.thread, prompt(f"p{n}"), None, 1.0, n) for n in range(MAX_WAITING)]
    await keeping.store.insert(rows)
    state = await keeping.open("run-2")
    assert state.running is not None
    assert [waiting.id for waiting in state.inbox] == [f"p{n}" for n in range(MAX_WAITING)]


async def test_a_waiting_prompt_that_only_the_checkpoint_has_is_not_lost(keeping: Keeping) -> None:
    state = ThreadState(epoch=1, agent="assistant")
    for name in ("saved", "answered", "lost"):
        state.admit(prompt(name))
    request = CheckpointRequest(thread=keeping.thread, epoch=1, turn=5, state=state.carried())
    await run(1, keeping.activities.save_checkpoint, request)
    await keeping.had("saved", None, "pending", place=1)
    await keeping.had("answered", 6, "answered")
    opened = await keeping.open("run-2")
    assert [(waiting.id, waiting.saved) for waiting in opened.inbox] == [("saved", True), ("lost", False)]
    assert opened.inbox[1].prompt == prompt("lost")
    assert opened.next_turn == 7


async def test_a_steered_prompt_that_only_the_checkpoint_has_is_not_lost(keeping: Keeping) -> None:
    state = ThreadState(epoch=1, agent="assistant")
    state.admit(prompt("running"))
    state.start_turn()
    assert state.admit(prompt("lost").model_copy(update={"mode": "steer"})).disposition == "joining"
    request = CheckpointRequest(thread=keeping.thread, epoch=1, turn=5, state=state.carried())
    await run(1, keeping.activities.save_checkpoint, request)
    await keeping.had("running", 1, "pending")
    opened = await keeping.open("run-2")
    assert [(waiting.id, waiting.saved) for waiting in opened.inbox] == [("lost", False)]


# --- save_prompts


async def test_waiting_prompts_are_saved_in_their_places(keeping: Keeping) -> None:
    await keeping.open("run-1", owner="ada")
    assert await keeping.save(prompt("a"), prompt("b")) == ([], [])
    assert [(row.prompt_id, row.status, row.turn, row.owner) for row in await keeping.rows()] == [
        ("a", "pending", None, "ada"),
        ("b", "pending", None, "ada"),
    ]
    assert await keeping.save(prompt("a"), prompt("b")) == ([], []), "a repeated attempt finds its own rows"


@pytest.mark.parametrize(("turn", "status"), [(1, "answered"), (1, "failed"), (1, "pending")])
async def test_a_prompt_that_had_its_turn_is_a_duplicate(keeping: Keeping, turn: int, status: str) -> None:
    await keeping.had("a", turn, status)
    assert await keeping.save(prompt("a"), prompt("b")) == (["a"], [])


@pytest.mark.parametrize(("turn", "status"), [(1, "answered"), (None, "pending")])
async def test_an_id_that_has_another_text_is_a_conflict(keeping: Keeping, turn: int | None, status: str) -> None:
    await keeping.had("a", turn, status)
    assert await keeping.save(prompt("a", "Another"), prompt("b")) == ([], ["a"])
    assert [row.text for row in await keeping.rows()] == ["Text of a", "Text of b"]


# --- close_turn


async def test_a_failed_turn_is_recorded_with_its_reason(keeping: Keeping) -> None:
    await keeping.open("run-1")
    fields = {"prompt_id": "a", "turn": 1, "agent": "poet", "prompt": prompt("a"), "error": "No."}
    for _ in range(2):  # the same again on a retry
        await keeping.close(**fields)
    [row] = await keeping.rows()
    assert (row.status, row.error, row.turn, row.agent, row.seq) == ("failed", "No.", 1, "poet", ids.first_seq(1))
    record = await keeping.store.get_thread(keeping.thread)
    assert record is not None
    assert (record.turns, record.preview, record.updated_at) == (1, "Text of a", 5.0)
    assert keeping.events.of(keeping.thread, "turn.finished")[0]["error"] == "No."


async def test_an_answer_that_came_in_time_is_not_failed_afterwards(keeping: Keeping) -> None:
    await keeping.had("a", 1, "answered")
    assert await keeping.close(prompt_id="a", turn=1, error="Too late.") == "answered"
    assert [row.status for row in await keeping.rows()] == ["answered"]
    assert keeping.events.of(keeping.thread, "turn.finished") == []


async def test_a_turn_stopped_while_it_went_on_with_what_joined_it_is_interrupted(keeping: Keeping) -> None:
    await keeping.had("a", 1, "answered")
    await keeping.had("b", None, "pending")
    fields: dict[str, Any] = {"prompt_id": "a", "turn": 1, "step": 1, "joined": ["b"], "status": "interrupted"}
    for _ in range(2):  # the same again on a retry
        assert await keeping.close(**fields) == "interrupted"
    assert [(row.prompt_id, row.status) for row in await keeping.rows()] == [("a", "interrupted"), ("b", "joined")]


async def test_a_failed_turn_beats_the_last_attempt_of_its_last_step(keeping: Keeping) -> None:
    await keeping.had("a", 1, "pending")
    row_id = ids.message_id(keeping.thread, "a", "prompt")
    await keeping.store.amend(row_id, fence(1, ids.MAX_STEPS - 1, 999_999), {})
    await keeping.close(prompt_id="a", turn=1, step=ids.MAX_STEPS - 1, error="No.")
    assert [row.status for row in await keeping.rows()] == ["failed"]


async def test_refusals_are_recorded_behind_the_last_turn(keeping: Keeping) -> None:
    await keeping.had("a", 1, "answered")
    await keeping.open("run-1")
    await keeping.store.end_turn(keeping.thread, 1, {})
    refusals = [Refusal(id=f"r{n}", reason=f"Reason {n}", text="?", prompt_id="x", place=n) for n in range(3)]
    for _ in range(2):
        await keeping.close(refusals=refusals)
    await keeping.had("b", 2, "answered")
    rows = await keeping.rows()
    assert [row.error for row in rows] == [None, "Reason 0", "Reason 1", "Reason 2", None]
    assert {row.status for row in rows[1:4]} == {"refused"}
    assert rows[1].refers_to == "x"


# --- save_checkpoint


async def test_a_late_checkpoint_of_an_earlier_run_does_not_replace_a_later_one(keeping: Keeping) -> None:
    for epoch, turn in [(1, 5), (2, 6), (1, 9)]:
        request = CheckpointRequest(thread=keeping.thread, epoch=epoch, turn=turn, state={"of": epoch})
        await run(1, keeping.activities.save_checkpoint, request)
    assert await keeping.store.load_checkpoint(keeping.thread) == {"of": 2}
