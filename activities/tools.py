"""`run_tool`: one tool call. Reads the arguments from the store and saves the result there.

A call's result is saved once. A `write` tool never runs twice for one call: an attempt that finds that an earlier one
had begun tells the model that the outcome is unknown. Whatever goes wrong in a tool becomes a result that the model
reads; only the store's own failures are retried, and what a tool that may be repeated asks to be tried again.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from temporalio import activity

from activities.failures import retry_delay, translated
from activities.invoking import invoke
from activities.lease import Lease, interrupted
from activities.ports import Blobs, Catalog, EventLog, Store
from activities.results import READ_RESULT, READER, Outcome, Results, as_text
from activities.rows import asker_of, held, said_row, tool_row, tool_row_id
from activities.speaking import CallLine
from domain import ids
from domain.agent import Agent, Tool
from domain.errors import NotVisibleYetError, SupersededError, ToolError, ToolFailedError
from domain.messages import Message, ThreadRecord, ToolCall, mend_text
from domain.steps import ToolRequest, ToolResult, attempt_of, fence
from domain.tooling import MAX_SAID, ToolContext

MAX_TRIES = 3  # of a tool that may be repeated, each ended by the loss of its worker
MAX_RESULT_CHARS = 20_000  # of what is said instead of a result

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
    row: Message  # the result's
    begun_before: bool  # by an earlier attempt


class ToolActivities:
    """Tool calls over the ports it is given. Without `blobs`, long results are cut."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        catalog: Catalog,
        blobs: Blobs | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog
        self._results = Results(store, blobs)
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
        call = await self._claim(request, lease)
        row = call.row
        if not row.final:
            await self._publish(call, "tool.started", status=row.status)
            lease.check()
            outcome, limit = await self._outcome(call)
            lease.check()
            row = await self._save(call, outcome, limit)
        return ToolResult(message_id=row.id, status="complete" if row.status == "complete" else "failed")

    async def _claim(self, request: ToolRequest, lease: Lease) -> Call:
        """The call, its row held by this attempt unless final."""
        attempt = fence(request.epoch, request.step, activity.info().attempt)
        arguments, prompt = await self._asked(request)  # before the row that says that the call has begun
        row_id = tool_row_id(request)
        before = await self._store.get([row_id])
        record = await self._store.get_thread(request.thread)
        await self._store.insert([tool_row(request, attempt, record, self._clock())])
        [found] = await self._store.get([row_id])  # another attempt's, if that came between
        row = held(await self._store.amend(row_id, attempt, {"updated_at": self._clock()}), attempt)
        begun_before = bool(before) or found.attempt != attempt
        return Call(request, attempt, lease, record, prompt, arguments, row, begun_before)

    async def _asked(self, request: ToolRequest) -> tuple[str, Message | None]:
        """The JSON text the model wrote, and the turn's prompt.

        Raises: NotVisibleYetError if the answer that planned the call does not show.
        """
        answer = ids.message_id(request.thread, request.prompt_id, "answer", branch=request.branch, step=request.step)
        prompt = ids.message_id(request.thread, request.prompt_id, "prompt")
        rows = {row.id: row for row in await self._store.get([answer, prompt])}
        calls: list[ToolCall] = rows[answer].tool_calls if answer in rows else []
        if request.index >= len(calls):
            raise NotVisibleYetError(f"the answer that planned call {request.call.call_id} does not show yet")
        return calls[request.index].arguments, rows.get(prompt)

    async def _outcome(self, call: Call) -> tuple[Outcome, int]:
        """What came of the call, and how many characters of it the model may read."""
        if call.begun_before:
            await self._note_said(call)
        request = call.request
        agent = await self._catalog.agent(request.agent, asker_of(request.thread, call.record))
        tool = agent.tool(request.call.tool) or (READER if request.call.tool == READ_RESULT else None)
        if tool is None:
            known = ", ".join(t.name for t in agent.tools) or "none"
            return _failed(f"There is no tool {request.call.tool!r}. The tools are: {known}."), MAX_RESULT_CHARS
        return self._refused(call, tool) or await self._call(call, agent, tool), tool.max_result_chars

    @staticmethod
    def _refused(call: Call, tool: Tool) -> Outcome | None:
        """Why the tool is not run."""
        if not call.request.call.offered:
            return _failed(f"The tool {tool.name!r} cannot be used now. Use only the tools that you were given.")
        if call.begun_before and _writes(call, tool):
            return _failed("The outcome is unknown: the worker was lost while the tool ran. It was not repeated.")
        if call.begun_before and activity.info().attempt - call.row.failures > MAX_TRIES:
            return _failed(f"The tool did not finish in {MAX_TRIES} tries: each time its worker was lost.")
        return None

    async def _call(self, call: Call, agent: Agent, tool: Tool) -> Outcome:
        """Raises: ToolFailedError if it is to be tried again."""
        try:
            values = tool.parse(call.arguments)
        except ValueError as error:
            return _failed(f"Invalid arguments: {error}")
        limit = asyncio.timeout(tool.timeout_s)
        try:
            async with limit:
                return await self._invoke(call, agent, tool, values)
        except ToolError as error:
            log.info("tool.refused", tool=tool.name, error=str(error)[:1_000])
            return _failed(str(error))
        except SupersededError:  # while it said something: another attempt has its place
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's tool raises is the model's to read
            why = f"The tool failed: {_words(error)}"
            if limit.expired():
                unknown = " The outcome is unknown: it may still happen." if tool.effect == "write" else ""
                why = f"The tool did not finish within {tool.timeout_s:g} s.{unknown}"
            log.warning("tool.failed", tool=tool.name, error=why)
            await self._try_again(call, tool, why)
            return _failed(why)

    async def _try_again(self, call: Call, tool: Tool, why: str) -> None:
        """Raises: ToolFailedError unless it was tried as often as it may be."""
        failures = call.row.failures + 1
        if failures > tool.retries or _writes(call, tool):
            return
        call.lease.check()
        held(await self._store.amend(call.row.id, call.attempt, {"failures": failures}), call.attempt)
        failed = ToolFailedError(why)
        await self._publish(call, "tool.retrying", error=why[:1_000], retry_in_s=round(retry_delay(failed), 1))
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

    async def _note_said(self, call: Call) -> None:
        """What a lost attempt had said, but could not note any more, is seen by the later steps all the same."""
        request, place = call.request, {"branch": call.request.branch, "step": call.request.step}
        slots = [f"said:{request.index}:{number}" for number in range(MAX_SAID)]
        wanted = [ids.message_id(request.thread, request.prompt_id, slot, **place) for slot in slots]
        said = [row.id for row in await self._store.get(wanted)]
        if said != call.row.said:
            call.row = held(await self._store.amend(call.row.id, call.attempt, {"said": said}), call.attempt)

    async def _say(self, call: Call, number: int, text: str) -> str:
        """Save what a tool says; the result's row names it, for the later steps of the turn to see."""
        call.lease.check()
        row = said_row(call.request, number, text, call.attempt, call.record, self._clock())
        await self._store.insert([row])
        said = call.row.said if row.id in call.row.said else [*call.row.said, row.id]
        call.row = held(await self._store.amend(call.row.id, call.attempt, {"said": said}), call.attempt)
        place = {"message_id": row.id, "attempt": call.attempt, "turn": row.turn, "step": row.step, "agent": row.agent}
        thread = call.request.thread
        await self._events.publish(thread, "message.started", place)
        await self._events.publish(thread, "message.delta", place | {"text": text})
        await self._events.publish(thread, "message.finished", place | {"status": row.status, "finish": "said"})
        return row.id

    async def _save(self, call: Call, outcome: Outcome, limit: int) -> Message:
        fields = await self._results.fields(outcome, call.row.id, limit)
        status = "failed" if outcome.failed else "complete"
        changes = fields | {"status": status, "updated_at": self._clock()}
        row = await self._store.amend(call.row.id, call.attempt, changes)
        if row is None or not row.final:
            raise SupersededError("a later attempt of this call holds its row")
        if row.attempt == call.attempt:
            log.info(
                "tool.finished", message_id=row.id, tool=row.name, status=row.status, attempt=attempt_of(row.attempt)
            )
            await self._publish(call, "tool.finished", status=row.status)
        return row

    async def _publish(self, call: Call, kind: Any, more: dict[str, Any] | None = None, /, **data: Any) -> None:
        row = call.row
        place = {"message_id": row.id, "call_id": row.call_id, "tool": row.name, "turn": row.turn}
        if kind != "tool.finished":
            place["attempt"] = call.attempt
        await self._events.publish(call.request.thread, kind, place | data | (more or {}))


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


def _writes(call: Call, tool: Tool) -> bool:
    """Also if it did when the call was planned: a user may edit a tool meanwhile."""
    return "write" in (tool.effect, call.request.call.effect)


def _failed(text: str) -> Outcome:
    return Outcome(text, failed=True)


def _finished(tool: Tool, value: Any) -> Outcome:
    """Raises: ValueError if the result is not what the tool says of it."""
    checked = tool.check(value) if tool.check is not None else value
    text = _text(tool, checked)
    return Outcome(text, output=as_text(checked) if tool.to_model is not None else None)


def _text(tool: Tool, value: Any) -> str:
    return str(tool.to_model(value)) if tool.to_model is not None else as_text(value)
