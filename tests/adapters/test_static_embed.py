"""The embedding model of a machine without a key."""

from __future__ import annotations

import asyncio
import math
import sys
import time

import pytest

from activities.ports import Embedder
from adapters import static_embed
from adapters.static_embed import StaticEmbedder
from domain.errors import SetupError
from tests.adapters.embedder_contract import EmbedderContract


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return StaticEmbedder.load()


class TestStaticEmbedder(EmbedderContract):
    """The contract."""


# The first numbers of WordLlama's own `embed([text], norm=True)`. Over the 1,453 messages of three long conversations the
# largest difference of any number was 3e-8.
OF_WORDLLAMA = {"Hello world": (0.12218, 0.04305, 0.05671, -0.04641), "猫 🎉": (0.09893, 0.04228, -0.0056, -0.09315)}


@pytest.mark.parametrize("text", OF_WORDLLAMA)
async def test_vectors_are_those_of_wordllama(embedder: Embedder, text: str) -> None:
    (vector,) = (await embedder.embed([text])).vectors
    assert tuple(vector[:4]) == pytest.approx(OF_WORDLLAMA[text], abs=1e-5)


async def test_it_does_not_run_the_package_of_its_weights(embedder: Embedder) -> None:
    assert "wordllama" not in sys.modules


def test_it_is_loaded_in_no_time() -> None:
    start = time.perf_counter()
    StaticEmbedder.load()
    assert time.perf_counter() - start < 1


async def test_a_message_takes_less_than_a_millisecond(embedder: Embedder) -> None:
    texts = [f"We went to the market with John and bought {number} apples" for number in range(100)]
    took = []
    for _ in range(5):
        start = time.perf_counter()
        await embedder.embed(texts)
        took.append(time.perf_counter() - start)
    assert min(took) / len(texts) < 0.001


async def test_many_texts_do_not_hold_up_the_event_loop(embedder: Embedder) -> None:
    texts = ["We went to the market with John and bought apples, pears and a kite for the children. " * 5] * 2_000
    running = asyncio.ensure_future(embedder.embed(texts))
    turns = 0
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_weights_that_are_missing_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_embed, "_WEIGHTS", "weights/none.safetensors")
    with pytest.raises(SetupError, match=r"bootstrap\.sh run"):
        StaticEmbedder.load()


async def test_a_text_of_characters_it_does_not_know_has_a_vector(embedder: Embedder) -> None:
    (vector,) = (await embedder.embed(["\U0001fae8"])).vectors
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
