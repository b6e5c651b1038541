"""A user's function is called: sync ones in threads, generators value by value."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

from domain.agent import Tool


async def invoke(tool: Tool, arguments: dict[str, Any], tell: Callable[[Any], bool]) -> Any:
    """The function's result; of a generator its last value. `tell` hears each value, and says whether to go on."""
    function = tool.function
    if inspect.isasyncgenfunction(function):
        return await _last_of(function(**arguments), tell)
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    if inspect.isgeneratorfunction(function):
        return await in_thread(lambda: _last(function(**arguments), tell))
    value = await in_thread(lambda: function(**arguments))
    return await value if inspect.isawaitable(value) else value


async def in_thread(function: Callable[[], Any]) -> Any:
    """What the function returns, called in a thread of its own.

    Not in a pool's: of those there are few, and one that never ends would hold up the end of the program.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if ended.done():  # nobody waits any longer
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    def work() -> None:
        result: Any = None
        failed: BaseException | None = None
        try:
            result = context.run(function)
        except StopIteration as error:  # no future takes it
            failed = RuntimeError(repr(error))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=work, name="tool", daemon=True).start()
    return await ended


async def _last_of(values: Any, tell: Callable[[Any], bool]) -> Any:
    last = None
    async with aclosing(values) as stream:
        async for value in stream:
            last = value
            tell(value)
    return last


def _last(values: Iterator[Any], tell: Callable[[Any], bool]) -> Any:
    last = None
    for value in values:
        last = value
        if not tell(value):
            break
    return last
