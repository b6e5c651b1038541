"""No prompt is lost, none is answered twice: order, duplicates, conflicts, and what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from activities.ports import Store
from activities.rows import prompt_row
from domain import ids
from domain.errors import InboxFullError, InputRefusedError, PromptConflictError
from domain.messages import Message
from domain.prompts import Prompt
from domain.thread import MAX_WAITING
from doubles.scripted_model import Reply
from tests.system import System, said


async def busy(system: System, thread: str, seconds: float = 1.0) -> None:
    """A turn runs for about so long."""
    system.model.script(Reply(text="Wait …", when="first", first_delay_s=seconds), Reply(text="You said: {user}"))
    await system.submit(thread, "first", id="first")
    await system.model.until(lambda request: request.status is None)


async def seed_answered(system: System, thread: str, prompt: Prompt, turn: int) -> None:
    """An older prompt of the thread, as the store has it long after."""
    row = prompt_row(thread, prompt, None, 1.0)
    changes = {"turn": turn, "seq": ids.first_seq(turn), "status": "answered"}
    await system.store.insert([row.model_copy(update=changes)])


async def forget_recent(system: System, thread: str) -> None:
    """A thousand later prompts, which is as many as the thread remembers."""
    rows = [prompt_row(thread, Prompt(id=f"later{n}", content="x"), None, 1.0) for n in range(1_000)]
    changes = [{"turn": 10 + n, "seq": ids.first_seq(10 + n), "status": "answered"} for n in range(1_000)]
    await system.store.insert([row.model_copy(update=change) for row, change in zip(rows, changes, strict=True)])


# --- order


async def test_prompts_are_answered_in_the_order_they_came(system: System, thread: str) -> None:
    names = [f"p{number}" for number in range(25)]
    for name in names:
        await system.threads.signal(thread, Prompt(id=name, content=f"I am {name}"))
    await system.ended(thread, *names)
    rows = [row for row in await system.rows(thread) if row.role == "user"]
    assert [(row.prompt_id, row.turn) for row in rows] == [(name, turn) for turn, name in enumerate(names, start=1)]
    assert [request.body["messages"][-1]["content"] for request in system.model.requests] == [
        f"I am {name}" for name in names
    ]


class SeenInserts:
    """A store that remembers what was inserted together, by prompt id."""

    def __init__(self, store: Store) -> None:
        self.inserts: list[list[str]] = []
        self._store = store

    async def insert(self, messages: Sequence[Message]) -> None:
        self.inserts.append([row.prompt_id for row in sorted(messages, key=lambda row: row.seq)])
        await self._store.insert(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_prompts_that_open_a_thread_are_saved_in_order_with_the_first_that_starts_at_once(
    system: System, thread: str
) -> None:
    """Else a thread whose opening was cut by a crash would open again with the first behind the others."""
    await system.stop_workers()
    names = ["p1", "p2", "p3"]
    for name in names:
        await system.threads.signal(thread, Prompt(id=name, content=f"I am {name}"))
    store = SeenInserts(system.store)
    await system.start_worker(store=cast("Store", store))
    await system.ended(thread, *names)
    assert next(together for together in store.inserts if "p3" in together) == names


# --- duplicates


async def test_a_prompt_sent_twenty_times_at_once_is_answered_once(system: System, thread: str) -> None:
    prompt = Prompt(id="a", content="Hi")
    signals = [system.threads.signal(thread, prompt) for _ in range(15)]
    updates = [system.threads.submit(thread, prompt) for _ in range(5)]
    receipts = (await asyncio.gather(*updates, *signals))[:5]
    assert {receipt.prompt_id for receipt in receipts if receipt} == {"a"}
    await system.ended(thread, "a")
    await system.ask(thread, "Another", id="b")
    assert said(await system.rows(thread)) == [
        ("user", "answered", "Hi"),
        ("assistant", "complete", "You said: Hi"),
        ("user", "answered", "Another"),
        ("assistant", "complete", "You said: Another"),
    ]
    assert len(system.model.requests) == 2


async def test_a_prompt_sent_again_after_its_answer_is_a_duplicate(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    assert (await system.submit(thread, "Hi", id="a")).disposition == "duplicate"
    await system.threads.signal(thread, Prompt(id="a", content="Hi"))
    await system.idle(thread)
    assert len(system.model.requests) == 1


async def test_a_prompt_older_than_the_threads_memory_is_answered_once(system: System, thread: str) -> None:
    """The store knows it: its row has the turn of another time."""
    await seed_answered(system, thread, Prompt(id="old", content="Hi"), turn=3)
    await forget_recent(system, thread)
    assert (await system.submit(thread, "Hi", id="old")).disposition == "started"  # it cannot know yet
    assert await system.ask(thread, "New", id="new") == "You said: New"
    assert (await system.prompt(thread, "old")).turn == 3
    assert (await system.prompt(thread, "new")).turn == 1_010
    assert len(system.model.requests) == 1


async def test_a_waiting_prompt_older_than_the_threads_memory_is_answered_once(system: System, thread: str) -> None:
    await seed_answered(system, thread, Prompt(id="old", content="Hi"), turn=3)
    await forget_recent(system, thread)
    await busy(system, thread)
    assert (await system.submit(thread, "Hi", id="old")).disposition == "queued"
    await system.ask(thread, "New", id="new")
    assert (await system.prompt(thread, "old")).turn == 3
    assert [request.body["messages"][-1]["content"] for request in system.model.requests] == ["first", "New"]


# --- conflicts


async def test_an_id_used_for_another_text_is_refused_to_an_update(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    with pytest.raises(PromptConflictError, match="'a' was used before for another text; send it under a new id"):
        await system.submit(thread, "Bye", id="a")
    await system.idle(thread)
    assert len(await system.rows(thread)) == 2


async def test_an_id_used_for_another_text_is_recorded_for_a_signal(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", id="a")
    await system.threads.signal(thread, Prompt(id="a", content="Bye"))
    [refused] = await system.refused(thread)
    assert refused.text == "Bye"
    assert refused.refers_to == "a"
    assert "used before for another text" in (refused.error or "")
    assert (await system.prompt(thread, "a")).text == "Hi"
    [event] = system.events.of(thread, "prompt.refused")
    assert event["prompt_id"] == "a"


@pytest.mark.parametrize("while_busy", [False, True])
async def test_an_old_id_with_another_text_is_recorded_even_beyond_the_threads_memory(
    system: System, thread: str, while_busy: bool
) -> None:
    await seed_answered(system, thread, Prompt(id="old", content="Hi"), turn=3)
    await forget_recent(system, thread)
    if while_busy:
        await busy(system, thread)
    await system.submit(thread, "Bye", id="old")
    [refused] = await system.refused(thread)
    assert (refused.text, refused.refers_to) == ("Bye", "old")
    assert (await system.prompt(thread, "old")).text == "Hi"
    await system.idle(thread)
    assert "Bye" not in [request.body["messages"][-1]["content"] for request in system.model.requests]


async def test_a_conflict_does_not_put_its_text_in_the_place_of_the_first(system: System, thread: str) -> None:
    await seed_answered(system, thread, Prompt(id="old", content="Hi"), turn=3)
    await forget_recent(system, thread)
    await system.submit(thread, "Bye", id="old")
    await system.refused(thread)
    assert (await system.submit(thread, "Hi", id="old")).disposition != "duplicate"  # it looks that up again
    await system.idle(thread)
    with pytest.raises(PromptConflictError):
        await system.submit(thread, "Bye", id="old")
    assert not system.model.requests


# --- what waits


async def test_what_waits_is_in_the_store_while_a_turn_runs(system: System, thread: str) -> None:
    await busy(system, thread, seconds=5.0)  # longer than 25 updates take where the processors are busy too
    names = [f"p{number}" for number in range(25)]
    for name in names:
        receipt = await system.submit(thread, f"I am {name}", id=name)
        assert receipt.disposition == "queued"

    async def saved() -> bool:
        return len(await system.store.open_prompts(thread, 100)) == 26

    await system.until(saved)
    assert [row.status for row in await system.ended(thread, "first")] == ["answered"]
    waiting = [row for row in await system.rows(thread) if row.status == "pending"]
    assert [row.text for row in waiting] == [f"I am {name}" for name in names][-len(waiting) :]
    await system.ended(thread, *names)
    rows = [row for row in await system.rows(thread) if row.role == "user"]
    assert [(row.prompt_id, row.turn) for row in rows] == [(n, t) for t, n in enumerate(["first", *names], start=1)]


async def test_a_full_inbox_refuses_in_words_and_loses_nothing(system: System, thread: str) -> None:
    await system.stop_workers()
    handle = await system.start(thread)
    names = [f"p{number}" for number in range(MAX_WAITING + 1)]
    for start in range(0, len(names), 100):
        prompts = [{"id": name, "content": "x"} for name in names[start : start + 100]]
        await asyncio.gather(*(handle.signal("prompt", prompt) for prompt in prompts))
    system.model.script(Reply(text="Wait …", first_delay_s=1.5))
    await system.start_worker()
    [refused] = await system.refused(thread)
    assert refused.error == f"{MAX_WAITING} prompts wait already; send this one again when some are answered"
    status = await system.threads.status(thread)
    assert status["waiting"] + bool(status["running"]) == MAX_WAITING
    with pytest.raises(InboxFullError, match="prompts wait already"):
        for number in range(3):  # one may have started meanwhile
            await system.submit(thread, "One too many", id=f"more{number}")
    await handle.terminate()
    unended = await system.store.open_prompts(thread, 2 * MAX_WAITING)
    assert MAX_WAITING <= len(unended) <= MAX_WAITING + 1


async def test_a_900_kb_prompt_is_answered(system: System, thread: str) -> None:
    system.model.script("Long!")
    content = "ä" * 450_000
    assert await system.ask(thread, content, id="a") == "Long!"
    assert system.asked()[-1]["content"] == content
    assert (await system.prompt(thread, "a")).text == content


async def test_a_prompt_that_is_too_large_is_refused_by_the_client(system: System, thread: str) -> None:
    handle = await system.start(thread)
    await handle.signal("prompt", {"content": "x" * 1_000_001})
    [refused] = await system.refused(thread)
    assert "more than 1000000; send it in parts" in (refused.error or "")
    with pytest.raises(InputRefusedError, match="send it in parts"):
        await system.threads.submit(thread, Prompt.model_construct(content="x" * 1_000_001))


async def test_many_large_prompts_at_once_are_answered_in_order(system: System, thread: str) -> None:
    system.model.script("Yes.", cycle=True)
    names = [f"p{number}" for number in range(20)]
    for name in names:
        await system.threads.signal(thread, Prompt(id=name, content=name + "x" * 64_000))
    await system.ended(thread, *names)
    assert [request.body["messages"][-1]["content"].rstrip("x") for request in system.model.requests] == names
