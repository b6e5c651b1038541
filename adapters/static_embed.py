"""activities.ports.Embedder on this machine, without a key: the vectors of WordLlama, one for each piece of a word.

The vector of a text is the sum of its words' that say something, each being the sum of its pieces': a rare word has
several, and so weighs more. In a query each counts as much as it is worth among the texts that are searched, which finds
half as many again as the plain mean of all, where a name stands out that everybody uses (docs/memory.md).
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from adapters import words
from adapters.stopwords import STOPWORDS
from domain.errors import SetupError
from domain.vectors import Embedded

NAME = "wordllama_256"
DIMENSIONS = 256
# Characters: of more, the sum is near to everything. The tokenizer takes any number.
LONGEST = 1_000
IN_PLACE = 5_000  # characters that are worth no thread: about 3 ms

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_REMEDY = "The bundled embedding model is not installed: run `sh bootstrap.sh run`, or set EVERTHREAD_EMBEDDING."
_KNOWN = 8_192  # words whose vectors are remembered; 8 MB
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")

Floats = NDArray[np.float32]


class StaticEmbedder:
    """Takes some 40 µs a message, holds 24 MB."""

    name = NAME
    dimensions = DIMENSIONS
    longest = LONGEST

    def __init__(self, tokenizer: Tokenizer, table: NDArray[np.float16], language: str = "english") -> None:
        """`language` is of the words that say little."""
        self._tokenizer = tokenizer
        self._table = table
        self._stopwords = STOPWORDS.get(language, frozenset())
        self._word = lru_cache(_KNOWN)(self._sum_of_pieces)

    @classmethod
    def load(cls, language: str = "english") -> Self:
        """Takes about 0.1 s, and is for a thread. Raises: SetupError if the weights are not there."""
        folder = _find_folder()
        if folder is None:
            raise SetupError(_REMEDY)
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        return cls(tokenizer, load_file(folder / _WEIGHTS)["embedding.weight"], language)

    async def close(self) -> None:
        """There is nothing to close."""

    async def embed(
        self,
        texts: Sequence[str],
        *,
        query: bool = False,  # noqa: ARG002 a query is like any other text
        weights: Mapping[str, float] | None = None,
    ) -> Embedded:
        """With `weights`, a word that has none does not count, unless none has one."""
        if sum(map(len, texts)) <= IN_PLACE:
            return self._embed(texts, weights)
        return await asyncio.to_thread(self._embed, texts, weights)

    def _embed(self, texts: Sequence[str], weights: Mapping[str, float] | None) -> Embedded:
        vectors, tokens = [], 0
        for text in texts:
            found = _words(text)
            total = self._total((word, (weights or {}).get(plain, 0.0)) for word, plain in found) if weights else None
            if total is None or not total.any():
                telling = [word for word, plain in found if plain not in self._stopwords]
                total = self._total((word, 1.0) for word in telling or [text])
            length = float(np.linalg.norm(total))
            vectors.append((total / (length or 1.0)).tolist())
            tokens += sum(self._word(word)[1] for word, _ in found) or 1
        return Embedded(vectors, tokens=tokens)

    def _total(self, weighted: Iterable[tuple[str, float]]) -> Floats:
        total = np.zeros(DIMENSIONS, np.float32)
        for word, weight in weighted:
            if weight:
                total += np.float32(weight) * self._word(word)[0]
        return total

    def _sum_of_pieces(self, word: str) -> tuple[Floats, int]:
        """And how many they are."""
        pieces = self._tokenizer.encode(word, add_special_tokens=False).ids
        return self._table[pieces].sum(axis=0, dtype=np.float32), len(pieces)


def _words(text: str) -> list[tuple[str, str]]:
    """Each as it is written, since names have vectors of their own, and as the lexicon has it."""
    found: list[tuple[str, str]] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text.encode("utf-8", "replace").decode())):
        small = word.casefold()
        if words.is_run(small):
            found += [(pair, pair) for pair in words.pairs(small)]
        else:
            found.append((word, words.bare(small.replace("\u2019", "'")) or small))
    return found


def _find_folder() -> Path | None:
    """Where the weights are, without running the package: it needs more than is installed."""
    spec = importlib.util.find_spec("wordllama")
    places = spec.submodule_search_locations if spec else None
    folder = next((Path(place) for place in places or ()), None)
    return folder if folder and (folder / _WEIGHTS).is_file() and (folder / _TOKENIZER).is_file() else None
