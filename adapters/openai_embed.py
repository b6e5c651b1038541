"""activities.ports.Embedder of OpenAI, or of any endpoint that embeds in its words: Ollama, vLLM, TEI, a gateway."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from typing import Any, Self

import httpx2
import numpy as np
from numpy.typing import NDArray

from adapters.openai_client import make_client
from adapters.openai_errors import VENDOR_ERRORS, ErrorWords, SettingNames
from domain.errors import ModelRefusedError, ModelUnavailableError
from domain.messages import mend_text
from domain.vectors import Embedded, vector_name

LONGEST = 2_000  # characters: many models read 512 tokens and no more
MOST_TEXTS = 128  # of one call
MOST_CHARACTERS = 100_000  # likewise; OpenAI takes 300,000 tokens, and a character may be more than one
CALL_S = 30.0
QUERY_S = 5.0  # somebody waits for the answer
NAMES = SettingNames(model="EVERTHREAD_EMBEDDING")

_KNOWN = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class OpenAIEmbedder:
    """Asks in batches, one after the other. Never retries by itself, and asks nothing while it was told to wait."""

    longest = LONGEST

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        dimensions: int | None = None,
        names: SettingNames = NAMES,
        connect_s: float = 5.0,
        call_s: float = CALL_S,
        query_s: float = QUERY_S,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        """`dimensions` are asked for if they are given; else they are the model's own, see `open`.

        Raises: SetupError: If the address or the key cannot be used as it is written.
        """
        api_key = api_key.strip()
        self._client = make_client(base_url, api_key, connect_s, names, http_client)
        self._words = ErrorWords(base_url, api_key, connect_s, names)
        self._model = model
        self._asked = dimensions
        self._dimensions = dimensions or _KNOWN.get(model)
        self._call_s, self._query_s = call_s, query_s
        self._closed_until = 0.0  # of the loop's time: the endpoint asked for so much patience

    @classmethod
    async def open(cls, **arguments: Any) -> Self:
        """With the model's dimensions, for which it is asked unless they are known.

        Raises: SetupError as `__init__` does; ModelUnavailableError, ModelRefusedError if it had to be asked.
        """
        embedder = cls(**arguments)
        try:
            await embedder._learn()
        except BaseException:
            await embedder.close()
            raise
        return embedder

    async def close(self) -> None:
        await self._client.close()

    @property
    def name(self) -> str:
        return vector_name(self._model, self.dimensions)

    @property
    def dimensions(self) -> int:
        assert self._dimensions, "opened by `open`"
        return self._dimensions

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Embedded:
        """Raises: ModelUnavailableError if the same call may succeed later; ModelRefusedError if not."""
        vectors: list[Sequence[float]] = []
        tokens = 0
        for batch in _batches(texts):
            body = await self._ask(batch, self._query_s if query else self._call_s)
            vectors += self._read(body, len(batch))
            tokens += _tokens(body)
        return Embedded(vectors, tokens)

    async def models(self) -> list[str]:
        """What the endpoint lists, of any kind; empty if it does not tell."""
        try:
            async with asyncio.timeout(self._query_s):
                return [model.id async for model in self._client.models.list()]
        except (TimeoutError, *VENDOR_ERRORS):
            return []

    async def _learn(self) -> None:
        if self._dimensions is None:
            (vector,) = self._vectors(await self._ask(["dimensions"], self._call_s), 1)
            self._dimensions = len(vector)

    async def _ask(self, texts: Sequence[str], timeout_s: float) -> Any:
        left = self._closed_until - asyncio.get_running_loop().time()
        if left > 0:
            raise ModelUnavailableError(f"{self._words.url} asked not to be asked for {left:.1f} s more", left)
        body: dict[str, Any] = {
            "model": self._model,
            "input": [mend_text(text) for text in texts],
            "encoding_format": "base64",
        }
        if self._asked is not None:
            body["dimensions"] = self._asked
        try:
            async with asyncio.timeout(timeout_s):
                # As plain JSON: the SDK's typed call would decode each vector into numbers of Python.
                return await self._client.post("/embeddings", cast_to=object, body=body)
        except TimeoutError:
            raise ModelUnavailableError(f"{self._words.url} embedded nothing within {timeout_s:g} s") from None
        except VENDOR_ERRORS as error:
            raise self._translated(error) from None  # the cause's text may hold the key

    def _translated(self, error: Exception) -> Exception:
        translated = self._words.translate(error, started=isinstance(error, json.JSONDecodeError))
        if isinstance(translated, ModelUnavailableError) and translated.retry_after_s:
            self._closed_until = asyncio.get_running_loop().time() + translated.retry_after_s
        return translated

    def _read(self, body: Any, count: int) -> list[list[float]]:
        """Vectors of length 1, in the order of the texts."""
        vectors = self._vectors(body, count)
        if wrong := {len(vector) for vector in vectors} - {self._dimensions}:
            raise ModelRefusedError(
                f"{self._model} at {self._words.url} sent vectors of {wrong.pop()} numbers instead of {self._dimensions}: "
                "set EVERTHREAD_EMBEDDING_DIMENSIONS to what it sends, or leave it empty"
            )
        stack = np.stack(vectors)
        lengths = np.linalg.norm(stack, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise ModelUnavailableError(f"{self._model} at {self._words.url} sent a vector that is no number")
        units: list[list[float]] = (stack / np.where(lengths > 0, lengths, 1)).tolist()
        return units

    def _vectors(self, body: Any, count: int) -> list[NDArray[np.float32]]:
        """Raises: ModelRefusedError: If it is not a vector for each text: none is given to another text."""
        if not isinstance(body, dict) or not isinstance(body.get("data"), list):
            words = f"{self._words.url} answered with something else than embeddings. Check {self._words.names.url}."
            raise ModelRefusedError(words)
        rows = body["data"]
        try:
            placed = {row.get("index", place): _numbers(row["embedding"]) for place, row in enumerate(rows)}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ModelRefusedError(f"{self._words.url} sent embeddings that cannot be read") from None
        if len(rows) != count or placed.keys() != set(range(count)):
            raise ModelRefusedError(f"{self._words.url} sent {len(rows)} vectors for {count} texts")
        return [placed[place] for place in range(count)]


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, as many at once as a call takes."""
    start = characters = 0
    for place, text in enumerate(texts):
        if place > start and (place - start >= MOST_TEXTS or characters + len(text) > MOST_CHARACTERS):
            yield texts[start:place]
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _numbers(embedding: Any) -> NDArray[np.float32]:
    """Raises: ValueError, TypeError: If it is neither numbers nor numbers of 4 bytes in base64."""
    if not isinstance(embedding, str):
        vector = np.asarray(embedding, np.float32)
    else:
        try:
            vector = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        except binascii.Error as error:
            raise ValueError("no base64") from error
    if vector.ndim != 1 or not vector.size:
        raise ValueError("no vector")
    return vector


def _tokens(body: Any) -> int:
    usage = body.get("usage")
    counts = [usage.get("prompt_tokens"), usage.get("total_tokens")] if isinstance(usage, dict) else []
    return next((count for count in counts if isinstance(count, int)), 0)
