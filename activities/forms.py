"""In which form a model is asked for a value: the most exact one that it takes."""

from __future__ import annotations

import json
from typing import Any

from domain.model import AnswerFormat
from domain.output import Output

REMEMBERED = 1_000  # models and outputs


class Forms:
    """Remembers, while the process lives, which forms a model would not take."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], int] = {}

    def form(self, model: Any, output: Output) -> AnswerFormat | None:
        """None: the model is held to nothing, and only told."""
        return _ladder(output)[self._refused.get(_key(model, output), 0)]

    def refuse(self, model: Any, output: Output, form: AnswerFormat) -> None:
        """The model did not take this form; it gets the next one, also if others hear of it at the same time."""
        if len(self._refused) >= REMEMBERED:
            self._refused.clear()
        self._refused[_key(model, output)] = _ladder(output).index(form) + 1


def _ladder(output: Output) -> list[AnswerFormat | None]:
    exact = [AnswerFormat(output.name, output.sent, strict=True)] if output.strict else []
    return [*exact, AnswerFormat(output.name, output.sent), AnswerFormat(output.name), None]


def _key(model: Any, output: Output) -> tuple[str, str]:
    return str(model), json.dumps(output.schema)
