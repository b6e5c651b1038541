"""Vectors: what a text means (dense) and which words it has (sparse), in no engine's form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WORDS = "bm25"  # what the sparse vectors of words are named in the store


@dataclass(frozen=True)
class Sparse:
    """Weights of words by their number, each number once. The engine multiplies each with how rare the word is."""

    indices: Sequence[int]
    values: Sequence[float]


Dense = Sequence[Sequence[float]]  # one vector for each piece of a text; the nearest piece counts
Vector = Dense | Sparse


@dataclass(frozen=True)
class Embedded:
    """`vectors` are of length 1, one for each text, in their order; `tokens` is what the model counted, 0 if it did not."""

    vectors: Sequence[Sequence[float]]
    tokens: int = 0


def vector_name(model: str, dimensions: int) -> str:
    """What the vectors of a model are named in the store: its own name, with `-` for what no name of a vector may have."""
    return f"{safe_name(model)}_{dimensions}"


def safe_name(model: str) -> str:
    """The part of a vector's name that is the model's."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", model).strip("-.")[:100] or "model"
