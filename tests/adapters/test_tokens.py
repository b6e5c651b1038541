"""Tokens are counted as the model counts them where that is known, and estimated where it is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from adapters.tokens import LONGEST, OpenAITokens, Remembered
from domain.tokens import ESTIMATE, text_tokens

TEXT = "It is sunny, with a light breeze from the sea. " * 20


def missing(name: str) -> Any:
    raise ImportError(name)


class Words:
    def encode_ordinary(self, text: str) -> list[str]:
        return text.split()


@pytest.mark.parametrize(
    ("model", "counter"),
    [
        ("gpt-5-mini", "o200k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("openai/gpt-5", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("llama-3.3-70b", "estimate"),
        ("my-o1", "estimate"),
    ],
)
def test_a_model_is_counted_by_its_own_encoding(model: str, counter: str) -> None:
    assert OpenAITokens(None, lambda _: Words()).counter(model).name == counter


def test_without_a_name_the_model_of_the_settings_counts() -> None:
    assert OpenAITokens("gpt-5-mini", lambda _: Words()).counter(None).count("a b c") == 3


def test_without_the_package_tokens_are_estimated() -> None:
    assert OpenAITokens("gpt-5-mini", missing).counter(None) is ESTIMATE


def test_each_text_is_counted_once() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    remembered = Remembered(count)
    assert [remembered(text) for text in ("a", "bb", "a", "a")] == [1, 2, 1, 1]
    assert counted == ["a", "bb"]


def test_what_cannot_be_counted_is_estimated() -> None:
    def refuse(text: str) -> int:
        raise ValueError(text)

    assert Remembered(refuse)(TEXT) == text_tokens(TEXT)
    assert Remembered(len)("x" * (LONGEST + 1)) == text_tokens("x" * (LONGEST + 1))


def test_the_real_tokenizer_counts_a_hundred_rows_within_5_ms_once_it_has_seen_them() -> None:
    pytest.importorskip("bpe_openai", reason="the group `tokens` is not installed")
    counter = OpenAITokens("gpt-5-mini").counter(None)
    assert (counter.name, counter.count("Hello, how are you?")) == ("o200k_base", 6)
    rows = [f"{number}: {TEXT}" for number in range(100)]
    for row in rows:
        assert counter.count(row) <= text_tokens(row)
    begun = time.perf_counter()
    for row in rows:
        counter.count(row)
    assert time.perf_counter() - begun < 0.005


def test_half_a_character_is_no_trouble() -> None:
    pytest.importorskip("bpe_openai", reason="the group `tokens` is not installed")
    assert OpenAITokens("gpt-5-mini").counter(None).count("a \ud83d b") > 0
