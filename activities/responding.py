"""Answers that an agent's own function gives in the place of an endpoint."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from activities.hooks import hook_error
from activities.step import Step
from domain.agent import Agent
from domain.errors import EverthreadError
from domain.messages import mend_text
from domain.model import Completion, ModelRequest, Piece, ReasoningDelta, TextDelta, ToolDelta

HOOK = "respond"


async def respond(step: Step, call: ModelRequest) -> AsyncGenerator[Piece | Completion, None]:
    """As activities.ports.ChatModel.stream.

    Raises: HookError for whatever goes wrong in the function, but for errors of ours, which mean what they say:
    ModelUnavailableError is tried again, ModelRefusedError is not.
    """
    said: list[str] = []
    async with aclosing(_said(step, call)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                yield replace(piece, text=mend_text(piece.text or "".join(said)))
                return
            said += [piece.text] if isinstance(piece, TextDelta) else []
            yield piece
    yield Completion("".join(said), (), "stop", call.model or "", None, {})


async def _said(step: Step, call: ModelRequest) -> AsyncGenerator[Piece | Completion, None]:
    agent, function, info = step.agent, step.agent.respond, step.info
    assert function is not None
    assert info is not None
    try:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            found = function(call, info)
        else:
            found = await asyncio.to_thread(function, call, info)
        if not inspect.isasyncgen(found):
            yield _piece(agent, await found if inspect.isawaitable(found) else found)
            return
        async with aclosing(found) as values:
            async for value in values:
                yield _piece(agent, value)
    except EverthreadError:
        raise
    except (Exception, SystemExit) as error:
        raise hook_error(agent, HOOK, f"failed: {type(error).__name__}: {error}") from error


def _piece(agent: Agent, value: Any) -> Piece | Completion:
    """Raises: HookError."""
    if isinstance(value, str):
        return TextDelta(mend_text(value))
    if isinstance(value, Completion):
        return value
    if isinstance(value, TextDelta | ReasoningDelta | ToolDelta):
        return replace(value, text=mend_text(value.text))
    raise hook_error(agent, HOOK, f"gave a {type(value).__name__}; give texts, or a Completion")
