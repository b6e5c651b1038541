"""Anything may be sent to a thread; what is not a prompt is refused in words, and nothing else ever happens."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from pydantic_core import from_json, to_json

from domain.content import MAX_PROMPT_BYTES
from domain.errors import InputRefusedError
from domain.messages import PREVIEW_CHARS, describe
from domain.prompts import MAX_DEPTH, MAX_METADATA_BYTES, Prompt, ThreadStart, read_prompt, read_start, read_thread_id
from domain.wire import json_size
from tests.strategies import any_json, any_text, near_misses, prompt_fields

LONGEST_REASON = 700  # characters; a thousand refusals must not fill a history


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


def refusal_of(value: Any) -> str:
    with pytest.raises(InputRefusedError) as refused:
        read_prompt(value)
    return str(refused.value)


@given(any_json | near_misses)
def test_whatever_is_sent_is_a_prompt_or_refused_in_short_words(value: Any) -> None:
    try:
        prompt = read_prompt(value)
    except InputRefusedError as refused:
        assert 0 < len(str(refused)) < LONGEST_REASON
        assert str(refused).encode()
    else:
        assert Prompt.model_validate_json(prompt.model_dump_json()) == prompt


@given(any_json | near_misses)
def test_whatever_a_thread_is_started_with_is_a_start_or_refused_in_short_words(value: Any) -> None:
    try:
        start = read_start(value)
    except InputRefusedError as refused:
        assert 0 < len(str(refused)) < LONGEST_REASON
        assert str(refused).encode()
    else:
        assert ThreadStart.model_validate_json(start.model_dump_json()) == start


@given(prompt_fields)
def test_an_accepted_prompt_is_the_same_after_any_number_of_journeys(fields: dict[str, Any]) -> None:
    prompt = read_prompt(fields)
    again = read_prompt(from_json(to_json(prompt)))
    assert again == prompt
    assert again.digest() == prompt.digest()
    assert read_prompt(json.loads(json.dumps(fields))).digest() == prompt.digest()


@given(prompt_fields)
def test_the_size_of_a_prompt_is_what_it_takes_where_it_travels(fields: dict[str, Any]) -> None:
    prompt = read_prompt(fields)
    assert prompt.size() == len(prompt.model_dump_json().encode()) == json_size(prompt)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, 'a prompt is a JSON object such as {"content": "Hello"}, not a number (5)'),
        (None, "not null"),
        ([], "not a list"),
        (b"x", "not something else"),
        ({}, "content is missing"),
        ({"content": 5}, "not a number (5)"),
        ({"content": " \n"}, "content is empty; send some text"),
        ({"content": "a\ud83d"}, "content has half a surrogate pair at position 1; send whole characters"),
        ({"content": "x" * MAX_PROMPT_BYTES}, f"more than {MAX_PROMPT_BYTES}; send it in parts"),
        ({"content": "x", "text": "y"}, "'text' is not a field; the fields are id, content, author"),
        ({"content": "x", "id": ""}, "id: "),
        ({"content": "x", "id": "a b"}, "id: "),
        ({"content": "x", "id": "a\n"}, "id: "),
        ({"content": "x", "id": 7}, "id: "),
        ({"content": "x", "agent": "no/slash"}, "agent: "),
        ({"content": "x", "mode": "now"}, "mode: "),
        ({"content": "x", "author": ""}, "author: "),
        ({"content": "x", "metadata": {"a": float("nan")}}, "metadata holds NaN or Infinity"),
        ({"content": "x", "metadata": {"a": 2**63}}, "metadata holds a number beyond 64 bits; send it as a string"),
        ({"content": "x", "metadata": {"a": "x" * MAX_METADATA_BYTES}}, f"more than {MAX_METADATA_BYTES}"),
        ({"content": "x", "metadata": nested(MAX_DEPTH + 1)}, f"nested deeper than {MAX_DEPTH} levels"),
        ({"content": "x", "metadata": {"\udc00": 1}}, "metadata has half a surrogate pair"),
        ({"content": "x", "metadata": [1]}, "metadata: "),
    ],
)
def test_a_refusal_names_the_field_the_value_and_the_rule(value: Any, words: str) -> None:
    assert words in refusal_of(value)


def test_a_prompt_of_the_largest_size_is_taken() -> None:
    assert read_prompt({"content": "x" * (MAX_PROMPT_BYTES - 2)}).size() < MAX_PROMPT_BYTES + 100


def test_a_deep_value_is_refused_and_not_followed_to_the_bottom() -> None:
    assert "nested deeper" in refusal_of({"content": "x", "metadata": nested(900)})
    assert "not a field" in refusal_of({"content": "x", "y": nested(900)})


def test_only_three_problems_are_told_at_once() -> None:
    many = {f"field{number}": 1 for number in range(1_000)}
    assert refusal_of(many).count(";") < 10


def test_state_cannot_be_forged_in_a_start_input() -> None:
    with pytest.raises(InputRefusedError, match="'state' is not a field"):
        read_start({"state": {"epoch": 7}})


def test_no_start_input_is_an_empty_one() -> None:
    assert read_start(None) == read_start({}) == ThreadStart()


@given(any_text)
def test_a_thread_id_is_short_printable_and_no_path(text: str) -> None:
    try:
        read_thread_id(text)
    except InputRefusedError as refused:
        assert len(str(refused)) < PREVIEW_CHARS
    else:
        assert text == text.strip()
        assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)
        assert "/" not in text
        assert 1 <= len(text) <= 200


@given(any_json)
def test_a_value_is_described_safely(value: Any) -> None:
    shown = describe(value)
    assert shown.replace("…", "").isascii()
    assert shown.isprintable()
    assert len(shown) < 100
