"""The scripted model's embeddings as its users see them: the real `openai` client over real HTTP."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from doubles.scripted_model import Reply, ScriptedModel
from tests.doubles.test_scripted_model import connect


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel().serve() as model:
        yield model


@pytest.fixture
async def client(model: ScriptedModel) -> AsyncIterator[AsyncOpenAI]:
    async with connect(model) as client:
        yield client


async def test_embeddings_have_the_shape_of_openais(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="m", input=["one two", "three"], encoding_format="float")
    assert (answer.object, answer.model, [row.index for row in answer.data]) == ("list", "m", [0, 1])
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 3)
    assert [len(row.embedding) for row in answer.data] == [256, 256]
    assert math.hypot(*answer.data[0].embedding) == pytest.approx(1)


async def test_both_encodings_and_any_size_are_served(client: AsyncOpenAI) -> None:
    plain = await client.embeddings.create(model="m", input="one", dimensions=8, encoding_format="float")
    coded = await client.embeddings.create(model="m", input="one", dimensions=8)  # the client's own choice is base64
    assert coded.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert len(coded.data[0].embedding) == 8


async def test_texts_with_words_in_common_are_near(client: AsyncOpenAI) -> None:
    texts = ["summer in Berlin", "Berlin, in the summer!", "invoices and taxes"]
    first, near, far = (row.embedding for row in (await client.embeddings.create(model="m", input=texts)).data)
    assert sum(a * b for a, b in zip(first, near, strict=True)) > 0.7
    assert sum(a * b for a, b in zip(first, far, strict=True)) < 0.3


@pytest.mark.parametrize("given", ["", [], ["one", ""], ["w " * 9000], [[1, 2]]])
async def test_what_openai_refuses_is_refused(client: AsyncOpenAI, given: list[str]) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model="m", input=given)


async def test_a_reply_for_embeddings_is_for_no_chat_and_the_script_of_a_chat_is_for_no_embedding(
    model: ScriptedModel, client: AsyncOpenAI
) -> None:
    model.script(Reply(status=429, headers={"Retry-After": "7"}, embeds=True, times=1), Reply(text="Hello!", times=1))
    with pytest.raises(openai.RateLimitError):
        await client.embeddings.create(model="m", input="one")
    await client.embeddings.create(model="m", input="one")
    said = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert said.choices[0].message.content == "Hello!"
    assert [request.status for request in model.embedding_requests] == [429, 200]
    assert len(model.requests) == 1
