"""Embeddings of an endpoint, in front of the scripted model; and what becomes of its errors."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import AsyncIterator
from typing import Any

import pytest

from activities.ports import Embedder
from adapters.openai_embed import MOST_CHARACTERS, MOST_TEXTS, OpenAIEmbedder
from domain.errors import (
    ContextTooLongError,
    ModelRefusedError,
    ModelUnavailableError,
    QuotaSpentError,
    SetupError,
)
from doubles.scripted_model import Reply, ReplyError, ScriptedModel
from tests.adapters.chatting import KEY
from tests.adapters.embedder_contract import EmbedderContract


async def connect(model: ScriptedModel, **arguments: Any) -> OpenAIEmbedder:
    given = {"base_url": model.base_url, "api_key": KEY, "model": "acme/words:v1"} | arguments
    return await OpenAIEmbedder.open(**given)


@pytest.fixture
async def embedder(model: ScriptedModel) -> AsyncIterator[OpenAIEmbedder]:
    embedder = await connect(model)
    yield embedder
    await embedder.close()


class TestOpenAIEmbedder(EmbedderContract):
    """The contract."""


def bodies(model: ScriptedModel) -> list[Any]:
    return [request.body for request in model.embedding_requests]


def data(*embeddings: Any) -> dict[str, Any]:
    return {"data": [{"index": place, "embedding": embedding} for place, embedding in enumerate(embeddings)]}


async def test_the_dimensions_are_learned_from_the_model(model: ScriptedModel, embedder: Embedder) -> None:
    assert (embedder.name, embedder.dimensions) == ("acme-words-v1_256", 256)
    assert len(model.embedding_requests) == 1


async def test_dimensions_that_are_set_are_asked_for_and_need_no_look(model: ScriptedModel) -> None:
    embedder = await connect(model, dimensions=64)
    assert embedder.name == "acme-words-v1_64"
    assert model.embedding_requests == []
    await embedder.embed(["one"])
    assert bodies(model) == [
        {"model": "acme/words:v1", "input": ["one"], "encoding_format": "base64", "dimensions": 64}
    ]
    await embedder.close()


async def test_the_dimensions_of_openais_models_are_known() -> None:
    embedder = await OpenAIEmbedder.open(base_url="http://127.0.0.1:1", api_key="", model="text-embedding-3-small")
    assert embedder.name == "text-embedding-3-small_1536"
    await embedder.close()


async def test_texts_go_in_batches_by_number_and_by_length(model: ScriptedModel, embedder: Embedder) -> None:
    long = "w" * (MOST_CHARACTERS // 2 - 1)
    embedded = await embedder.embed(["x"] * (MOST_TEXTS + 1) + [long, long, "end"])
    sizes = [len(body["input"]) for body in bodies(model)[1:]]
    assert sizes == [MOST_TEXTS, 3, 1]
    assert all(sum(map(len, body["input"])) <= MOST_CHARACTERS for body in bodies(model))
    assert embedded.tokens == MOST_TEXTS + 4


async def test_numbers_are_read_in_both_encodings_and_made_of_length_one(
    model: ScriptedModel, embedder: Embedder
) -> None:
    numbers = [3.0, 4.0] + [0.0] * 254
    coded = base64.b64encode(array("f", numbers).tobytes()).decode()
    model.script(Reply(embeds=True, extra=data(numbers, coded)))
    first, second = (await embedder.embed(["one", "two"])).vectors
    assert [*first[:3]] == pytest.approx([0.6, 0.8, 0])
    assert first == second


async def test_vectors_belong_to_the_text_whose_number_they_have(model: ScriptedModel, embedder: Embedder) -> None:
    one, two = [1.0] + [0.0] * 255, [0.0, 1.0] + [0.0] * 254
    rows = [{"index": 1, "embedding": two}, {"index": 0, "embedding": one}]
    model.script(Reply(embeds=True, extra={"data": rows}))
    assert (await embedder.embed(["one", "two"])).vectors == [one, two]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (data([1.0] * 256), "sent 1 vectors for 2 texts"),
        (data([1.0] * 256, [1.0] * 256, [1.0] * 256), "sent 3 vectors for 2 texts"),
        ({"data": [{"index": 0, "embedding": [1.0] * 256}] * 2}, "sent 2 vectors for 2 texts"),
        (data([1.0] * 256, [1.0] * 8), "vectors of 8 numbers instead of 256.*EVERTHREAD_EMBEDDING_DIMENSIONS"),
        (data([1.0] * 256, "!"), "cannot be read"),
        (data([1.0] * 256, None), "cannot be read"),
        (data([1.0] * 256, []), "cannot be read"),
        ({"data": ["one", "two"]}, "cannot be read"),
        ({"data": None}, "something else than embeddings"),
    ],
)
async def test_vectors_that_are_not_one_for_each_text_are_refused_in_words(
    model: ScriptedModel, embedder: Embedder, extra: dict[str, Any], words: str
) -> None:
    model.script(Reply(embeds=True, extra=extra))
    with pytest.raises(ModelRefusedError, match=words):
        await embedder.embed(["one", "two"])


async def test_a_vector_that_is_no_number_is_for_another_try(model: ScriptedModel, embedder: Embedder) -> None:
    model.script(Reply(embeds=True, extra=data([math.nan] * 256)))
    with pytest.raises(ModelUnavailableError, match="no number"):
        await embedder.embed(["one"])


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply(status=500, embeds=True), ModelUnavailableError, "HTTP 500"),
        (Reply(status=404, embeds=True), ModelRefusedError, "Check EVERTHREAD_EMBEDDING and OPENAI_BASE_URL"),
        (Reply(cut_after_chunks=0, embeds=True), ModelUnavailableError, "cannot be reached"),
        (Reply(cut_after_chunks=1, embeds=True), ModelUnavailableError, "cannot be reached"),
        (
            Reply(status=429, error=ReplyError(message="Pay!", code="insufficient_quota"), embeds=True),
            QuotaSpentError,
            "Pay!",
        ),
        (Reply(headers={"content-type": "text/html"}, embeds=True), ModelRefusedError, "else than embeddings"),
    ],
)
async def test_errors_come_in_our_words(
    model: ScriptedModel, embedder: Embedder, reply: Reply, error: type[Exception], words: str
) -> None:
    model.script(reply)
    with pytest.raises(error, match=words):
        await embedder.embed(["one"])


async def test_a_text_that_is_too_long_for_the_model_is_told_as_that(embedder: Embedder) -> None:
    with pytest.raises(ContextTooLongError):
        await embedder.embed(["w " * 9_000])


async def test_a_wrong_key_is_told_without_showing_it(model: ScriptedModel) -> None:
    with pytest.raises(ModelRefusedError, match="Check OPENAI_API_KEY") as caught:
        await connect(model, api_key="sk-wrong-0123456789")
    assert "0123456789" not in str(caught.value)


async def test_an_endpoint_that_asks_for_patience_is_not_asked_before(model: ScriptedModel, embedder: Embedder) -> None:
    model.script(Reply(status=429, headers={"Retry-After": "30"}, embeds=True))
    with pytest.raises(ModelUnavailableError) as first:
        await embedder.embed(["one"])
    assert first.value.retry_after_s == 30
    asked = len(model.embedding_requests)
    with pytest.raises(ModelUnavailableError, match="asked not to be asked") as second:
        await embedder.embed(["one"])
    assert second.value.retry_after_s == pytest.approx(30, abs=5)
    assert len(model.embedding_requests) == asked


async def test_a_silent_endpoint_is_given_up_sooner_for_a_query(model: ScriptedModel) -> None:
    embedder = await connect(model, call_s=20, query_s=0.05)
    model.script(Reply(hang_after_chunks=0, embeds=True))
    with pytest.raises(ModelUnavailableError, match=r"within 0\.05 s"):
        await embedder.embed(["one"], query=True)
    await embedder.close()


async def test_an_endpoint_that_is_not_there_is_for_now() -> None:
    with pytest.raises(ModelUnavailableError):
        await OpenAIEmbedder.open(base_url="http://127.0.0.1:1/v1", api_key="", model="m")


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SetupError, match="OPENAI_BASE_URL"):
        await OpenAIEmbedder.open(base_url="nowhere", api_key="", model="m")


async def test_the_endpoints_models_are_listed(embedder: OpenAIEmbedder) -> None:
    assert await embedder.models() == ["scripted"]
