"""The embedder of those who have installed fastembed, over something that embeds like it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from activities.ports import Embedder
from adapters.fastembed_embed import FastEmbedder
from domain.errors import ModelRefusedError, SetupError
from doubles.embedding import vector_of
from tests.adapters.embedder_contract import EmbedderContract


class LikeFastEmbed:
    """The part of fastembed.TextEmbedding that is used."""

    def embed(self, documents: Sequence[str]) -> Iterator[list[float]]:
        for text in documents:
            if text == "poison":
                raise ValueError("no such text")
            yield [2 * number for number in vector_of(text, 64)]

    def query_embed(self, query: Sequence[str]) -> Iterator[list[float]]:
        return self.embed(query)


@pytest.fixture
def embedder() -> Embedder:
    return FastEmbedder(LikeFastEmbed(), "acme/words")


class TestFastEmbedder(EmbedderContract):
    """The contract, except that it counts no tokens."""

    async def test_tokens_are_counted(self, embedder: Embedder) -> None:
        assert (await embedder.embed(["one two three"])).tokens == 0


async def test_what_it_cannot_embed_is_refused(embedder: Embedder) -> None:
    with pytest.raises(ModelRefusedError, match="no such text"):
        await embedder.embed(["poison"])


def test_a_package_that_is_not_installed_is_told_with_the_remedy() -> None:
    with pytest.raises(SetupError, match=r"pip install --python \.venv fastembed"):
        FastEmbedder.load("BAAI/bge-small-en-v1.5")
