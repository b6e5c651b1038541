"""One tool call as it runs: the function, what it is told, and what becomes of what it says and raises."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from temporalio import activity

from activities.failures import retry_delay
from activities.invoking import invoke
from activities.lease import Lease
from activities.ports import EventLog, Store
from activities.results import READER, Outcome, Results, as_text
from activities.rows import asker_of, held, said_row
from activities.speaking import CallLine
from domain.agent import Agent, Tool
from domain.errors import SupersededError, ToolError, ToolFailedError
from domain.messages import Message, ThreadRecord, mend_text
from domain.steps import ToolRequest
from domain.tooling import ToolContext

log = structlog.get_logger()


@dataclass
class Call:
    """One attempt of one call, which holds the result's row unless that is final."""

    request: ToolRequest
    attempt: int  # fence
    lease: Lease
    record: ThreadRecord | None  # of the thread
    prompt: Message | None
    arguments: str  # as the model wrote them
    agent: Agent | None  # None if the result was there
    row: Message  # the result's
    begun_before: bool  # by an earlier attempt

    def writes(self, tool: Tool) -> bool:
        """Also if it did when the call was planned: a user may edit a tool meanwhile."""
        return "write" in (tool.effect, self.request.call.effect)

    def event(self, **data: Any) -> dict[str, Any]:
        """The data of an event of this call."""
        row = self.row
        return {"message_id": row.id, "call_id": row.call_id, "tool": row.name, "turn": row.turn} | data


class Runner:
    """Runs tools over the ports it is given."""

    def __init__(self, store: Store, events: EventLog, results: Results, clock: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._results = results
        self._clock = clock

    async def run(self, call: Call, agent: Agent, tool: Tool) -> Outcome:
        """What came of the call. Raises: ToolFailedError if it is to be tried again."""
        try:
            values = tool.parse(call.arguments)
        except ValueError as error:
            return failed(f"Invalid arguments: {error}")
        limit = asyncio.timeout(tool.timeout_s)
        try:
            async with limit:
                return await self._invoke(call, agent, tool, values)
        except ToolError as error:
            log.info("tool.refused", tool=tool.name, error=str(error)[:1_000])
            return failed(str(error))
        except SupersededError:  # while it said something: another attempt has its place
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's tool raises is the model's to read
            why = f"The tool failed: {_words(error)}"
            if limit.expired():
                unknown = " The outcome is unknown: it may still happen." if tool.effect == "write" else ""
                why = f"The tool did not finish within {tool.timeout_s:g} s.{unknown}"
            log.warning("tool.failed", tool=tool.name, error=why)
            await self._try_again(call, tool, why)
            return failed(why)

    async def _try_again(self, call: Call, tool: Tool, why: str) -> None:
        """Raises: ToolFailedError unless it was tried as often as it may be."""
        failures = call.row.failures + 1
        if failures > tool.retries or call.writes(tool):
            return
        call.lease.check()
        held(await self._store.amend(call.row.id, call.attempt, {"failures": failures}), call.attempt)
        failed = ToolFailedError(why)
        told = {"error": why[:1_000], "retry_in_s": round(retry_delay(failed), 1)}
        await self._publish(call, "tool.retrying", told)
        raise failed

    async def _invoke(self, call: Call, agent: Agent, tool: Tool, values: dict[str, Any]) -> Outcome:
        if tool is READER:
            return Outcome(await self._results.read(call.request.thread, **values))
        async with CallLine(partial(self._publish, call, "tool.progress"), partial(self._say, call)) as line:
            if tool.context is not None:
                values |= {tool.context: await self._context(call, agent, tool, line)}
            value = await invoke(tool, values, lambda value: line.so_far(_so_far(value)))
        try:
            return _finished(tool, value)
        except Exception as error:
            raise ToolError(f"The tool has run, but what it returned cannot be used: {_words(error)}") from error

    async def _context(self, call: Call, agent: Agent, tool: Tool, line: CallLine) -> ToolContext[Any]:
        request, record, prompt = call.request, call.record, call.prompt
        deps = agent.deps
        if callable(deps):
            deps = deps(asker_of(request.thread, record))
            deps = await deps if inspect.isawaitable(deps) else deps
        return ToolContext(
            deps=deps,
            thread=request.thread,
            tenant=record.tenant if record else "",
            owner=record.owner if record else "",
            author=prompt.author if prompt else None,
            metadata=prompt.metadata if prompt else {},
            turn=request.turn,
            step=request.step,
            agent=agent.name,
            tool=tool.name,
            key=call.row.id,
            call_id=request.call.call_id,
            attempt=activity.info().attempt,
            line=line,
        )

    async def _say(self, call: Call, number: int, text: str) -> str:
        """Save what a tool says; the result's row names it, for the later steps of the turn to see."""
        call.lease.check()
        hidden = call.prompt is not None and (call.prompt.options or {}).get("searchable") is False
        row = said_row(call.request, number, text, call.attempt, call.record, self._clock(), searchable=not hidden)
        await self._store.insert([row])
        said = call.row.said if row.id in call.row.said else [*call.row.said, row.id]
        call.row = held(await self._store.amend(call.row.id, call.attempt, {"said": said}), call.attempt)
        place = {"message_id": row.id, "attempt": call.attempt, "turn": row.turn, "step": row.step, "agent": row.agent}
        thread = call.request.thread
        await self._events.publish(thread, "message.started", place)
        await self._events.publish(thread, "message.delta", place | {"text": text})
        await self._events.publish(thread, "message.finished", place | {"status": row.status, "finish": "said"})
        return row.id

    async def _publish(self, call: Call, kind: Any, data: dict[str, Any]) -> None:
        await self._events.publish(call.request.thread, kind, call.event(attempt=call.attempt) | data)


def failed(text: str) -> Outcome:
    return Outcome(text, failed=True)


def _finished(tool: Tool, value: Any) -> Outcome:
    """Raises: ValueError if the result is not what the tool says of it."""
    checked = tool.check(value) if tool.check is not None else value
    text = _text(tool, checked)
    return Outcome(text, output=as_text(checked) if tool.to_model is not None else None)


def _text(tool: Tool, value: Any) -> str:
    return str(tool.to_model(value)) if tool.to_model is not None else as_text(value)


def _so_far(value: Any) -> str:
    """A result that is not the last yet, for readers; one that cannot be read does the call no harm."""
    try:
        return mend_text(as_text(value))
    except Exception as error:  # noqa: BLE001 - a user's value can do anything
        return f"[{_words(error)}]"


def _words(error: BaseException) -> str:
    """What an error of a user's says, even if it cannot be asked."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its __str__ is a user's too
        return type(error).__name__
