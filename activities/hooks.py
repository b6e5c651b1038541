"""Functions of a user's agent, called with a limit; whatever goes wrong in one fails the turn with a sentence."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from domain.agent import Agent
from domain.errors import HookError
from domain.messages import mend_text, preview

HOOK_S = 30.0


async def call_hook(agent: Agent, name: str, hook: Callable[[Any], Any], info: object) -> Any:
    """What a function of the agent says in time. Raises: HookError."""
    limit = asyncio.timeout(HOOK_S)
    try:
        async with limit:
            return await invoke(hook, info)
    except (Exception, SystemExit) as error:
        if limit.expired():
            raise hook_error(agent, name, f"did not finish within {HOOK_S:g} s") from error
        raise hook_error(agent, name, f"failed: {type(error).__name__}: {error}") from error


def hook_error(agent: Agent, name: str, what: str) -> HookError:
    return HookError(f"The {name} of agent {agent.name!r} {preview(mend_text(what))}")


async def invoke(hook: Callable[[Any], Any], info: object) -> object:
    """What a sync or async function says; sync ones run in a thread, for as long as they like."""
    if inspect.iscoroutinefunction(hook):
        return await hook(info)
    found = await asyncio.to_thread(hook, info)
    return await found if inspect.isawaitable(found) else found
