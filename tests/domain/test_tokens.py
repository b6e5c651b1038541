"""What a context costs: never estimated below what a model takes."""

from __future__ import annotations

from typing import Any

import pytest

from domain.chat import ChatMessage
from domain.content import Part
from domain.tokens import TOKENS_PER_IMAGE, message_tokens, text_tokens
from tests.domain.contexts import PLENTY, build, row


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("Привет, как дела? Сегодня хорошая погода. " * 20, 620),
        ("今天天气很好，我们去公园散步吧。" * 20, 620),
        ("The quick brown fox jumps over the lazy dog. " * 20, 200),
        ('{"a": [1, 2.5, null]} ' * 20, 260),
    ],
)
def test_an_estimate_of_tokens_is_not_below_what_a_small_model_takes(text: str, measured: int) -> None:
    """`measured`: tokens as SmolLM2-135M counted them."""
    assert text_tokens(text) >= measured


# --- images

IMAGE = {"type": "image", "url": "https://example.com/a.png"}
WORDS = {"type": "text", "text": "What is this?"}


def seen(*parts: dict[str, Any]) -> ChatMessage:
    [message] = build("", [], [row(1, 0, 0, "user", text="What is this?", parts=list(parts))], PLENTY)
    return message


def test_an_image_reaches_the_model_with_its_text() -> None:
    parts = (Part(type="text", text="What is this?"), Part(type="image", url="https://example.com/a.png"))
    assert seen(WORDS, IMAGE) == ChatMessage("user", "What is this?", parts=parts)


def test_parts_that_are_only_text_reach_the_model_as_a_text() -> None:
    assert seen(WORDS) == ChatMessage("user", "What is this?")


def test_parts_that_say_nothing_or_are_of_a_newer_release_are_left_out() -> None:
    assert seen({"type": "text", "text": ""}, {"type": "smell", "of": "roses"}, IMAGE | {"detail": "low"}).parts == (
        Part.model_validate(IMAGE),
    )


def test_an_image_takes_room_in_the_context() -> None:
    assert message_tokens(seen(IMAGE, IMAGE)) > 2 * TOKENS_PER_IMAGE
