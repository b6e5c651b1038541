"""What every embedder does, whatever its model is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from activities.ports import Embedder


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


class EmbedderContract:
    """Inherited by the test of each adapter, which brings the fixture `embedder`."""

    async def test_each_text_has_its_vector_in_order(self, embedder: Embedder) -> None:
        texts = ["the garden of my uncle", "invoices of last May", "the garden of my uncle"]
        first, second, third = (await embedder.embed(texts)).vectors
        assert first == pytest.approx(third, abs=1e-6)
        assert cosine(first, second) < 0.9
        alone = (await embedder.embed(texts[1:2])).vectors[0]
        assert second == pytest.approx(alone, abs=1e-6)

    async def test_vectors_are_of_the_models_size_and_of_length_one(self, embedder: Embedder) -> None:
        vectors = (await embedder.embed(["one", "a somewhat longer text", "猫 🎉"])).vectors
        assert [len(vector) for vector in vectors] == [embedder.dimensions] * 3
        assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1, 1, 1], abs=1e-5)

    async def test_similar_texts_are_nearer_than_others(self, embedder: Embedder) -> None:
        texts = ["We flew to Berlin in summer", "invoices and taxes for the accountant"]
        query = await embedder.embed(["the summer in Berlin"], query=True)
        near, far = (await embedder.embed(texts)).vectors
        assert cosine(query.vectors[0], near) > cosine(query.vectors[0], far)

    async def test_many_texts_and_long_ones_come_back_in_order(self, embedder: Embedder) -> None:
        texts = [f"text number {number} {'x' * (number % 7)}" for number in range(2_500)] + [
            "w " * (embedder.longest // 2)
        ]
        vectors = (await embedder.embed(texts)).vectors
        assert len(vectors) == len(texts)
        some = (await embedder.embed(texts[2_400:2_402])).vectors
        assert vectors[2_400] == pytest.approx(some[0], abs=1e-6)

    async def test_half_a_character_spoils_no_batch(self, embedder: Embedder) -> None:
        vectors = (await embedder.embed(["one", "two \ud83d three", "four\x00"])).vectors
        assert [len(vector) for vector in vectors] == [embedder.dimensions] * 3

    async def test_no_text_is_no_call(self, embedder: Embedder) -> None:
        embedded = await embedder.embed([])
        assert ([*embedded.vectors], embedded.tokens) == ([], 0)

    async def test_tokens_are_counted(self, embedder: Embedder) -> None:
        assert (await embedder.embed(["one two three", "four"])).tokens >= 4

    async def test_its_name_tells_its_size_and_fits_a_vector(self, embedder: Embedder) -> None:
        assert embedder.name.endswith(f"_{embedder.dimensions}")
        assert embedder.name.replace("_", "").replace("-", "").replace(".", "").isalnum()
