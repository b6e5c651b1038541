"""A web address that a prompt's `reply_to` names hears how it ended, and the thread does not wait for that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.webhooks import SignedWebhooks
from domain import ids
from domain.prompts import ReplyTo
from doubles.scripted_model import Reply
from tests.receiver import Receiver, receiving
from tests.system import System


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def posting(system: System) -> AsyncIterator[System]:
    """A system that may post to this machine."""
    webhooks = SignedWebhooks(b"k" * 32, private=True)
    await system.stop_workers()
    await system.start_worker(webhooks=webhooks)
    yield system
    await system.stop_workers()
    await webhooks.close()


async def delivered(system: System, thread: str, prompt_id: str) -> dict[str, Any]:
    """What became of the reply, once that is settled."""

    async def settled() -> dict[str, Any] | None:
        rows = await system.store.get([ids.message_id(thread, prompt_id, "prompt")])
        return next((row.delivery for row in rows if row.delivery and row.delivery["status"] != "trying"), None)

    found = await system.until(settled)
    assert found is not None
    return found


async def test_every_end_is_posted_across_rolls_under_one_id(posting: System, receiver: Receiver, thread: str) -> None:
    posting.model.script(Reply(when="bad", status=400), "You said: {user}")
    receiver.answers = [(503, {"retry-after": "1"})]
    for prompt_id in ("a", "bad", "c"):
        await posting.submit(thread, prompt_id, id=prompt_id, reply_to=ReplyTo(url=receiver.url))
        await posting.workflow(thread).signal("roll")
    for prompt_id in ("a", "bad", "c"):
        assert (await delivered(posting, thread, prompt_id))["status"] == "delivered"
    bodies = [json.loads(post.body) for post in receiver.posts]
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 3
    assert {body["prompt_id"]: body["status"] for body in bodies} == {"a": "answered", "bad": "failed", "c": "answered"}


async def test_a_receiver_that_is_away_holds_up_nothing(posting: System, receiver: Receiver, thread: str) -> None:
    away = ReplyTo(url=f"http://127.0.0.1:{receiver.port}/hook", within_s=3)
    receiver.answers = [(503, {})] * 9
    await posting.submit(thread, "Hi", id="a", reply_to=away)
    assert await posting.ask(thread, "Ho", id="b") == "You said: Ho"
    settled = await delivered(posting, thread, "a")
    assert (settled["status"], settled["error"]) == ("undeliverable", "127.0.0.1 answered 503")
    assert settled["attempts"] >= 2


async def test_where_no_secret_is_set_the_row_says_what_to_set(system: System, receiver: Receiver, thread: str) -> None:
    await system.submit(thread, "Hi", id="a", reply_to=ReplyTo(url=receiver.url))
    settled = await delivered(system, thread, "a")
    assert settled["status"] == "undeliverable"
    assert "EVERTHREAD_WEBHOOK_SECRET" in settled["error"]
    assert receiver.posts == []
