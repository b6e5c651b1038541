"""Tokens as OpenAI's models count them, where the package that knows (group `tokens` of the lock) is installed."""

from __future__ import annotations

import importlib
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from domain.tokens import ESTIMATE, Counter, text_tokens

# Which models are of which encoding; an alias such as `my-deployment` is of none, and is estimated.
_ENCODINGS = (
    (re.compile(r"(^|/)(gpt-(5|4o|4\.1|4\.5|oss)|chatgpt-4o|o[1-9]([-.]|$))"), "o200k_base"),
    (re.compile(r"(^|/)gpt-(4|3\.5)"), "cl100k_base"),
)
REMEMBERED = 50_000  # texts, by their hash: some 10 MB
LONGEST = 1_000_000  # characters; a longer text would hold up the process, and is estimated


class OpenAITokens:
    """activities.ports.TokenCounter. `model` is the default; `load` gives an encoding by its name."""

    def __init__(self, model: str | None, load: Callable[[str], Any] | None = None) -> None:
        self._model = model
        self._load = load or _load
        self._counters: dict[str, Counter] = {}

    def counter(self, model: str | None) -> Counter:
        name = model or self._model or ""
        encoding = next((encoding for pattern, encoding in _ENCODINGS if pattern.search(name)), None)
        if encoding is None:
            return ESTIMATE
        if encoding not in self._counters:
            self._counters[encoding] = self._made(encoding)
        return self._counters[encoding]

    def _made(self, encoding: str) -> Counter:
        try:
            found = self._load(encoding)
        except ImportError:
            return ESTIMATE
        return Counter(encoding, Remembered(lambda text: len(found.encode_ordinary(text))))


class Remembered:
    """Counts each text once. It keeps hashes and not the texts, which are large."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._known: OrderedDict[tuple[int, int], int] = OrderedDict()

    def __call__(self, text: str) -> int:
        key = (len(text), hash(text))
        tokens = self._known.get(key)
        if tokens is None:
            tokens = self._known[key] = self._counted(text)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return tokens

    def _counted(self, text: str) -> int:
        if len(text) > LONGEST:
            return text_tokens(text)
        try:
            return self._count(text)
        except (ValueError, RuntimeError):  # half a surrogate pair, or what it thinks is too long
            return text_tokens(text)


def _load(encoding: str) -> Any:
    """Takes a fifth of a second. Raises: ImportError."""
    return importlib.import_module("bpe_openai").get_encoding(encoding)
