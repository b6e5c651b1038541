"""Each part of an erasure may be cut off anywhere, and done again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from activities.erasing import ErasingActivities
from activities.ports import Eraser
from adapters.blobs import FolderBlobs
from adapters.qdrant_erasing import QdrantGraves
from domain import ids
from domain.erasure import EraseStep, EraseStepResult, ErasureReceipt, Forget, Part, read_erasure
from domain.errors import UnavailableError
from domain.messages import Message, ThreadRecord
from tests.activities.fakes import run
from tests.system import Pulse, RecordedEvents, WatchedStore


class FakeRuns:
    """Threads that do not run; those of `open` have not ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.forgotten: list[tuple[str, Forget]] = []
        self.open: list[str] = []

    async def end(self, thread: str) -> None:
        self.ended.append(thread)

    async def forget(self, thread: str, wanted: Forget) -> list[str]:
        self.forgotten.append((thread, wanted))
        return [prompt_id for prompt_id in wanted.prompt_ids if prompt_id in self.open]

    async def histories(self, thread: str) -> list[str]:
        return [f"run of {thread}"]

    async def drop_history(self, thread: str, run_id: str) -> None:
        raise NotImplementedError

    async def retention_days(self) -> float:
        return 30.0


class CutOff:
    """An eraser whose worker is lost just before, or just after, it deletes its first page."""

    def __init__(self, eraser: Eraser, *, after: bool) -> None:
        self._eraser, self._after, self._cut = eraser, after, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._eraser, name)

    async def delete(self, row_ids: Sequence[str]) -> None:
        if self._cut or self._after:
            await self._eraser.delete(row_ids)
        if not self._cut:
            self._cut = True
            raise UnavailableError("the worker is lost")


class Erasing:
    """The activities over one store."""

    def __init__(self, store: WatchedStore, **what: Any) -> None:
        self.store, self.runs = store, FakeRuns()
        self.graves = QdrantGraves(store.collection)
        self.blobs = FolderBlobs(store.folder / "blobs")
        self.activities = ErasingActivities(
            store, self.graves, self.runs, RecordedEvents(Pulse()), self.blobs, clock=lambda: 9.0
        )
        self.step = EraseStep(id=uuid4().hex, request=read_erasure(what))

    async def do(self, *names: str, times: int = 1) -> Any:
        """What the last activity gives, each run so many times."""
        done = None
        for name in names:
            for _ in range(times):
                done = await run(1, getattr(self.activities, name), self.step)
        return done

    async def receipt(self) -> ErasureReceipt:
        noted = await self.store.get_receipt(self.step.id)
        assert noted is not None
        return noted

    async def had(self, thread: str, turns: int = 2, status: str = "answered", **fields: Any) -> list[Message]:
        """Turns of a thread, a prompt and an answer each."""
        await self.store.insert_thread(ThreadRecord(thread=thread, turns=turns, preview=f"prompt {turns}", **fields))
        rows = [row for turn in range(1, turns + 1) for row in turn_of(thread, turn, status)]
        await self.store.insert(rows)
        return rows


def turn_of(thread: str, turn: int, status: str = "answered") -> list[Message]:
    known: dict[str, Any] = {"thread": thread, "prompt_id": f"p{turn}", "turn": turn, "updated_at": float(turn)}
    prompt = {"id": ids.message_id(thread, f"p{turn}", "prompt"), "slot": "prompt", "role": "user", "status": status}
    answer = {"id": ids.message_id(thread, f"p{turn}", "answer"), "slot": "answer", "role": "assistant"}
    places = [{"seq": ids.seq(turn, 0, ordinal), "text": f"prompt {turn}"} for ordinal in (0, 1)]
    said = known | answer | {"status": "complete"} | places[1]
    return [Message.model_validate(known | prompt | places[0]), Message.model_validate(said)]


SWEEP = ("bury_threads", "erase_turns", "bury_threads", "end_threads", "erase_rows")


@pytest.fixture
def store(shared_store: WatchedStore) -> WatchedStore:
    return shared_store


# --- again, and cut off


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_every_part_done_again_gives_the_same_receipt(store: WatchedStore, thread: str, times: int) -> None:
    erasing = Erasing(store, thread=thread)
    await erasing.had(thread)
    left: EraseStepResult = await erasing.do("begin_erasure", *SWEEP, "verify_erasure", times=times)
    assert left.left == 0
    await erasing.do("end_erasure", times=times)
    receipt = await erasing.receipt()
    assert (receipt.status, receipt.threads, receipt.erased) == ("done", 1, {"messages": 4})


@pytest.mark.parametrize("after", [True, False], ids=["after the deletion", "before the deletion"])
async def test_a_page_whose_worker_was_lost_is_counted_once(store: WatchedStore, thread: str, after: bool) -> None:
    erasing = Erasing(store, thread=thread)
    await erasing.had(thread)
    erasing.graves.erasers[0] = CutOff(erasing.graves.erasers[0], after=after)  # type: ignore[call-overload]
    await erasing.do("begin_erasure", "bury_threads")
    with pytest.raises(Exception, match="the worker is lost"):
        await erasing.do("erase_rows")
    await erasing.do("erase_rows", "verify_erasure", "end_erasure")
    receipt = await erasing.receipt()
    assert (receipt.verified, receipt.erased) == (True, {"messages": 4})


async def test_a_blob_goes_before_the_rows_that_lead_to_it(store: WatchedStore, thread: str) -> None:
    """So that a crash between leaves nothing that nobody would find again."""
    erasing = Erasing(store, thread=thread)
    ref = await erasing.blobs.put(uuid4().bytes)
    [prompt, _] = turn_of(thread, 1)
    await store.insert([prompt.model_copy(update={"blob": {"ref": ref, "chars": 16}})])
    erasing.graves.erasers[0] = CutOff(erasing.graves.erasers[0], after=False)  # type: ignore[call-overload]
    await erasing.do("begin_erasure", "bury_threads")
    with pytest.raises(Exception, match="the worker is lost"):
        await erasing.do("erase_rows")
    assert await erasing.blobs.get(ref) is None
    await erasing.do("erase_rows", "verify_erasure")
    assert await store.get([prompt.id]) == []


async def test_a_row_that_comes_between_sweeps_is_found_by_the_verification(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread)
    rows = await erasing.had(thread)
    await erasing.do("begin_erasure", *SWEEP)
    await store.insert(rows[:1])
    assert (await erasing.do("verify_erasure")).left == 1
    assert (await erasing.do(*SWEEP, "verify_erasure")).left == 0


async def test_what_cannot_be_deleted_is_said_and_nothing_is_verified(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread)
    await erasing.had(thread)
    await erasing.do("begin_erasure", "bury_threads", "verify_erasure", "end_erasure")
    receipt = await erasing.receipt()
    assert (receipt.status, receipt.verified, receipt.counted) == ("incomplete", False, 4)


# --- whose


async def test_all_threads_of_an_owner_are_ended_and_no_others(store: WatchedStore) -> None:
    owner, threads, other = uuid4().hex, [uuid4().hex for _ in range(3)], uuid4().hex
    erasing = Erasing(store, owner=owner)
    for thread in threads:
        await erasing.had(thread, owner=owner)
    await erasing.had(other, owner=f"{owner}-2")
    await erasing.do("begin_erasure", *SWEEP, "verify_erasure", "end_erasure")
    assert sorted(erasing.runs.ended) == sorted(threads)
    receipt = await erasing.receipt()
    assert (receipt.threads, receipt.erased) == (3, {"messages": 12, "records": 1})
    assert len((await store.page(other, cursor=None, limit=10, newest_first=False)).items) == 4


# --- turns


async def test_the_thread_forgets_a_turn_before_its_rows_are_deleted(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread, turns={"first": 2, "last": 9})
    await erasing.had(thread)
    await erasing.do("begin_erasure", *SWEEP, *SWEEP, "verify_erasure", "end_erasure")
    assert erasing.runs.forgotten == [(thread, Forget(prompt_ids=["p2"], turns=[2]))]
    assert (await erasing.receipt()).erased == {"messages": 2}
    record = await store.get_thread(thread)
    assert record is not None
    assert record.preview == "prompt 1"


async def test_a_turn_that_began_again_is_left_whole(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread, turns={"first": 1, "last": 2})
    await erasing.had(thread)
    erasing.runs.open = ["p2"]
    await erasing.do("begin_erasure", *SWEEP)
    assert [row.turn for row in (await store.page(thread, cursor=None, limit=9, newest_first=False)).items] == [2, 2]
    await erasing.do("verify_erasure", "end_erasure")
    receipt = await erasing.receipt()
    assert (receipt.status, receipt.left) == (
        "incomplete",
        [f"turn 2 of thread {thread} has begun again; interrupt it first"],
    )


async def test_a_turn_goes_by_time_only_if_all_of_it_is_older(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread, before=2.5)
    rows = await erasing.had(thread, turns=3)
    await store.annotate(rows[3].id, {"updated_at": 2.7})  # the answer of turn 2
    await erasing.do("begin_erasure", *SWEEP, "verify_erasure", "end_erasure")
    kept = (await store.page(thread, cursor=None, limit=9, newest_first=False)).items
    assert [row.turn for row in kept] == [2, 2, 3, 3]


async def test_what_a_lost_attempt_wrote_to_an_erased_turn_is_swept(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, messages=[ids.message_id(thread, "p1", "prompt")])
    await erasing.had(thread)
    await erasing.do("begin_erasure", *SWEEP)
    late = turn_of(thread, 1)[1].model_copy(update={"status": "pending"})
    await store.insert([late])
    assert (await erasing.do("verify_erasure")).left == 1
    assert (await erasing.do(*SWEEP, "verify_erasure")).left == 0
    assert await store.get([late.id]) == []


async def test_facts_drawn_from_erased_messages_are_erased(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread, turns={"first": 1, "last": 1})
    rows = await erasing.had(thread)
    facts = store.collection("facts")
    of_first, of_other = str(uuid4()), str(uuid4())
    await facts.insert(
        {of_first: {"message": rows[0].id, "owner": "ada"}, of_other: {"message": rows[2].id, "owner": "ada"}}
    )
    await erasing.do("begin_erasure", *SWEEP)
    assert await facts.get([of_first, of_other]) == [{"message": rows[2].id, "owner": "ada"}]
    assert (await erasing.receipt()).erased == {"messages": 2, "facts": 1}


async def test_a_summary_of_what_is_partly_erased_goes_with_it(store: WatchedStore, thread: str) -> None:
    """And so does one that was just being made, with the next sweep."""
    erasing = Erasing(store, thread=thread, turns={"first": 1, "last": 1})
    await erasing.had(thread)
    records = store.collection("records")
    summary = {ids.record_id("summary", thread): {"kind": "summary", "thread": thread, "body": "prompt 1"}}
    await records.insert(summary)
    await erasing.do("begin_erasure", *SWEEP)
    assert await records.get(list(summary)) == []
    await records.insert(summary)
    await erasing.do(*SWEEP)
    assert await records.get(list(summary)) == []


async def test_a_thread_that_cannot_be_opened_loses_its_checkpoint(store: WatchedStore, thread: str) -> None:
    erasing = Erasing(store, thread=thread, turns={"first": 1, "last": 1})
    await erasing.had(thread)
    await store.save_checkpoint(thread, 1, 1, {"shown": "prompt 1"})

    async def refuse(thread: str, wanted: Forget) -> list[str]:
        from domain.errors import InputRefusedError

        raise InputRefusedError(f"thread {thread} has ended")

    erasing.runs.forget = refuse  # type: ignore[method-assign]
    await erasing.do("begin_erasure", *SWEEP)
    assert await store.load_checkpoint(thread) is None
    assert await QdrantGraves(store.collection).erasers[0].count(Part(thread=thread)) == 2
