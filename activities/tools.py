"""`run_tool`: one tool call. Reads the arguments from the store and saves the result there.

A call's result is saved once. A `write` tool never runs twice for one call: an attempt that finds that an earlier one
had begun tells the model that the outcome is unknown. Whatever goes wrong in a tool becomes a result that the model
reads; only the store's own failures are retried, and what a tool that may be repeated asks to be tried again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Literal

import structlog
from temporalio import activity

from activities.calls import Call, Runner, failed
from activities.consulting import Consulting
from activities.decided import decided_changes, outcome_of, resolution_of
from activities.delegation import Delegations
from activities.failures import translated
from activities.handing import Handoffs
from activities.lease import Lease, interrupted
from activities.ports import Blobs, Catalog, EventLog, KnowledgeSearch, Store, ToolServers
from activities.remembering import NO_MEMORY, Remembering
from activities.results import READ_RESULT, READER, Outcome, Results
from activities.rows import asker_of, held, living, said_row_id, tool_row, tool_row_id
from activities.servers import NoServers, ServedTools
from domain import ids
from domain.agent import Agent, Tool
from domain.errors import NotVisibleYetError, SupersededError
from domain.messages import Message, ToolCall
from domain.steps import ToolRequest, ToolResult, attempt_of, fence
from domain.tooling import MAX_SAID

MAX_TRIES = 3  # of a tool that may be repeated, each ended by the loss of its worker
MAX_RESULT_CHARS = 20_000  # of what is said instead of a result

log = structlog.get_logger()


class ToolActivities:
    """Tool calls over the ports it is given. Without `blobs`, long results are cut."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        catalog: Catalog,
        delegations: Delegations,
        blobs: Blobs | None = None,
        *,
        servers: ToolServers | None = None,
        knowledge: KnowledgeSearch | None = None,
        remembering: Remembering | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog
        self._results = Results(store, blobs)
        self._runner = Runner(store, events, self._results, clock)
        self._delegations = delegations
        self._remembering = remembering
        self._handoffs = Handoffs(store, events, catalog)
        self._served = ServedTools(store, events, servers or NoServers())
        self._consulting = Consulting(knowledge)
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
            lease.check()
            assert call.agent is not None
            outcome, limit = await self._decided(call) or await self._outcome(call, call.agent)
            lease.check()
            row = await self._save(call, outcome, limit)
        if row.handoff:
            await self._handoffs.settle(request, row)
        status: Literal["complete", "failed"] = "complete" if row.status == "complete" else "failed"
        return ToolResult(message_id=row.id, status=status, agent=row.handoff or "")

    async def _claim(self, request: ToolRequest, lease: Lease) -> Call:
        """The call, its row held by this attempt unless final."""
        attempt = fence(request.epoch, request.step, activity.info().attempt)
        asked = self._asked(request)  # before the row that says that the call has begun
        (arguments, prompt, before), record = await asyncio.gather(asked, self._store.get_thread(request.thread))
        living(record)
        row_id, agent = tool_row_id(request), None
        if before is None or not before.final:  # and before the call has begun: it may be away
            agent = await self._catalog.agent(request.agent, asker_of(request.thread, record))
        await self._store.insert([tool_row(request, attempt, record, self._clock())])
        [found] = await self._store.get([row_id])  # another attempt's, if that came between
        now, decision = self._clock(), request.resolution
        row = held(await self._store.amend(row_id, attempt, {"updated_at": now}), attempt)
        waited = row.waits is not None  # while this attempt holds the row, so that no earlier one can begin any more
        if waited and decision is not None and not row.final:
            row = held(await self._store.amend(row_id, attempt, decided_changes(decision, now)), attempt)
        begun_before = not waited and (before is not None or found.attempt != attempt)
        if begun_before and not row.final:
            row.said = await self._said(request)  # also what the lost attempt could not note any more
        call = Call(request, attempt, lease, record, prompt, arguments, agent, row, begun_before)
        if waited and row.decision is not None and not row.final:
            await self._tell_resolved(call)
        return call

    async def _said(self, request: ToolRequest) -> list[str]:
        """The ids of what earlier attempts have said."""
        rows = await self._store.get([said_row_id(request, number) for number in range(MAX_SAID)])
        return [row.id for row in rows]

    async def _asked(self, request: ToolRequest) -> tuple[str, Message | None, Message | None]:
        """The JSON text the model wrote, the turn's prompt, and the call's own row if it has begun before.

        Raises: NotVisibleYetError if the answer that planned the call does not show.
        """
        answer = ids.message_id(request.thread, request.prompt_id, "answer", branch=request.branch, step=request.step)
        prompt = ids.message_id(request.thread, request.prompt_id, "prompt")
        own = tool_row_id(request)
        rows = {row.id: row for row in await self._store.get([answer, prompt, own])}
        calls: list[ToolCall] = rows[answer].tool_calls if answer in rows else []
        if request.index >= len(calls):
            raise NotVisibleYetError(f"the answer that planned call {request.call.call_id} does not show yet")
        return calls[request.index].arguments, rows.get(prompt), rows.get(own)

    async def _decided(self, call: Call) -> tuple[Outcome, int] | None:
        """What came of a call without its being run, since somebody has decided about it; else it begins now."""
        decision = resolution_of(call.row)
        if decision is not None and (outcome := outcome_of(decision)) is not None:
            return outcome, MAX_RESULT_CHARS
        if decision is not None and decision.arguments is not None:
            call.arguments = json.dumps(decision.arguments, ensure_ascii=False)
        started = call.event(status=call.row.status, attempt=call.attempt)
        await self._events.publish(call.request.thread, "tool.started", started)
        return None

    async def _outcome(self, call: Call, agent: Agent) -> tuple[Outcome, int]:
        """What came of the call, and how many characters of it the model may read."""
        request = call.request
        tool = await self._served.recorded(agent, request) or agent.tool(request.call.tool)
        tool = tool or (READER if request.call.tool == READ_RESULT else None)
        tool = tool or self._consulting.tool(agent, request.call.tool)
        if tool is None:
            known = ", ".join(t.name for t in agent.tools) or "none"
            return failed(f"There is no tool {request.call.tool!r}. The tools are: {known}."), MAX_RESULT_CHARS
        return self._refused(call, tool) or await self._run_it(call, agent, tool), tool.max_result_chars

    async def _run_it(self, call: Call, agent: Agent, tool: Tool) -> Outcome:
        if tool.handoff is None and tool.delegate is None and not tool.memory:
            return await self._runner.run(call, agent, tool)
        try:
            values = tool.parse(call.arguments)
        except ValueError as error:
            return failed(f"Invalid arguments: {error}")
        if tool.memory:
            return await self._remembering.outcome(call, agent, values) if self._remembering else failed(NO_MEMORY)
        if tool.handoff is not None:
            return await self._handoffs.outcome(call.request, call.record, tool, values["reason"])
        return await self._delegations.answer(call.request, call.row, call.attempt, tool, values["prompt"])

    @staticmethod
    def _refused(call: Call, tool: Tool) -> Outcome | None:
        """Why the tool is not run."""
        if not call.request.call.offered:
            return failed(f"The tool {tool.name!r} cannot be used now. Use only the tools that you were given.")
        if tool.handoff is not None or tool.delegate is not None:  # whoever asks again hears the same
            return None
        if call.begun_before and call.writes(tool):
            return failed("The outcome is unknown: the worker was lost while the tool ran. It was not repeated.")
        if call.begun_before and activity.info().attempt - call.row.failures > MAX_TRIES:
            return failed(f"The tool did not finish in {MAX_TRIES} tries: each time its worker was lost.")
        return None

    async def _save(self, call: Call, outcome: Outcome, limit: int) -> Message:
        fields = await self._results.fields(outcome, call.row.id, limit)
        if call.row.said:
            fields["said"] = call.row.said
        status = outcome.status or ("failed" if outcome.failed else "complete")
        changes = outcome.changes | fields | {"status": status, "updated_at": self._clock()}
        row = await self._store.amend(call.row.id, call.attempt, changes)
        if row is None or not row.final:
            raise SupersededError("a later attempt of this call holds its row")
        if row.attempt == call.attempt:
            log.info(
                "tool.finished", message_id=row.id, tool=row.name, status=row.status, attempt=attempt_of(row.attempt)
            )
            await self._events.publish(call.request.thread, "tool.finished", call.event(status=row.status))
        return row

    async def _tell_resolved(self, call: Call) -> None:
        told = {name: (call.row.decision or {}).get(name) for name in ("decision", "by", "reason")}
        log.info("call.resolved", message_id=call.row.id, tool=call.row.name, decision=told["decision"], by=told["by"])
        await self._events.publish(call.request.thread, "tool.resolved", call.event(attempt=call.attempt, **told))
