"""Embedders from settings: the chosen one, and that of vectors which an earlier setting made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from domain.errors import SetupError
from doubles.scripted_model import Reply, ScriptedModel
from runtime.settings import Settings
from runtime.wiring import embedder_of, open_embedder, open_lexicon

NOTHING = {"openai_api_key": None, "openai_base_url": None, "providers": None, "embedding": None}
NOBODY = "http://127.0.0.1:1/v1"


def settings(**given: Any) -> Settings:
    return Settings.model_validate(NOTHING | given)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel().serve() as model:
        yield model


async def name_of(given: Settings, **options: Any) -> str | None:
    async with open_embedder(given, **options) as embedder:
        if embedder is None:
            return None
        (vector,) = (await embedder.embed(["text"])).vectors
        assert len(vector) == embedder.dimensions
        return embedder.name


async def older(given: Settings, name: str) -> str | None:
    async with embedder_of(given, name) as embedder:
        if embedder is None:
            return None
        (vector,) = (await embedder.embed(["text"])).vectors
        assert len(vector) == embedder.dimensions
        return embedder.name


async def test_the_chosen_model_embeds(model: ScriptedModel) -> None:
    assert await name_of(settings()) == "wordllama_256"
    assert await name_of(settings(embedding="none")) is None
    assert await name_of(settings(openai_base_url=model.base_url, embedding="openai/words")) == "words_256"
    providers = {"acme": {"base_url": model.base_url}}
    assert await name_of(settings(providers=providers, embedding="acme/a/b", embedding_dimensions=32)) == "a-b_32"
    assert await name_of(settings(providers=providers, embedding="acme/a/b"), demo=True) == "wordllama_256"


async def test_an_endpoint_that_is_away_stops_no_program() -> None:
    with capture_logs() as lines:
        assert await name_of(settings(openai_base_url=NOBODY, embedding="openai/words")) is None
    assert [(line["event"], line["model"]) for line in lines] == [("embedding.away", "words")]
    assert "searched by words" in lines[0]["remedy"]


async def test_an_endpoint_that_refuses_stops_no_program(model: ScriptedModel) -> None:
    model.script(Reply(status=404, embeds=True))
    with capture_logs() as lines:
        assert await name_of(settings(openai_base_url=model.base_url, embedding="openai/words")) is None
    assert "Check EVERTHREAD_EMBEDDING" in lines[0]["error"]


async def test_what_is_not_installed_is_told_with_the_remedy() -> None:
    with pytest.raises(SetupError, match="fastembed"):
        await name_of(settings(embedding="fastembed/BAAI/bge-small-en-v1.5"))


async def test_vectors_of_an_earlier_setting_find_their_model(model: ScriptedModel) -> None:
    providers = {"away": {"base_url": NOBODY}, "acme": {"base_url": model.base_url}}
    for present in (settings(embedding="none", providers=providers), settings(openai_base_url=model.base_url)):
        assert await older(present, "wordllama_256") == "wordllama_256"
        assert await older(present, "scripted_256") == "scripted_256"
        assert await older(present, "scripted_64") == "scripted_64"
        assert await older(present, "unheard-of_256") is None


@pytest.mark.parametrize("name", ["scripted_256", "wordllama_512", "bm25", "", "x_y"])
async def test_vectors_of_a_model_that_is_gone_have_no_embedder(name: str) -> None:
    assert await older(settings(openai_base_url=NOBODY), name) is None


def test_words_are_of_the_language_that_is_set() -> None:
    assert len(open_lexicon(settings()).query("garden gardens").indices) == 1
    assert len(open_lexicon(settings(language="none")).query("garden gardens").indices) == 2
