"""How many tokens a message takes: an estimate on the safe side, or what a function says that knows the model."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from domain.chat import ChatMessage

TOKENS_PER_MESSAGE = 8
TOKENS_PER_IMAGE = 2_500  # on the safe side: what gpt-5-mini takes for the largest
# On the safe side: a small model takes a token for 1.6 bytes of Chinese, 2.2 of Russian, and each digit or mark of JSON.
LETTERS_PER_TOKEN, OTHER_BYTES_PER_TOKEN = 3.0, 1.5
_LETTERS = (string.ascii_letters + " ").encode()
_BEYOND_ASCII = bytes(range(128, 256))

Count = Callable[[str], int]  # the tokens of a text


@dataclass(frozen=True)
class Counter:
    """A way of counting, by its name."""

    name: str
    count: Count


def text_tokens(text: str) -> int:
    """An estimate, above rather than below what models take."""
    raw = text.encode("utf-8", "replace")
    letters, others = len(raw) - len(raw.translate(None, _LETTERS)), len(raw) - len(raw.translate(None, _BEYOND_ASCII))
    marks = len(raw) - letters - others
    return int(letters / LETTERS_PER_TOKEN + marks + others / OTHER_BYTES_PER_TOKEN)


ESTIMATE = Counter("estimate", text_tokens)


def message_tokens(message: ChatMessage, count: Count = text_tokens) -> int:
    calls = "".join(call.name + call.arguments for call in message.tool_calls)
    images = sum(part.type == "image" for part in message.parts)
    return count(message.text + calls) + images * TOKENS_PER_IMAGE + TOKENS_PER_MESSAGE


def total_tokens(messages: Iterable[ChatMessage], count: Count = text_tokens) -> int:
    return sum(message_tokens(message, count) for message in messages)
