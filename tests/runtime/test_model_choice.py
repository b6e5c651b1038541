"""Which model answers, from the settings; and what is said of settings that cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.model_choice import ModelChoice, choose_model
from runtime.settings import Settings, SettingsError, load

SECRET = "gsk-0123456789abcdef"
PROVIDERS = {"groq": {"base_url": "https://groq.example/v1", "api_key": SECRET}}
NOTHING = {"openai_api_key": None, "openai_base_url": None, "model": None, "providers": None}


def chosen(*, demo: bool = False, **settings: Any) -> ModelChoice:
    return choose_model(Settings.model_validate(NOTHING | settings), demo=demo)


@pytest.mark.parametrize(
    ("settings", "kind", "name"),
    [
        ({}, "local", "smollm2-135m-instruct"),
        ({"providers": PROVIDERS}, "local", "smollm2-135m-instruct"),
        ({"openai_api_key": "sk-1"}, "openai", "gpt-5-mini"),
        ({"openai_base_url": "http://127.0.0.1:1/v1"}, "compatible", None),
        ({"model": "groq/meta/llama", "providers": PROVIDERS}, "provider", "meta/llama"),
        ({"model": "groq/llama", "providers": PROVIDERS, "openai_api_key": "sk-1"}, "openai", "groq/llama"),
        ({"model": "meta/llama", "providers": PROVIDERS}, "local", "smollm2-135m-instruct"),
    ],
)
def test_what_is_set_decides_who_answers(settings: dict[str, Any], kind: str, name: str | None) -> None:
    choice = chosen(**settings)
    assert (choice.kind, choice.name) == (kind, name)
    assert chosen(demo=True, **settings).kind == "demo"


def test_a_model_of_a_provider_is_asked_there_with_its_key() -> None:
    choice = chosen(model="groq/llama", providers=PROVIDERS)
    assert (choice.base_url, choice.api_key) == ("https://groq.example/v1", SECRET)
    assert choice.reason == "at https://groq.example/v1, because EVERTHREAD_MODEL names it, of EVERTHREAD_PROVIDERS"


def test_providers_are_read_from_json_and_their_keys_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTHREAD_PROVIDERS", json.dumps(PROVIDERS))
    settings = load()
    assert settings.providers is not None
    assert settings.providers["groq"].api_key.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    "value",
    [
        f"groq={SECRET}",
        f'["{SECRET}"]',
        json.dumps({"groq": SECRET}),
        json.dumps({"groq": {"api_key": SECRET}}),
        json.dumps({"groq": {"base_url": 5, "api_key": SECRET}}),
        json.dumps({"groq": {"base_url": "https://groq.example", "key": SECRET}}),
        json.dumps({"a/b": {"base_url": "https://groq.example", "api_key": SECRET}}),
    ],
)
def test_providers_of_the_wrong_shape_are_refused_without_showing_a_key(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("EVERTHREAD_PROVIDERS", value)
    with pytest.raises(SettingsError, match=r'EVERTHREAD_PROVIDERS.*\{"groq": \{"base_url"') as caught:
        load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("gpt-4", 6_144), ("gpt-4-turbo", 32_000), ("gpt-3.5-turbo", 12_288), ("gpt-5-mini", 32_000), ("mine", 32_000)],
)
def test_a_context_is_no_larger_than_its_model_is_known_to_take(model: str, tokens: int) -> None:
    assert chosen(openai_api_key="sk-1", model=model).context_tokens == tokens
    assert chosen(openai_api_key="sk-1", model=model, context_tokens=50_000).context_tokens == 50_000
