"""Asking a model for a value, in the background: the whole answer, in the form that is wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from activities.ports import ChatModel
from domain.chat import ChatMessage
from domain.errors import FormatRefusedError
from domain.model import AnswerFormat, Completion, ModelRequest
from domain.output import json_in

Wanted = TypeVar("Wanted", bound=BaseModel)


async def ask_for(
    wanted: type[Wanted], name: str, port: ChatModel, model: str | None, messages: Sequence[ChatMessage]
) -> tuple[Wanted, Completion]:
    """What the model answers, held to the form if it knows it. Raises: ModelError; ValueError if it is not what was asked."""
    form = AnswerFormat(name, wanted.model_json_schema(), strict=False)
    try:
        completion = await _whole(port, ModelRequest(model, messages, answer_format=form))
    except FormatRefusedError:
        completion = await _whole(port, ModelRequest(model, messages))
    try:
        return wanted.model_validate_json(json_in(completion.text)), completion
    except ValidationError as error:
        said = json.dumps(completion.text[:200])
        raise ValueError(f"the model did not answer with {name}: {said}: {error.error_count()} faults") from None


async def _whole(port: ChatModel, request: ModelRequest) -> Completion:
    last: Completion | None = None
    async for piece in port.stream(request):
        last = piece if isinstance(piece, Completion) else last
    assert last is not None
    return last
