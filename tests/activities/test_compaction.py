"""Compaction: what does not fit any longer is kept as a summary, whatever cuts the chore off, and never fails a turn."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.compaction import Compaction
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_points import MESSAGES, RECORDS
from adapters.qdrant_summaries import QdrantSummaries
from domain import ids
from domain.agent import Agent
from domain.errors import ContextTooLongError, FormatRefusedError, ModelRefusedError, ModelUnavailableError
from domain.messages import Message, ThreadRecord, Usage
from domain.model import Completion, ModelRequest
from domain.summaries import SummaryAnswer, ThreadSummary
from tests.activities.fakes import Catalog
from tests.domain.contexts import exchange

AGENT = Agent("a")
TURNS = 12


class Summariser:
    """A model whose summary has each number that was in the one before, or is said, as often as it stands there."""

    def __init__(self, *first: Exception | str) -> None:
        self.first = list(first)  # what it does instead, call by call
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Completion, None]:
        self.requests.append(request)
        done = self.first.pop(0) if self.first else self.summary(request)
        if isinstance(done, Exception):
            raise done
        yield Completion(done, (), "stop", "m", Usage(prompt_tokens=100, completion_tokens=10), {})

    @staticmethod
    def summary(request: ModelRequest) -> str:
        asked = next(chat.text for chat in request.messages if chat.role == "user")
        facts = re.findall(r"number \d+", asked)
        return SummaryAnswer(summary="They count.", facts=facts, decisions=[], open_tasks=[]).model_dump_json()


class CutError(Exception):
    """The process is killed."""


class Cut(QdrantSummaries):
    """Summaries whose n-th write is the last thing that happens, before it or after it."""

    def __init__(self, inner: QdrantSummaries, at: int, *, before: bool) -> None:
        super().__init__(inner._messages, inner._records)
        self.left, self.before = at, before

    def _end(self, *, before: bool) -> None:
        if before == self.before:
            self.left -= 1
            if self.left < 0:
                raise CutError

    async def put(self, summary: ThreadSummary, after: int) -> ThreadSummary:
        self._end(before=True)
        kept = await super().put(summary, after)
        self._end(before=False)
        return kept

    async def settle(self, record: ThreadRecord, through_turn: int) -> None:
        self._end(before=True)
        await super().settle(record, through_turn)
        self._end(before=False)


class Bench:
    """A store with one thread that is due."""

    def __init__(self, folder: Path) -> None:
        self.store = EdgeStore(folder)
        self.summaries = QdrantSummaries(self.store.collection(MESSAGES), self.store.collection(RECORDS))

    async def fill(self, thread: str = "t", *, through: int = TURNS, **changes: Any) -> None:
        rows = [row for turn in range(1, through + 1) for row in exchange(turn, f"number {turn}", "noted " * 20)]
        for row in rows:
            await self.store.insert([row.model_copy(update={"id": ids.record_id(thread, row.id), "thread": thread})])
        await self.store.insert_thread(ThreadRecord(thread=thread, agent="a"))
        await self.store.end_turn(thread, through, {"compaction": "due", "compact_through": through} | changes)

    def chore(self, model: Any, summaries: Any = None, budget: int = 500, agent: Agent = AGENT) -> Compaction:
        return Compaction(
            summaries or self.summaries, model, Catalog(agent), budget_tokens=budget, clock=lambda: 1_000.0
        )

    async def summary(self, thread: str = "t") -> ThreadSummary:
        found = await self.summaries.get(thread)
        assert found is not None
        return found

    async def record(self, thread: str = "t") -> ThreadRecord:
        found = await self.store.get_thread(thread)
        assert found is not None
        return found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "store")
    yield made
    made.store.close()


async def finish(chore: Compaction) -> int:
    """Work until nothing is due; return how many steps that took."""
    steps = 0
    while done := await chore.work():
        steps += done
    return steps


ALL = [f"number {turn}" for turn in range(1, TURNS + 1)]


async def test_what_does_not_fit_is_summarised_some_turns_at_a_time(bench: Bench) -> None:
    await bench.fill()
    model = Summariser()
    chore = bench.chore(model)
    assert await chore.due() == 1
    await finish(chore)
    summary = await bench.summary()
    assert (summary.through_turn, summary.facts) == (TURNS, ALL)
    assert 3 <= summary.version == len(model.requests) < TURNS
    assert (summary.prompt_tokens, summary.completion_tokens) == (100 * summary.version, 10 * summary.version)
    assert ((await bench.record()).summary_through, await chore.due()) == (TURNS, 0)


async def test_a_later_summary_is_made_of_the_one_before_and_the_turns_after_it(bench: Bench) -> None:
    await bench.fill(compact_through=6)
    model = Summariser()
    await finish(bench.chore(model))
    await bench.store.end_turn("t", TURNS, {"compaction": "due", "compact_through": TURNS})
    asked = len(model.requests)
    await finish(bench.chore(model))
    assert "number 6" in model.requests[asked].messages[1].text.split("# What was said after it")[0]
    assert "number 6" not in model.requests[asked].messages[1].text.split("# What was said after it")[1]
    assert (await bench.summary()).facts == ALL


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_cut_off_at_any_write_it_ends_with_the_same_summary(bench: Bench, before: bool) -> None:
    await bench.fill("whole")
    await finish(bench.chore(Summariser()))
    whole = await bench.summary("whole")
    for at in range(whole.version + 1):
        thread = f"cut {at}"
        await bench.fill(thread)
        with pytest.raises(CutError):
            await finish(bench.chore(Summariser(), Cut(bench.summaries, at, before=before)))
        await finish(bench.chore(Summariser()))
        assert await bench.summary(thread) == whole.model_copy(update={"thread": thread})
        assert await bench.chore(Summariser()).due() == 0


async def test_two_that_work_at_once_make_one_summary(bench: Bench) -> None:
    await bench.fill()
    [record] = await bench.summaries.due(1)
    early = ThreadSummary(thread="t", through_turn=2, version=1, facts=["number 1", "number 2"])
    late = ThreadSummary(thread="t", through_turn=3, version=1, facts=["another's"])
    assert await bench.summaries.put(early, 0) == early
    assert await bench.summaries.put(late, 0) == early
    await finish(bench.chore(Summariser()))
    assert (await bench.summary()).facts == ALL
    await bench.summaries.settle(record, 1)  # by one that was late


async def test_a_thread_that_grows_while_it_is_summarised_stays_due(bench: Bench) -> None:
    await bench.fill(compact_through=4)
    [record] = await bench.summaries.due(1)
    await bench.store.end_turn("t", TURNS, {"compaction": "due", "compact_through": 8})
    await bench.summaries.settle(record, 4)
    assert [found.compact_through for found in await bench.summaries.due(1)] == [8]


async def test_turns_that_failed_are_passed_over(bench: Bench) -> None:
    await bench.fill(through=3)
    await bench.store.insert([failed_turn(4)])
    await bench.store.end_turn("t", 4, {"compaction": "due", "compact_through": 4})
    await finish(bench.chore(Summariser(), budget=8_000))
    assert ((await bench.summary()).through_turn, (await bench.summary()).facts) == (4, ALL[:3])


def failed_turn(turn: int) -> Message:
    [prompt, _] = exchange(turn, f"number {turn}", "")
    return prompt.model_copy(update={"id": ids.record_id("failed", str(turn)), "status": "failed"})


async def test_an_answer_that_does_not_fit_is_mended_once(bench: Bench) -> None:
    await bench.fill(through=2)
    model = Summariser("I would rather not.")
    await finish(bench.chore(model, budget=8_000))
    assert [chat.role for chat in model.requests[1].messages] == ["system", "user", "assistant", "user"]
    assert (await bench.summary()).prompt_tokens == 200


@pytest.mark.parametrize("errors", [["no", "no"], [ModelRefusedError("never")]], ids=["no summary", "refused"])
async def test_a_summary_that_cannot_be_made_is_given_up_until_the_thread_has_grown(
    bench: Bench, errors: list[Any]
) -> None:
    await bench.fill()
    chore = bench.chore(Summariser(*errors))
    assert await finish(chore) == 1
    assert (await chore.due(), await bench.summaries.get("t")) == (0, None)
    await bench.store.end_turn("t", TURNS, {"compaction": "due", "compact_through": TURNS})
    await finish(chore)
    assert (await bench.summary()).facts == ALL


async def test_a_model_that_is_away_is_waited_for(bench: Bench) -> None:
    await bench.fill()
    chore = bench.chore(Summariser(ModelUnavailableError("away")))
    with pytest.raises(ModelUnavailableError):
        await chore.work()
    await finish(chore)
    assert (await bench.summary()).facts == ALL


async def test_a_model_that_takes_less_gets_less(bench: Bench) -> None:
    await bench.fill()
    model = Summariser(ContextTooLongError("too long"))
    await finish(bench.chore(model, budget=4_000))
    assert len(model.requests[1].messages[1].text) < len(model.requests[0].messages[1].text)
    assert (await bench.summary()).through_turn == TURNS


async def test_a_model_that_cannot_be_held_to_a_form_is_told_it(bench: Bench) -> None:
    await bench.fill(through=2)
    model = Summariser(*[FormatRefusedError("no formats")] * 3)
    await finish(bench.chore(model, budget=8_000))
    assert model.requests[-1].answer_format is None
    assert "Answer with one JSON object" in model.requests[-1].messages[0].text


async def test_the_agent_says_which_model_summarises(bench: Bench) -> None:
    await bench.fill(through=2)
    model = Summariser()
    await finish(bench.chore(model, budget=8_000, agent=Agent("a", model=["big", "other"], compaction_model="small")))
    await bench.fill("u", through=2)
    await finish(bench.chore(model, budget=8_000, agent=Agent("a", model=["big", "other"])))
    assert [(request.model, list(request.fallbacks)) for request in model.requests] == [
        ("small", []), ("big", ["other"]),
    ]  # fmt: skip


async def test_a_summary_that_is_forgotten_is_gone(bench: Bench) -> None:
    await bench.fill()
    await finish(bench.chore(Summariser()))
    await bench.summaries.forget("t")
    assert (await bench.summaries.get("t"), (await bench.record()).summary_through) == (None, 0)


def test_a_summary_keeps_within_its_tokens_by_letting_go_of_the_oldest() -> None:
    summary = ThreadSummary(thread="t", text="x" * 50, facts=[f"fact {n}" for n in range(100)], decisions=["d"])
    kept = summary.within(100, len)
    assert kept.tokens == len(kept.shown) <= 100
    assert (kept.decisions, kept.facts[-1]) == (["d"], "fact 99")
