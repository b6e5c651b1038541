"""activities.ports.Embedder by the package fastembed, for those who have installed it: it is not part of the lock."""

from __future__ import annotations

import asyncio
import importlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

from domain.errors import ModelRefusedError, SetupError
from domain.messages import mend_text
from domain.vectors import Embedded, vector_name

LONGEST = 2_000  # characters: most of its models read 512 tokens and no more
_REMEDY = (
    "EVERTHREAD_EMBEDDING names a model of fastembed, which is not installed: "
    'run `"$(sh bootstrap.sh uv)" pip install --python .venv fastembed`, or choose another'
)


class FastEmbedder:
    """Runs a model on this machine, in threads. The first start downloads it."""

    longest = LONGEST

    def __init__(self, model: Any, name: str) -> None:
        """`model` is a fastembed.TextEmbedding, or anything that embeds like one."""
        self._model = model
        self.dimensions = len(next(iter(model.embed(["dimensions"]))))
        self.name = vector_name(name, self.dimensions)

    @classmethod
    def load(cls, model: str) -> Self:
        """Takes seconds, and is for a thread. Raises: SetupError if the package or the model is not there."""
        try:
            fastembed = importlib.import_module("fastembed")
        except ImportError:
            raise SetupError(_REMEDY) from None
        try:
            return cls(fastembed.TextEmbedding(model_name=model), model)
        except (ValueError, OSError, RuntimeError) as error:
            raise SetupError(f"fastembed cannot use {model}: {error}") from error

    async def close(self) -> None:
        """There is nothing to close."""

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Embedded:
        """Raises: ModelRefusedError if the model does not do it. It counts no tokens."""
        try:
            return Embedded(await asyncio.to_thread(self._embed, texts, query))
        except (ValueError, RuntimeError) as error:
            raise ModelRefusedError(f"fastembed: {error}") from error

    def _embed(self, texts: Sequence[str], query: bool) -> list[list[float]]:
        made = self._model.query_embed if query else self._model.embed
        return [_unit(vector) for vector in made([*map(mend_text, texts)])] if texts else []


def _unit(vector: Iterable[Any]) -> list[float]:
    numbers = [float(number) for number in vector]
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]
