"""`deliver`: whoever a prompt names hears how it ended, once it can be told and not after its time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.delivery import LONGEST_RETRY_S, DeliveryActivities
from activities.rows import prompt_row
from adapters.webhooks import SignedWebhooks, signature
from domain import ids
from domain.delivery import CUT, MAX_TEXT_BYTES
from domain.messages import Message
from domain.prompts import Prompt, ReplyTo
from domain.steps import DeliverRequest, fence
from domain.wire import json_size
from tests.activities.fakes import failure, run
from tests.receiver import Listener, Receiver, receiving
from tests.system import WatchedStore, new_thread

KEY = b"k" * 32
ENDED_AT = 1_700_000_000.0


class Office:
    """The activity with one prompt to reply to, at a time that the test sets."""

    def __init__(
        self, store: WatchedStore, client: Client, webhooks: SignedWebhooks, thread: str | None = None
    ) -> None:
        self.store, self.now, self.thread = store, ENDED_AT, thread or new_thread()
        self._activities = DeliveryActivities(store, webhooks, client, clock=lambda: self.now)
        self.request = DeliverRequest(thread=self.thread, prompt_id="p")

    async def ended(self, to: ReplyTo | None, text: str = "Hello!", **fields: Any) -> None:
        row = prompt_row(self.thread, Prompt(id="p", content="Hi", reply_to=to), None, ENDED_AT)
        answer_id = ids.message_id(self.thread, "p", "answer")
        answer = Message(id=answer_id, thread=self.thread, prompt_id="p", slot="answer", role="assistant", text=text)
        end = {"status": "answered", "turn": 3, "answer": answer_id} | fields
        await self.store.insert([row.model_copy(update=end), answer])

    async def deliver(self) -> str:
        return str((await run(1, self._activities.deliver, self.request)).status)

    async def failed(self) -> float:
        """Seconds until it comes again."""
        error = await failure(1, self._activities.deliver, self.request)
        assert not error.non_retryable
        assert error.next_retry_delay is not None
        return error.next_retry_delay.total_seconds()

    async def delivery(self) -> dict[str, Any]:
        [row] = await self.store.get([ids.message_id(self.thread, "p", "prompt")])
        return row.delivery or {}


@pytest.fixture(scope="module")
async def webhooks() -> AsyncIterator[SignedWebhooks]:
    webhooks = SignedWebhooks(KEY, private=True)
    yield webhooks
    await webhooks.close()


@pytest.fixture
def office(shared_store: WatchedStore, temporal: Client, webhooks: SignedWebhooks) -> Office:
    return Office(shared_store, temporal, webhooks)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


# --- to web addresses


async def test_an_answer_is_posted_whole_and_signed(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url), "Hello! " * 1000)
    assert await office.deliver() == "delivered"
    [post] = receiver.posts
    assert json.loads(post.body) == {
        "thread": office.thread,
        "prompt_id": "p",
        "status": "answered",
        "turn": 3,
        "message_id": ids.message_id(office.thread, "p", "answer"),
        "text": "Hello! " * 1000,
        "error": None,
    }
    at = int(post.headers["webhook-timestamp"])
    assert post.headers["webhook-signature"] == signature(KEY, post.headers["webhook-id"], at, post.body)


async def test_an_end_without_an_answer_is_told_with_its_reason(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url), status="failed", answer=None, error="No such model.")
    await office.deliver()
    told = json.loads(receiver.posts[0].body)
    assert (told["status"], told["text"], told["error"]) == ("failed", "", "No such model.")


async def test_what_was_delivered_is_not_sent_again(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url))
    assert [await office.deliver() for _ in range(3)] == ["delivered"] * 3
    assert len(receiver.posts) == 1


async def test_it_is_tried_again_under_the_same_id_until_it_is_taken(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url))
    receiver.answers = [(500, {}), (302, {"location": "/"})]
    await office.failed()
    note = await office.delivery()
    assert (note["status"], note["attempts"], note["error"]) == ("trying", 1, "127.0.0.1 answered 500")
    await office.failed()
    assert await office.deliver() == "delivered"
    assert await office.delivery() == {"status": "delivered", "attempts": 3, "error": None, "at": office.now}
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1


class ReopeningWebhooks:
    """Takes a post, and has the prompt opened again and ended again before it says so."""

    def __init__(self, store: WatchedStore, row_id: str) -> None:
        self.ids: list[str] = []
        self._store, self._row_id = store, row_id

    async def post(self, url: str, message_id: str, body: bytes) -> None:
        self.ids.append(message_id)
        if len(self.ids) == 1:
            changes = {"status": "pending", "reopened_by": "r", "delivery": None}
            await self._store.reopen(self._row_id, fence(2, 0, 0), changes)
            await self._store.amend(self._row_id, fence(2, 0, 1), {"status": "answered"})

    async def close(self) -> None:
        pass


async def test_the_end_of_another_try_is_told_though_the_one_before_was_on_its_way(
    shared_store: WatchedStore, temporal: Client
) -> None:
    thread = new_thread()
    webhooks = ReopeningWebhooks(shared_store, ids.message_id(thread, "p", "prompt"))
    office = Office(shared_store, temporal, cast("SignedWebhooks", webhooks), thread)
    await office.ended(ReplyTo(url="http://127.0.0.1/hook"))
    assert [await office.deliver() for _ in range(3)] == ["delivered"] * 3
    assert len(set(webhooks.ids)) == len(webhooks.ids) == 2


async def test_the_pauses_grow_to_a_minute(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url))
    receiver.answers = [(500, {})] * 9
    pauses = [await office.failed() for _ in range(9)]
    assert 0.75 <= pauses[0] <= 1.25
    assert 6 <= pauses[3] <= 10
    assert 0.75 * LONGEST_RETRY_S <= pauses[8] <= 1.25 * LONGEST_RETRY_S


async def test_it_does_not_come_before_the_receiver_wants_it(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url))
    receiver.answers = [(503, {"retry-after": "600"})]
    assert 600 <= await office.failed() <= 750


async def test_the_last_try_is_at_the_end_of_its_time(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url, within_s=30))
    receiver.answers = [(503, {"retry-after": "600"}), (503, {})]
    assert await office.failed() == 30
    office.now += 30
    assert await office.deliver() == "undeliverable"
    assert await office.deliver() == "undeliverable"
    assert len(receiver.posts) == 2
    note = await office.delivery()
    assert (note["status"], note["attempts"], note["error"]) == ("undeliverable", 2, "127.0.0.1 answered 503")


async def test_it_is_tried_once_even_if_no_worker_ran_in_its_time(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url, within_s=30))
    office.now += 3600
    assert await office.deliver() == "delivered"


async def test_a_receiver_that_is_gone_is_given_up_at_once(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url))
    receiver.answers = [(410, {})]
    assert await office.deliver() == "undeliverable"
    assert "410" in (await office.delivery())["error"]


@pytest.mark.parametrize(
    ("webhooks", "setting"),
    [(SignedWebhooks(None), "EVERTHREAD_WEBHOOK_SECRET"), (SignedWebhooks(KEY), "EVERTHREAD_WEBHOOK_PRIVATE")],
    ids=["no-secret", "private"],
)
async def test_what_the_settings_do_not_allow_is_given_up_naming_the_setting(
    office: Office, receiver: Receiver, webhooks: SignedWebhooks, setting: str
) -> None:
    await office.ended(ReplyTo(url=receiver.url))
    assert await office.deliver() == "undeliverable"
    assert setting in (await office.delivery())["error"]
    assert receiver.posts == []


@pytest.mark.parametrize("text", ["x" * 3_000_000, "\n" * 1_500_000, "ä\x01" * 600_000], ids=["x", "lines", "odd"])
async def test_an_answer_too_large_to_travel_is_cut_with_a_note(office: Office, receiver: Receiver, text: str) -> None:
    await office.ended(ReplyTo(url=receiver.url), text)
    await office.deliver()
    told = json.loads(receiver.posts[0].body)["text"]
    assert told.endswith(CUT)
    assert text.startswith(told.removesuffix(CUT))
    assert MAX_TEXT_BYTES * 0.9 < json_size(told) <= MAX_TEXT_BYTES + len(CUT) + 1


# --- to workflows


async def test_a_workflow_is_told_by_a_signal(office: Office, temporal: Client) -> None:
    await office.ended(ReplyTo(workflow_id=f"listener-{office.thread}"))
    assert 0.75 <= await office.failed() <= 1.25
    assert "does not run" in (await office.delivery())["error"]
    async with Worker(temporal, task_queue=office.thread, workflows=[Listener]):
        listener = await temporal.start_workflow(Listener.run, id=f"listener-{office.thread}", task_queue=office.thread)
        assert await office.deliver() == "delivered"
        told = await listener.result()
    assert (told["prompt_id"], told["status"], told["text"]) == ("p", "answered", "Hello!")


async def test_a_workflow_that_never_comes_is_given_up_at_the_end_of_its_time(office: Office) -> None:
    await office.ended(ReplyTo(workflow_id=f"nobody-{office.thread}", within_s=5))
    assert await office.failed() <= 5
    office.now += 5
    assert await office.deliver() == "undeliverable"


async def test_a_large_answer_can_be_signalled(office: Office, temporal: Client) -> None:
    await office.ended(ReplyTo(workflow_id=f"listener-{office.thread}"), "\x01" * 1_000_000)
    await temporal.start_workflow(Listener.run, id=f"listener-{office.thread}", task_queue=office.thread)
    assert await office.deliver() == "delivered"


# --- nothing to tell


async def test_a_prompt_that_names_nobody_needs_nothing(office: Office) -> None:
    assert await office.deliver() == "none"
    await office.ended(None)
    assert await office.deliver() == "none"


async def test_an_end_that_does_not_show_yet_is_waited_for(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url), status="pending")
    await office.failed()
    assert receiver.posts == []
    assert await office.delivery() == {}


async def test_an_answer_that_does_not_show_yet_is_waited_for(office: Office, receiver: Receiver) -> None:
    await office.ended(ReplyTo(url=receiver.url), answer=ids.message_id(office.thread, "p", "answer", step=1))
    await office.failed()
    assert receiver.posts == []


async def test_who_joined_a_turn_is_not_told_before_it_ends(office: Office, receiver: Receiver) -> None:
    first = prompt_row(office.thread, Prompt(id="first", content="Hi"), None, ENDED_AT)
    await office.store.insert([first])
    await office.ended(ReplyTo(url=receiver.url), status="joined", joins="first", answer=None)
    await office.failed()
    assert (receiver.posts, await office.delivery()) == ([], {})
    await office.store.amend(
        first.id, 1, {"status": "answered", "answer": ids.message_id(office.thread, "p", "answer")}
    )
    assert await office.deliver() == "delivered"
