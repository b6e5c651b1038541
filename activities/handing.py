"""A tool call that hands the thread over to another agent."""

from __future__ import annotations

from typing import Any

import structlog

from activities.ports import Catalog, EventLog, Store
from activities.results import Outcome
from activities.rows import asker_of
from domain import ids
from domain.agent import Tool
from domain.errors import HookError, UnknownAgentError
from domain.messages import Message, ThreadRecord
from domain.steps import ToolRequest
from domain.tooling import Asker

log = structlog.get_logger()


class Handoffs:
    """Over the ports it is given. Of several hand-offs in one step the first holds."""

    def __init__(self, store: Store, events: EventLog, catalog: Catalog) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog

    async def outcome(self, request: ToolRequest, record: ThreadRecord | None, tool: Tool, reason: str) -> Outcome:
        """What the model reads, the new agent's or the old one's."""
        assert tool.handoff is not None
        asker = asker_of(request.thread, record)
        if (first := await self._first(request, asker)) is not None:
            return Outcome(f"The conversation was handed over to {first!r} in this very step already.", failed=True)
        try:
            await self._catalog.agent(tool.handoff, asker)
        except (UnknownAgentError, HookError) as error:
            return Outcome(f"The conversation cannot be handed over: {error}", failed=True)
        why = f" Reason: {reason}" if reason else ""
        text = f"Agent {tool.handoff!r} has the conversation now and answers.{why}"
        return Outcome(text, changes={"handoff": tool.handoff})

    async def _first(self, request: ToolRequest, asker: Asker) -> str | None:
        """The agent to which another call of the step has handed over, or an earlier one is about to."""
        place = {"branch": request.branch, "step": request.step}
        answer_id = ids.message_id(request.thread, request.prompt_id, "answer", **place)
        agent = await self._catalog.agent(request.agent, asker)
        for answer in await self._store.get([answer_id]):
            for index, planned in enumerate((answer.result or {}).get("plan", [])):
                tool = agent.tool(planned["tool"]) if planned.get("offered", True) else None
                if tool is None or tool.handoff is None or index == request.index:
                    continue
                row_id = ids.message_id(request.thread, request.prompt_id, f"tool:{index}", **place)
                row = next(iter(await self._store.get([row_id])), None)
                if (row is not None and row.handoff) or (index < request.index and _goes_on(row)):
                    return tool.handoff
        return None

    async def settle(self, request: ToolRequest, row: Message) -> None:
        """Make the thread the new agent's in its record; the same again on a retry."""
        assert row.handoff is not None
        record = await self._store.get_thread(request.thread)
        if record is not None and record.agent != row.handoff:
            await self._store.end_turn(request.thread, record.turns, {"agent": row.handoff})
        log.info("thread.handed_over", thread=request.thread, agent=row.handoff, before=request.agent)
        data: dict[str, Any] = {"turn": row.turn, "prompt_id": row.prompt_id, "message_id": row.id}
        who = {"agent": row.handoff, "before": request.agent, "reason": row.text}
        await self._events.publish(request.thread, "agent.changed", data | who)


def _goes_on(row: Message | None) -> bool:
    """Whether a call is about to do what it is for: not one that was denied, say, or that may be."""
    return row is None or not (row.final or row.waits)
