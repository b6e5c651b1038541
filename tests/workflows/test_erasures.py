"""What was to be forgotten is found nowhere, stays so, and the receipt says what remains."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from adapters import qdrant_points as points
from adapters.qdrant_erasing import QdrantGraves
from client.erasing import Erasures
from domain import ids
from domain.erasure import ErasureReceipt, Part, read_erasure
from domain.errors import PromptConflictError, UnknownThreadError
from domain.messages import Message
from domain.prompts import Prompt, ThreadStart
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, new_thread

SETTLE_S = 0.1


async def erase(system: System, **what: Any) -> ErasureReceipt:
    erasures = Erasures(system.threads)
    erasure = await erasures.begin(read_erasure(what), settle_s=SETTLE_S)
    return await asyncio.wait_for(erasures.receipt(erasure, wait=True), 30)


async def left(system: System, part: Part) -> int:
    return sum([await eraser.count(part) for eraser in QdrantGraves(system.store.collection).erasers])


def owned(owner: str) -> ThreadStart:
    return ThreadStart(owner=owner, metadata={"name": f"of {owner}"})


# --- threads


async def test_of_a_deleted_thread_nothing_is_left_but_its_tombstone(system: System, thread: str) -> None:
    await system.ask(thread, "My name is Ada.", id="a", start=owned("ada"))
    await system.workflow(thread).signal("roll")
    await system.ask(thread, "Who am I?", id="b")
    receipt = await erase(system, thread=thread)
    assert (receipt.status, receipt.verified, receipt.counted, receipt.found) == ("done", True, 0, 0)
    assert receipt.threads == 1
    assert receipt.erased == {"messages": 4, "records": 1}
    assert await left(system, Part(thread=thread)) == 0
    assert await system.store.load_checkpoint(thread) is None
    record = await system.record(thread)
    assert record.deleted
    assert (record.owner, record.tenant, record.preview, record.metadata) == ("", "", "", {})


async def test_the_receipt_says_what_remains_where_and_has_no_content(system: System, thread: str) -> None:
    await system.ask(thread, "My name is Ada.", start=owned("ada"))
    receipt = await erase(system, thread=thread)
    runs, erasure, stones, *_ = receipt.remaining
    assert (runs.where, runs.count) == ("temporal", 1)
    assert runs.names[0].startswith(f"thread/{thread} ")
    assert runs.until.endswith("days after the end of each")
    assert erasure.names == [f"erase/{receipt.id}"]
    assert (stones.where, stones.count) == ("records", 1)
    assert "Ada" not in receipt.model_dump_json()
    kept = await system.store.get_receipt(receipt.id)
    assert kept == receipt


async def test_a_deleted_thread_is_not_listed_and_its_run_has_ended(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", start=owned(thread))
    await erase(system, thread=thread)
    assert [record.thread for record in (await system.store.page_threads(cursor=None, limit=1_000)).items].count(
        thread
    ) == 0
    assert (await system.workflow(thread).describe()).status == WorkflowExecutionStatus.CANCELED


async def test_a_prompt_to_a_deleted_thread_is_refused_and_does_not_bring_it_back(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await erase(system, thread=thread)
    with pytest.raises(UnknownThreadError, match="was deleted"):
        await system.submit(thread, "Are you there?", id="b")
    await system.threads.signal(thread, Prompt(id="c", content="Hello?"))

    async def failed() -> bool:
        return (await system.workflow(thread).describe()).status == WorkflowExecutionStatus.FAILED

    await system.until(failed)
    assert await system.rows(thread) == []
    assert (await system.record(thread)).deleted


async def test_a_thread_that_is_answering_is_stopped_and_deleted(system: System, thread: str) -> None:
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "Count!", id="a")
    await system.submit(thread, "And on!", id="b")
    await system.streaming(thread, "one two")
    receipt = await erase(system, thread=thread)
    assert receipt.verified
    assert await system.rows(thread) == []


async def test_a_thread_that_never_was_can_be_deleted_and_is_never_made(system: System, thread: str) -> None:
    assert (await erase(system, thread=thread)).verified
    with pytest.raises(UnknownThreadError, match="was deleted"):
        await system.submit(thread, "Hi")


async def test_what_agents_were_asked_for_a_deleted_thread_is_deleted_too(system: System, thread: str) -> None:
    system.model.script(
        Reply(when="Ask", step=1, tool_calls=[ToolCall(name="ask_poet", arguments={"prompt": "A rhyme?"})]),
        Reply(when="Ask", step=2, text="{tool}"),
        "Time, dime.",
    )
    await system.ask(thread, "Ask!", id="a", agent="lead")
    [child] = [row.child.thread for row in await system.rows(thread) if row.child is not None]
    assert await system.rows(child)
    receipt = await erase(system, thread=thread)
    assert receipt.threads == 2
    assert await system.rows(child) == []
    assert (await system.record(child)).deleted


async def test_what_a_lost_attempt_writes_after_the_deletion_is_swept(system: System, thread: str) -> None:
    """Between the first sweep and the second one, as a worker does that was cut off from Temporal."""
    await system.ask(thread, "Hi", id="a")
    [prompt, answer] = await system.rows(thread)
    erasures = Erasures(system.threads)
    erasure = await erasures.begin(read_erasure({"thread": thread}), settle_s=1.0)

    async def deleted() -> bool:
        return not await system.store.get([prompt.id])

    await system.until(deleted)
    await system.store.insert([answer.model_copy(update={"id": ids.message_id(thread, "a", "tool:7")})])
    assert await system.store.amend(answer.id, 10**15, {"text": "back again"}) is None
    receipt = await asyncio.wait_for(erasures.receipt(erasure, wait=True), 30)
    assert receipt.verified
    assert await system.rows(thread) == []


async def test_a_search_finds_the_rows_before_and_nothing_after(system: System, thread: str) -> None:
    messages = system.store.collection(points.MESSAGES)
    await messages.add_vector("probe", 2)
    await system.ask(thread, "Hi", id="a")
    await messages.place({row.id: {"probe": [[1.0, 0.0]]} for row in await system.rows(thread)})
    graves = QdrantGraves(system.store.collection, probes={"probe": [[1.0, 0.0]]})
    assert await graves.erasers[0].found(Part(thread=thread)) == 1
    assert (await erase(system, thread=thread)).found == 0
    assert await graves.erasers[0].found(Part(thread=thread)) == 0


async def test_an_erasure_whose_worker_is_lost_is_done_by_another(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    erasures = Erasures(system.threads)
    erasure = await erasures.begin(read_erasure({"thread": thread}), settle_s=0.5)

    async def deleted() -> bool:
        return not await system.rows(thread)

    await system.until(deleted)
    await system.stop_workers()
    assert (await erasures_receipt(system, erasure)).status == "running"
    await system.start_worker()
    receipt = await asyncio.wait_for(erasures.receipt(erasure, wait=True), 30)
    assert (receipt.status, receipt.erased) == ("done", {"messages": 2})


async def erasures_receipt(system: System, erasure: str) -> ErasureReceipt:
    receipt = await system.store.get_receipt(erasure)
    assert receipt is not None
    return receipt


async def test_temporal_can_be_told_to_delete_the_histories_of_deleted_threads(system: System, thread: str) -> None:
    await system.ask(thread, "My card is 4711.")
    receipt = await erase(system, thread=thread, histories=True)
    assert "being deleted" in receipt.remaining[0].until
    assert receipt.remaining[0].count == 1


# --- owners and tenants


async def test_erasing_an_owner_leaves_what_others_said_in_the_same_words(system: System) -> None:
    ada, bob = f"ada-{new_thread()}", f"bob-{new_thread()}"
    threads = {owner: [new_thread() for _ in range(2)] for owner in (ada, bob)}
    for owner, its in threads.items():
        for thread in its:
            await system.ask(thread, "My card is 4711.", start=owned(owner))
    before = [await system.rows(thread) for thread in threads[bob]]
    receipt = await erase(system, owner=ada)
    assert (receipt.verified, receipt.threads, receipt.erased) == (True, 2, {"messages": 4, "records": 1})
    assert await left(system, Part(tenant="", owner=ada)) == 0
    assert [await system.rows(thread) for thread in threads[bob]] == before
    assert ada not in receipt.model_dump_json()
    assert [(await system.record(thread)).owner for thread in threads[ada]] == ["", ""]
    assert await system.ask(threads[bob][0], "Still there?")


async def test_erasing_an_owner_erases_facts_and_working_memory_and_no_other_tenants(system: System) -> None:
    name, tenant = f"ada-{new_thread()}", f"shop-{new_thread()}"
    facts, records = system.store.collection(points.FACTS), system.store.collection(points.RECORDS)
    for its in ("", tenant):
        await facts.insert({ids.record_id("fact", its, name): {"tenant": its, "owner": name, "text": "Likes tea."}})
        await records.insert({ids.record_id("memory", its, name): {"kind": "memory", "tenant": its, "owner": name}})
    receipt = await erase(system, owner=name, tenant=tenant)
    assert receipt.erased == {"facts": 1, "records": 1}
    assert await left(system, Part(tenant=tenant, owner=name)) == 0
    assert await left(system, Part(tenant="", owner=name)) == 2


async def test_erasing_a_tenant_erases_the_threads_of_all_its_owners(system: System) -> None:
    tenant, threads = f"shop-{new_thread()}", [new_thread() for _ in range(3)]
    for number, thread in enumerate(threads):
        await system.ask(thread, "Hi", start=ThreadStart(tenant=tenant, owner=f"o{number}"))
    receipt = await erase(system, tenant=tenant)
    assert (receipt.verified, receipt.threads) == (True, 3)
    assert await left(system, Part(tenant=tenant)) == 0


# --- turns, messages, time


async def test_an_erased_turn_is_seen_by_nobody_and_the_others_stay_whole(system: System, thread: str) -> None:
    await system.ask(thread, "My card is 4711.", id="a")
    await system.ask(thread, "Thanks.", id="b")
    receipt = await erase(system, thread=thread, turns={"first": 1, "last": 1})
    assert (receipt.status, receipt.erased) == ("done", {"messages": 2})
    await system.ask(thread, "What is my card?", id="c")
    assert "4711" not in str(system.asked())
    assert [row.prompt_id for row in await system.rows(thread)] == ["b", "b", "c", "c"]


async def test_the_threads_own_memory_of_an_erased_turn_is_erased(system: System, thread: str) -> None:
    await system.ask(thread, "My card is 4711.", id="a")
    await erase(system, thread=thread, turns={"first": 1, "last": 5})
    assert "4711" not in str(await system.store.load_checkpoint(thread))
    assert (await system.record(thread)).preview == ""
    await system.idle(thread)
    await system.ask(thread, "Next.", id="b")
    started = (await system.runs(thread))[-1][0].workflow_execution_started_event_attributes
    assert b"4711" not in started.SerializeToString()
    assert (await system.submit(thread, "My card is 4711.", id="a")).disposition == "duplicate"


async def test_a_message_is_erased_and_a_prompt_with_its_turn(system: System, thread: str) -> None:
    for name in "abc":
        await system.ask(thread, f"I am {name}", id=name)
    [answer] = await system.answers(thread, "a")
    receipt = await erase(system, messages=[answer.id, (await system.prompt(thread, "b")).id])
    assert receipt.erased == {"messages": 3}
    assert [(row.prompt_id, row.role) for row in await system.rows(thread)] == [
        ("a", "user"),
        ("c", "user"),
        ("c", "assistant"),
    ]
    await system.ask(thread, "Go on.", id="d")


async def test_a_turn_without_its_answer_is_not_gone_on_with_and_can_be_regenerated(
    system: System, thread: str
) -> None:
    await system.ask(thread, "Hi", id="a")
    [answer] = await system.answers(thread, "a")
    await erase(system, messages=[answer.id])
    await system.idle(thread)
    with pytest.raises(Exception, match="erased; regenerate it"):
        await system.threads.resume(thread, prompt_id="a")
    await system.threads.regenerate(thread, prompt_id="a")
    await system.ended(thread, "a")


async def test_a_turn_that_runs_is_left_and_the_receipt_says_so(system: System, thread: str) -> None:
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    receipt = await erase(system, thread=thread, turns={"first": 1, "last": 1})
    assert receipt.status == "incomplete"
    assert receipt.left == [f"turn 1 of thread {thread} has not ended; interrupt it first"]
    assert len(await system.rows(thread)) == 2


async def test_what_is_older_than_a_time_is_erased_by_whole_turns(system: System, thread: str) -> None:
    await system.ask(thread, "Old.", id="a")
    await system.idle(thread)
    middle = max(row.updated_at for row in await system.rows(thread)) + 0.001
    await asyncio.sleep(0.01)
    await system.ask(thread, "New.", id="b")
    receipt = await erase(system, thread=thread, before=middle)
    assert receipt.erased == {"messages": 2}
    assert {row.prompt_id for row in await system.rows(thread)} == {"b"}
    assert (await system.record(thread)).preview == "New."


# --- results that are kept whole elsewhere


async def test_a_long_result_is_deleted_with_the_last_row_that_names_it(system: System) -> None:
    ref = await system.blobs.put(b"x" * 100_000)
    threads = [new_thread(), new_thread()]
    for thread in threads:
        row = Message(
            id=ids.message_id(thread, "a", "tool:0"), thread=thread, prompt_id="a", slot="tool:0", role="tool"
        )
        await system.store.insert(
            [row.model_copy(update={"status": "complete", "blob": {"ref": ref, "chars": 100_000}})]
        )
    await erase(system, thread=threads[0])
    assert await system.blobs.get(ref) is not None
    await erase(system, thread=threads[1])
    assert await system.blobs.get(ref) is None


# --- idempotent


async def test_an_erasure_sent_twice_is_done_once_and_its_id_is_for_no_other(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    mine = f"e-{thread}"
    first = await erase(system, id=mine, thread=thread)
    assert await erase(system, id=mine, thread=thread) == first
    with pytest.raises(PromptConflictError):
        await erase(system, id=mine, thread=new_thread())
