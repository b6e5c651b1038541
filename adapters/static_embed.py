"""activities.ports.Embedder on this machine, without a key: WordLlama's weights, the mean of the vectors of a text's tokens."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from domain.errors import SetupError
from domain.messages import mend_text
from domain.vectors import Embedded

NAME = "wordllama_256"
DIMENSIONS = 256
# Characters: of more, the mean is near to everything. The tokenizer takes any number.
LONGEST = 1_000
IN_PLACE = 5_000  # characters that are worth no thread: about 3 ms

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_REMEDY = "The bundled embedding model is not installed: run `sh bootstrap.sh run`, or set EVERTHREAD_EMBEDDING."


class StaticEmbedder:
    """Takes some 60 µs a message; holds some 45 MB, most of it the tokenizer's."""

    name = NAME
    dimensions = DIMENSIONS
    longest = LONGEST

    def __init__(self, tokenizer: Tokenizer, table: NDArray[np.float16]) -> None:
        self._tokenizer = tokenizer
        self._table = table

    @classmethod
    def load(cls) -> Self:
        """Takes about 0.1 s, and is for a thread. Raises: SetupError if the weights are not there."""
        folder = _find_folder()
        if folder is None:
            raise SetupError(_REMEDY)
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        return cls(tokenizer, load_file(folder / _WEIGHTS)["embedding.weight"])

    async def close(self) -> None:
        """There is nothing to close."""

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Embedded:  # noqa: ARG002
        """As a query like any other text."""
        if sum(map(len, texts)) <= IN_PLACE:
            return self._embed(texts)
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> Embedded:
        # One by one: the tokenizer's own batches run in threads, which a process that forks later is warned of.
        tokens = [self._tokenizer.encode(mend_text(text), add_special_tokens=False).ids for text in texts]
        return Embedded([self._mean(ids) for ids in tokens], tokens=sum(map(len, tokens)))

    def _mean(self, ids: list[int]) -> list[float]:
        mean = self._table[ids].mean(axis=0, dtype=np.float32)
        length = float(np.linalg.norm(mean))
        unit: list[float] = (mean / (length or 1.0)).tolist()
        return unit


def _find_folder() -> Path | None:
    """Where the weights are, without running the package: it needs more than is installed."""
    spec = importlib.util.find_spec("wordllama")
    places = spec.submodule_search_locations if spec else None
    folder = next((Path(place) for place in places or ()), None)
    return folder if folder and (folder / _WEIGHTS).is_file() and (folder / _TOKENIZER).is_file() else None
