"""Callbacks of documents: signed, repeated under one id until they are taken, and no more after that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.webhooks import SignedWebhooks
from tests.library import Room
from tests.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    webhooks = SignedWebhooks(b"k" * 32, private=True)
    room = Room(tmp_path, webhooks=webhooks)
    yield room
    await webhooks.close()
    room.close()


async def test_the_end_of_a_document_is_told_once(room: Room, receiver: Receiver) -> None:
    made = await room.read("Some words.", callback=receiver.url)
    assert await room.callbacks.due() == 1
    assert [await room.callbacks.work(), await room.callbacks.work(), await room.callbacks.due()] == [1, 0, 0]
    [post] = receiver.posts
    told = json.loads(post.body)
    assert (told["type"], told["id"], told["status"], told["chunks"]) == ("document.ended", made.id, "ready", 1)
    assert post.headers["webhook-signature"].startswith("v1,")
    assert (await room.document(made.id)).notice == "delivered"


async def test_a_failure_is_told_with_its_reason(room: Room, receiver: Receiver) -> None:
    await room.read(b"\xff\xfa\xfb", callback=receiver.url)
    await room.callbacks.work()
    told = json.loads(receiver.posts[0].body)
    assert told["status"] == "failed"
    assert "not text in UTF-8" in told["error"]


async def test_what_is_not_taken_is_sent_again_later_under_the_same_id(room: Room, receiver: Receiver) -> None:
    receiver.answers = [(503, {}), (204, {})]
    made = await room.read("Some words.", callback=receiver.url)
    await room.callbacks.work()
    assert await room.callbacks.work() == 0  # its time has not come
    room.now += 120
    assert await room.callbacks.work() == 1
    ids = {post.headers["webhook-id"] for post in receiver.posts}
    assert (len(receiver.posts), len(ids)) == (2, 1)
    assert (await room.document(made.id)).notice == "delivered"


async def test_what_nobody_takes_for_a_day_or_nobody_wants_is_given_up(room: Room, receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (410, {})]
    made = await room.read("Some words.", callback=receiver.url)
    room.now += 90_000
    await room.callbacks.work()
    ended = await room.document(made.id)
    assert (ended.notice, ended.notice_error) == ("undeliverable", "127.0.0.1 answered 500")
    other = await room.read("Other words.", "other", callback=receiver.url)
    await room.callbacks.work()
    assert (await room.document(other.id)).notice == "undeliverable"


async def test_a_document_without_a_callback_tells_nobody(room: Room) -> None:
    await room.read("Some words.")
    assert await room.callbacks.work() == 0
