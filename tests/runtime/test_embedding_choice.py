"""Which model embeds, from the settings; and what is said of settings that name none."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from adapters.lexicon import LANGUAGES
from runtime.embedding_choice import EmbeddingChoice, choose_embedding
from runtime.settings import Language, Settings, SettingsError, load

PROVIDERS = {"groq": {"base_url": "https://groq.example/v1", "api_key": "gsk-1"}}
NOTHING = {"openai_api_key": None, "openai_base_url": None, "model": None, "providers": None, "embedding": None}
OPENAI = "https://api.openai.com/v1"
OLLAMA = "http://127.0.0.1:11434/v1"


def chosen(*, demo: bool = False, **settings: Any) -> EmbeddingChoice:
    return choose_embedding(Settings.model_validate(NOTHING | settings), demo=demo)


@pytest.mark.parametrize(
    ("settings", "kind", "model", "base_url"),
    [
        ({}, "bundled", "", None),
        ({"openai_api_key": "sk-1"}, "endpoint", "text-embedding-3-small", OPENAI),
        ({"openai_base_url": OLLAMA}, "bundled", "", None),
        ({"openai_api_key": "sk-1", "openai_base_url": OLLAMA}, "bundled", "", None),
        ({"openai_base_url": OLLAMA, "embedding": "openai/nomic"}, "endpoint", "nomic", OLLAMA),
        ({"openai_api_key": "sk-1", "embedding": "wordllama"}, "bundled", "", None),
        ({"openai_api_key": "sk-1", "embedding": "none"}, "none", "", None),
        ({"providers": PROVIDERS, "embedding": "groq/a/b"}, "endpoint", "a/b", "https://groq.example/v1"),
        ({"embedding": "fastembed/BAAI/bge-small-en-v1.5"}, "fastembed", "BAAI/bge-small-en-v1.5", None),
    ],
)
def test_what_is_set_decides_who_embeds(settings: dict[str, Any], kind: str, model: str, base_url: str | None) -> None:
    choice = chosen(**settings)
    assert (choice.kind, choice.model) == (kind, model)
    assert (choice.endpoint.base_url if choice.endpoint else None) == base_url
    assert chosen(demo=True, **settings).kind == ("none" if kind == "none" else "bundled")


def test_the_key_of_a_provider_goes_with_it_and_is_not_shown() -> None:
    endpoint = chosen(providers=PROVIDERS, embedding="groq/a").endpoint
    assert endpoint is not None
    assert (endpoint.provider, endpoint.api_key) == ("groq", "gsk-1")
    assert "gsk-1" not in repr(endpoint)


@pytest.mark.parametrize("value", ["gpt", "acme/model", "openai/", "fastembed", "wordllama/512", "none/x"])
def test_a_name_that_names_no_model_stops_the_start_in_words(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EVERTHREAD_EMBEDDING", value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    with pytest.raises(SettingsError, match=r"EVERTHREAD_EMBEDDING.*<provider>/<model>"):
        load()


def test_openai_needs_a_key_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTHREAD_EMBEDDING", "openai/text-embedding-3-large")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(SettingsError, match="set OPENAI_API_KEY or OPENAI_BASE_URL"):
        load()


def test_the_languages_are_those_of_the_lexicon() -> None:
    assert get_args(Language) == LANGUAGES
