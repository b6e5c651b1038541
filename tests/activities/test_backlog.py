"""`Backlog`: rows of earlier turns are read once for quick steps, and anew whenever they may have changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from activities import backlog
from activities.backlog import Backlog
from activities.step import Step
from domain import ids
from domain.agent import Agent
from domain.messages import Message
from domain.steps import StepRequest
from tests.system import WatchedStore

BEFORE = "what was said before"


class Reader:
    """Reads as the second turn of a thread; what it has not seen anew has the first one's old words."""

    def __init__(self, store: WatchedStore, thread: str) -> None:
        self.store, self.thread, self.now = store, thread, 1_000.0
        self.backlog = Backlog(store, lambda: self.now)
        self.row_id = ids.message_id(thread, "old", "prompt")

    def step(self, number: int, **fields: object) -> Step:
        request = StepRequest.model_validate(
            {"thread": self.thread, "epoch": 1, "prompt_id": "p", "turn": 2, "step": number, "agent": "a"} | fields
        )
        return Step(request, Agent("a", recent_messages=5), 1, lease=None, record=None)  # type: ignore[arg-type]

    async def insert(self, text: str = BEFORE, **fields: object) -> None:
        place = {"id": self.row_id, "thread": self.thread, "prompt_id": "old", "slot": "prompt", "role": "user"}
        rest = {"turn": 1, "seq": ids.first_seq(1), "status": "answered", "text": text}
        await self.store.insert([Message.model_validate(place | rest | fields)])

    async def read(self, number: int, **fields: object) -> list[str]:
        return [row.text for row in await self.backlog.before(self.step(number, **fields))]

    async def change(self) -> None:
        await self.store.annotate(self.row_id, {"text": "changed"})


@pytest.fixture
def reader(shared_store: WatchedStore, thread: str) -> Reader:
    return Reader(shared_store, thread)


async def test_the_steps_of_a_quick_turn_read_earlier_turns_once(reader: Reader) -> None:
    await reader.insert()
    assert await reader.read(0) == [BEFORE]
    await reader.change()
    assert await reader.read(1) == await reader.read(2) == [BEFORE]


def wait(reader: Reader) -> None:
    reader.now += backlog.FRESH_S + 1


def turn_back_the_clock(reader: Reader) -> None:
    reader.now -= backlog.FRESH_S + 1


def end_the_turn(reader: Reader) -> None:
    reader.backlog.forget(reader.step(1))


@pytest.mark.parametrize("happens", [wait, turn_back_the_clock, end_the_turn])
async def test_what_may_have_changed_is_read_anew(reader: Reader, happens: Callable[[Reader], None]) -> None:
    await reader.insert()
    await reader.read(0)
    await reader.change()
    happens(reader)
    assert await reader.read(1) == ["changed"]


@pytest.mark.parametrize("fields", [{"turn": 3}, {"epoch": 2}, {"branch": 1}], ids=str)
async def test_another_turn_epoch_or_branch_reads_for_itself(reader: Reader, fields: dict[str, int]) -> None:
    await reader.insert()
    await reader.read(0)
    await reader.change()
    assert await reader.read(1, **fields) == ["changed"]


async def test_the_first_step_reads_anew_also_when_it_is_tried_again(reader: Reader) -> None:
    await reader.insert()
    await reader.read(0)
    await reader.change()
    assert await reader.read(0) == ["changed"]


@pytest.mark.parametrize("fields", [{"text": "x" * 300_000}, {"parts": [{"type": "image"}]}], ids=["long", "image"])
async def test_rows_that_are_large_are_not_kept(reader: Reader, fields: dict[str, object]) -> None:
    await reader.insert(**fields)  # type: ignore[arg-type]
    await reader.read(0)
    await reader.change()
    assert await reader.read(1) == ["changed"]


async def test_no_more_turns_than_so_many_are_kept(reader: Reader) -> None:
    await reader.insert()
    for turn in range(2, backlog.TURNS + 3):
        await reader.read(0, turn=turn)
    await reader.change()
    assert (await reader.read(1, turn=3), await reader.read(1, turn=2)) == ([BEFORE], ["changed"])


async def test_of_a_turn_that_is_longer_than_all_that_is_read_the_prompt_is_read_too(reader: Reader) -> None:
    await reader.insert()
    for step in range(8):
        place = {"id": ids.message_id(reader.thread, "old", "answer", step=step), "slot": "answer", "role": "assistant"}
        await reader.insert(f"step {step}", step=step, seq=ids.seq(1, step, 1), status="complete", **place)
    assert await reader.read(0) == [BEFORE, *(f"step {step}" for step in range(3, 8))]
