"""Embeddings in OpenAI's shape: texts with words in common are near each other, always by the same vectors.

Reference: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from array import array
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from doubles.chat_request import parsed
from doubles.completion import Delta, as_bytes
from doubles.refusal import RefusedError
from doubles.replies import Reply

DIMENSIONS = 256  # unless the request says otherwise
MOST_DIMENSIONS = 4096
MOST_INPUTS = 2048
MOST_WORDS = 8192  # of one input, in place of tokens

_PLACES = 8  # of a word in a vector


@dataclass(frozen=True)
class EmbeddingRequest:
    """What a request asks for."""

    model: str
    texts: list[str]
    dimensions: int = DIMENSIONS
    as_base64: bool = False

    @property
    def words(self) -> int:
        return sum(len(text.split()) for text in self.texts)


class Embeddings:
    """The body of the answer. `extra` of the reply replaces fields of it."""

    deltas: tuple[Delta, ...] = ()  # it comes at once

    def __init__(self, reply: Reply, request: EmbeddingRequest) -> None:
        self._reply = reply
        self._request = request

    @cached_property
    def body(self) -> bytes:
        request = self._request
        vectors = (vector_of(text, request.dimensions) for text in request.texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _as_base64(vector) if request.as_base64 else vector}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": request.words, "total_tokens": request.words}
        body = {"object": "list", "data": data, "model": request.model, "usage": usage}
        return as_bytes(json.dumps(body | self._reply.extra))


def read(raw: bytes) -> EmbeddingRequest:
    """Raises: RefusedError: If OpenAI would refuse the request."""
    body = parsed(raw)
    if not isinstance(body.get("model"), str):
        raise RefusedError("you must provide a model parameter")
    dimensions = body.get("dimensions", DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MOST_DIMENSIONS:
        raise RefusedError(f"Invalid value for 'dimensions': {dimensions}.", param="dimensions")
    form = body.get("encoding_format", "float")
    if form not in {"float", "base64"}:
        raise RefusedError(f"Invalid value for 'encoding_format': {form}.", param="encoding_format")
    return EmbeddingRequest(body["model"], _texts(body.get("input")), dimensions, form == "base64")


def vector_of(text: str, dimensions: int) -> list[float]:
    """The sum of its words' vectors, of length 1."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.casefold()) or [text]:
        for place, sign in _places(word):
            vector[place % dimensions] += sign
    length = math.hypot(*vector)
    return [number / length for number in vector] if length else [1.0, *vector[1:]]


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_INPUTS:
        raise RefusedError(f"Invalid 'input': expected a text, or an array of 1 to {MOST_INPUTS}.", param="input")
    for text in texts:
        if not isinstance(text, str) or not text:
            raise RefusedError("'$.input' is invalid. Please check the API reference.", param="input")
        if (words := len(text.split())) > MOST_WORDS:
            raise RefusedError(
                f"This model's maximum context length is {MOST_WORDS} tokens, however you requested {words} tokens.",
                code="context_length_exceeded",
            )
    return texts


@lru_cache(10_000)
def _places(word: str) -> list[tuple[int, float]]:
    numbers = struct.unpack(
        f"<{_PLACES}I", hashlib.blake2b(word.encode(errors="replace"), digest_size=4 * _PLACES).digest()
    )
    return [(number >> 1, 1.0 if number & 1 else -1.0) for number in numbers]


def _as_base64(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()
