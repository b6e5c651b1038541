"""Replies to web addresses: signed, to the public internet only, and what their answers mean."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from adapters.webhooks import SignedWebhooks, is_public, signature
from domain.errors import DeliveryFailedError, DeliveryRefusedError
from tests.receiver import Receiver, receiving

KEY = b"k" * 32
BODY = '{"text": "Grüße"}'.encode()


@pytest.fixture(scope="module")
async def webhooks() -> AsyncIterator[SignedWebhooks]:
    """To this machine too, and impatient."""
    webhooks = SignedWebhooks(KEY, private=True, timeout_s=1.0, clock=lambda: 1_700_000_000.9)
    yield webhooks
    await webhooks.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def test_the_signature_is_that_of_the_specification() -> None:
    """The test vector of the Standard Webhooks libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_is_posted_is_signed_with_its_id_and_time(webhooks: SignedWebhooks, receiver: Receiver) -> None:
    await webhooks.post(receiver.url, "m-1", BODY)
    [post] = receiver.posts
    assert (post.headers["webhook-id"], post.headers["webhook-timestamp"]) == ("m-1", "1700000000")
    assert post.headers["webhook-signature"] == signature(KEY, "m-1", 1_700_000_000, post.body)
    assert (post.body, post.headers["content-type"]) == (BODY, "application/json")


async def test_the_checked_address_is_the_one_connected_to_and_the_name_goes_along(
    webhooks: SignedWebhooks, receiver: Receiver
) -> None:
    await webhooks.post(receiver.url.replace("127.0.0.1", "localhost"), "m-1", BODY)
    assert receiver.posts[0].headers["host"] == f"localhost:{receiver.port}"


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_success_is_a_success(webhooks: SignedWebhooks, receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {})]
    await webhooks.post(receiver.url, "m-1", BODY)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(500, {}, None), (404, {}, None), (429, {"retry-after": "7"}, 7.0), (503, {"retry-after": "3600"}, 3600.0)],
)
async def test_another_answer_may_be_better_later(
    webhooks: SignedWebhooks, receiver: Receiver, status: int, headers: dict[str, str], wait_s: float | None
) -> None:
    receiver.answers = [(status, headers)]
    with pytest.raises(DeliveryFailedError, match=f"127.0.0.1 answered {status}") as caught:
        await webhooks.post(receiver.url, "m-1", BODY)
    assert caught.value.retry_after_s == wait_s


async def test_a_redirect_is_not_followed(webhooks: SignedWebhooks, receiver: Receiver) -> None:
    receiver.answers = [(307, {"location": receiver.url})]
    with pytest.raises(DeliveryFailedError, match="307, a redirect, which is not followed"):
        await webhooks.post(receiver.url, "m-1", BODY)
    assert len(receiver.posts) == 1


async def test_who_is_gone_is_not_asked_again(webhooks: SignedWebhooks, receiver: Receiver) -> None:
    receiver.answers = [(410, {})]
    with pytest.raises(DeliveryRefusedError, match="410"):
        await webhooks.post(receiver.url, "m-1", BODY)


async def test_who_does_not_answer_is_waited_for_only_so_long(webhooks: SignedWebhooks, receiver: Receiver) -> None:
    receiver.answers = [(0, {})]
    with pytest.raises(DeliveryFailedError, match="did not answer within 1 s"):
        await asyncio.wait_for(webhooks.post(receiver.url, "m-1", BODY), 5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://no-such-host.invalid/"])
async def test_who_cannot_be_reached_may_be_later(webhooks: SignedWebhooks, url: str) -> None:
    with pytest.raises(DeliveryFailedError, match=r"cannot be (reached|resolved)"):
        await webhooks.post(url, "m-1", BODY)


@pytest.mark.parametrize("url", ["http://", "http:///x", "http://[::1", "ftp://a.example/"])
async def test_an_address_that_is_none_is_refused(webhooks: SignedWebhooks, url: str) -> None:
    with pytest.raises(DeliveryRefusedError, match="the url of reply_to"):
        await webhooks.post(url, "m-1", BODY)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_this_machine_is_refused_unless_it_is_allowed(receiver: Receiver, host: str) -> None:
    webhooks = SignedWebhooks(KEY)
    with pytest.raises(DeliveryRefusedError, match="EVERTHREAD_WEBHOOK_PRIVATE"):
        await webhooks.post(f"http://{host}:{receiver.port}/hook", "m-1", BODY)
    await webhooks.close()
    assert receiver.posts == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)
def test_what_is_not_on_the_internet_is_known_in_every_form(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_what_is_on_the_internet_is_allowed(address: str) -> None:
    assert is_public(address)


async def test_without_a_secret_nothing_is_posted_and_the_setting_is_named(receiver: Receiver) -> None:
    with pytest.raises(DeliveryRefusedError, match="EVERTHREAD_WEBHOOK_SECRET"):
        await SignedWebhooks(None, private=True).post(receiver.url, "m-1", BODY)
    assert receiver.posts == []
