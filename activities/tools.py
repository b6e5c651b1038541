"""`run_tool`: one tool call. Reads the arguments from the store and saves the result there.

A call's result is saved once. A `write` tool never runs twice for one call: an attempt that finds that an earlier one
had begun tells the model that the outcome is unknown. Whatever goes wrong in a tool becomes a result that the model
reads; only the store's own failures are retried.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable
from typing import Any

import structlog
from pydantic_core import to_jsonable_python
from temporalio import activity

from activities.failures import translated
from activities.lease import Lease, interrupted
from activities.ports import Catalog, EventLog, Store, ToolServers
from activities.rows import held, tool_row, tool_row_id
from activities.servers import NoServers, ServedTools
from domain import ids
from domain.agent import Tool
from domain.errors import NotVisibleYetError, SupersededError, ToolError
from domain.messages import Message, ToolCall, mend_text
from domain.steps import ToolRequest, ToolResult, attempt_of, fence

MAX_TRIES = 3  # of a tool that may be repeated
MAX_RESULT_CHARS = 100_000

log = structlog.get_logger()


class ToolActivities:
    """Tool calls over the ports it is given."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        catalog: Catalog,
        *,
        servers: ToolServers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog
        self._served = ServedTools(store, events, servers or NoServers())
        self._clock = clock

    @activity.defn(name="run_tool")
    async def run_tool(self, request: ToolRequest) -> ToolResult:
        """Run the call unless its result is there already."""
        with translated():
            async with Lease.of_activity() as lease:
                try:
                    return await self._run(request, lease)
                except asyncio.CancelledError:
                    if not interrupted():
                        raise
                    # `close_turn` ends the row.
                    return ToolResult(message_id=tool_row_id(request), status="interrupted")

    async def _run(self, request: ToolRequest, lease: Lease) -> ToolResult:
        attempt = fence(request.epoch, request.step, activity.info().attempt)
        arguments = await self._arguments(request)  # before the row that says that the call has begun
        row, begun_before = await self._claim(request, attempt)
        if not row.final:
            await self._publish(request, "tool.started", row)
            lease.check()
            text, failed = await self._outcome(request, arguments, begun_before)
            lease.check()
            row = await self._save(request, row.id, attempt, text, "failed" if failed else "complete")
        return ToolResult(message_id=row.id, status="complete" if row.status == "complete" else "failed")

    async def _claim(self, request: ToolRequest, attempt: int) -> tuple[Message, bool]:
        """The result's row, held by this attempt unless final, and whether an earlier attempt had begun the call."""
        row_id = tool_row_id(request)
        before = await self._store.get([row_id])
        record = await self._store.get_thread(request.thread)
        await self._store.insert([tool_row(request, attempt, record, self._clock())])
        [found] = await self._store.get([row_id])  # another attempt's, if that came between
        row = held(await self._store.amend(row_id, attempt, {"updated_at": self._clock()}), attempt)
        return row, bool(before) or found.attempt != attempt

    async def _outcome(self, request: ToolRequest, arguments: str, begun_before: bool) -> tuple[str, bool]:
        """What the model reads, and whether it is a failure."""
        agent = self._catalog.agent(request.agent)
        tool = await self._served.recorded(agent, request) or agent.tool(request.call.tool)
        if tool is None:
            known = ", ".join(t.name for t in agent.tools) or "none"
            return f"There is no tool {request.call.tool!r}. The tools are: {known}.", True
        if not request.call.offered:
            return f"The tool {request.call.tool!r} cannot be used now. Use only the tools that you were given.", True
        if begun_before and "write" in (tool.effect, request.call.effect):
            return "The outcome is unknown: the worker was lost while the tool ran. It was not repeated.", True
        if begun_before and activity.info().attempt > MAX_TRIES:
            return f"The tool did not finish in {MAX_TRIES} tries: each time its worker was lost.", True
        return await self._call(tool, arguments)

    async def _arguments(self, request: ToolRequest) -> str:
        """The JSON text the model wrote. Raises: NotVisibleYetError if the answer that planned it does not show."""
        answer = ids.message_id(request.thread, request.prompt_id, "answer", branch=request.branch, step=request.step)
        for row in await self._store.get([answer]):
            calls: list[ToolCall] = row.tool_calls
            if request.index < len(calls):
                return calls[request.index].arguments
        raise NotVisibleYetError(f"the answer that planned call {request.call.call_id} does not show yet")

    async def _call(self, tool: Tool, arguments: str) -> tuple[str, bool]:
        try:
            values = tool.parse(arguments)
        except ValueError as error:
            return f"Invalid arguments: {error}", True
        limit = asyncio.timeout(tool.timeout_s)
        try:
            async with limit:
                return as_text(await self._invoke(tool, values)), False
        except ToolError as error:
            return str(error), True
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's tool raises is the model's to read
            if limit.expired():
                unknown = " The outcome is unknown: it may still happen." if tool.effect == "write" else ""
                return f"The tool did not finish within {tool.timeout_s:g} s.{unknown}", True
            log.warning("tool.failed", tool=tool.name, error=repr(error))
            return f"The tool failed: {type(error).__name__}: {error}", True

    async def _invoke(self, tool: Tool, values: dict[str, Any]) -> object:
        if inspect.iscoroutinefunction(tool.function):
            return await tool.function(**values)
        return await asyncio.to_thread(tool.function, **values)

    async def _save(self, request: ToolRequest, row_id: str, attempt: int, text: str, status: str) -> Message:
        changes = {"status": status, "text": _cut(mend_text(text)), "updated_at": self._clock()}
        row = await self._store.amend(row_id, attempt, changes)
        if row is None or not row.final:
            raise SupersededError("a later attempt of this call holds its row")
        if row.attempt == attempt:
            log.info("tool.finished", message_id=row.id, tool=row.name, status=row.status, attempt=attempt_of(attempt))
            await self._publish(request, "tool.finished", row)
        return row

    async def _publish(self, request: ToolRequest, kind: Any, row: Message) -> None:
        data = {"message_id": row.id, "call_id": row.call_id, "tool": row.name, "turn": row.turn, "status": row.status}
        await self._events.publish(request.thread, kind, data)


def _cut(text: str) -> str:
    """A result that the model can take; what is missing is said."""
    if len(text) <= MAX_RESULT_CHARS:
        return text
    return f"{text[:MAX_RESULT_CHARS]}\n[cut: {MAX_RESULT_CHARS} of {len(text)} characters]"


def as_text(value: object) -> str:
    """A tool's return value as the model reads it: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
