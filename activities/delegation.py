"""A tool call that another agent answers, on a thread of its own.

The prompt on that thread has the id of the call's result, so whichever attempt asks hears the same answer, and what was
decided for it, once, is in the result's row. It is stopped with the turn that asked, and what it uses is that turn's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from temporalio.service import RPCError, RPCStatusCode

from activities.lease import interrupted, until_stopped
from activities.ports import Agents, Catalog, EventLog, Store
from activities.results import Outcome
from activities.rows import asker_of, held
from activities.spending import Left, left_of, turn_rows, turn_usage
from domain import ids
from domain.agent import Agent, Tool, with_options
from domain.delegation import MAX_DEPTH, Child, Delegate, Parent
from domain.errors import (
    HookError,
    InputRefusedError,
    NotVisibleYetError,
    UnavailableError,
    UnknownAgentError,
    UnknownPromptError,
)
from domain.handoffs import options_after
from domain.messages import Message, ThreadRecord, preview
from domain.prompts import Prompt, PromptOptions, ThreadStart, read_prompt
from domain.steps import ToolRequest
from domain.tooling import Asker
from domain.wishes import TurnReport

IDLE_TIMEOUT_S = 600.0  # then a child's workflow ends; it opens again should it be asked once more
LEAST_WAIT_S = 1.0
STOPPED = "the turn that asked was stopped"

log = structlog.get_logger()


class Delegations:
    """Over the ports it is given. `max_activities` is how many activities the worker runs at once."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        catalog: Catalog,
        agents: Agents,
        *,
        max_activities: int = 200,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._catalog = catalog
        self._agents = agents
        self._max_activities = max_activities
        self._clock = clock
        self._asking = 0

    async def answer(self, request: ToolRequest, row: Message, attempt: int, tool: Tool, question: str) -> Outcome:
        """What the other agent says, or why there is no answer; `row` is the call's result, which the attempt holds."""
        assert tool.delegate is not None
        record = await self._store.get_thread(request.thread)
        depth = _depth(record)
        with self._room(depth):
            try:
                child = row.child or await self._appoint(request, record, row, attempt, tool.delegate)
                prompt = await self._prompt(request, row, child, question)
                report = await self._ask(row, child, prompt, _start(request, row, record, child, depth), tool.timeout_s)
            except (InputRefusedError, UnknownAgentError, HookError) as error:
                return Outcome(f"Agent {tool.delegate.agent!r} cannot be asked: {error}", failed=True)
            return await self._outcome(row, child, report, tool.timeout_s)

    async def _appoint(
        self, request: ToolRequest, record: ThreadRecord | None, row: Message, attempt: int, delegate: Delegate
    ) -> Child:
        """Decide who answers, and keep it. Raises: InputRefusedError, UnknownAgentError if nobody can be asked."""
        if _depth(record) > MAX_DEPTH:
            raise InputRefusedError(f"agents may ask agents only {MAX_DEPTH} levels deep; do it without asking")
        thread = delegate.child_of(request.thread, row.id)
        asker = asker_of(request.thread, record)
        options = await self._share(request, asker, await self._catalog.agent(delegate.agent, asker))
        child = Child(thread=thread, agent=delegate.agent, asked_at=self._clock(), options=options)
        changes = {"child": child.model_dump(mode="json"), "updated_at": self._clock()}
        held(await self._store.amend(row.id, attempt, changes), attempt)
        log.info("agent.asked", message_id=row.id, agent=child.agent, child=child.thread)
        data: dict[str, Any] = {"message_id": row.id, "call_id": row.call_id, "tool": row.name, "turn": row.turn}
        whom = {"agent": child.agent, "child": child.thread, "prompt_id": row.id}
        await self._events.publish(request.thread, "agent.asked", data | whom)
        return child

    async def _share(self, request: ToolRequest, asker: Asker, asked: Agent) -> dict[str, Any]:
        """The limits of the child's turn: its own, or its part of what is left of this turn's, if that is less."""
        prompt = await self._asking_prompt(request)
        agent = await self._catalog.agent(request.agent, asker)
        options = PromptOptions.model_validate(prompt.options or {})
        agent = with_options(agent, options_after(options, agent))
        if agent.max_tokens is None and agent.max_seconds is None:
            return {}
        rows = await turn_rows(self._store, request.thread, request.prompt_id, request.branch)
        left = left_of(agent, prompt, rows, self._clock())
        if what := left.used_up:
            raise InputRefusedError(f"no {what} of this turn is left; answer now with what was found so far")
        return _limits(left, asked, _asked_together(agent, request, rows))

    async def _prompt(self, request: ToolRequest, row: Message, child: Child, question: str) -> Prompt:
        """Raises: InputRefusedError if it is too long, or empty."""
        asking = await self._asking_prompt(request)
        fields = {"id": row.id, "content": question, "author": request.agent, "agent": child.agent, "mode": "queue"}
        return read_prompt(
            fields | {"metadata": asking.metadata} | ({"options": child.options} if child.options else {})
        )

    async def _asking_prompt(self, request: ToolRequest) -> Message:
        for prompt in await self._store.get([ids.message_id(request.thread, request.prompt_id, "prompt")]):
            return prompt
        raise NotVisibleYetError(f"prompt {request.prompt_id} does not show yet")

    async def _ask(
        self, row: Message, child: Child, prompt: Prompt, start: ThreadStart, timeout_s: float
    ) -> TurnReport | None:
        """How the child's turn ended; None if it did not in time, and was stopped."""
        left_s = max(LEAST_WAIT_S, child.asked_at + timeout_s - self._clock())
        try:
            return await until_stopped(self._agents.ask(child.thread, prompt, start, timeout_s=left_s))
        except TimeoutError:
            await stop_child(self._agents, row.id, child, f"no answer within {timeout_s:g} s")
            return None
        except asyncio.CancelledError:
            if interrupted():
                await stop_child(self._agents, row.id, child, STOPPED)
            raise

    async def _outcome(self, row: Message, child: Child, report: TurnReport | None, timeout_s: float) -> Outcome:
        usage = await turn_usage(self._store, child.thread, row.id)
        changes = {"usage": usage.model_dump()} if usage.prompt_tokens or usage.completion_tokens else {}
        if report is None:
            return Outcome(
                f"Agent {child.agent!r} did not answer within {timeout_s:g} s.", failed=True, changes=changes
            )
        if report.status != "answered":
            why = f": {report.error}" if report.error else "."
            return Outcome(
                f"Agent {child.agent!r} did not answer, it {_END.get(report.status, 'was lost')}{why}",
                failed=True,
                changes=changes,
            )
        for answer in await self._store.get([report.message_id] if report.message_id else []):
            return Outcome(answer.text, changes=changes)
        raise NotVisibleYetError(f"the answer of agent {child.agent} does not show yet")

    @contextmanager
    def _room(self, depth: int) -> Iterator[None]:
        """A place among those that wait for others, of which each level leaves half to the next.

        Else they could take all the places that those have whom they wait for. Raises: UnavailableError.
        """
        if self._asking >= self._max_activities * (1 - 0.5**depth):
            raise UnavailableError("too many agents wait for others here; this one is asked when there is room")
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1


_END = {"failed": "failed", "interrupted": "was stopped", "withdrawn": "was not asked after all"}


async def stop_child(agents: Agents, prompt_id: str, child: Child, reason: str) -> None:
    """Stop what a call began: the turn if it runs, the prompt if it waits. Raises: UnavailableError."""
    for _ in range(2):  # it may begin between the two questions
        try:
            receipt = await agents.interrupt(child.thread, prompt_id=prompt_id, reason=preview(reason, 200))
            if receipt.disposition == "interrupting":
                return
            await agents.withdraw(child.thread, prompt_id)
        except UnknownPromptError:
            continue
        except UnavailableError as error:
            if not _is_gone(error):
                raise
        return


def _is_gone(error: UnavailableError) -> bool:
    cause = error.__cause__
    return isinstance(cause, RPCError) and cause.status == RPCStatusCode.NOT_FOUND


def _depth(record: ThreadRecord | None) -> int:
    """Of whoever is asked by the thread."""
    return 1 + (record.parent.depth if record and record.parent else 0)


def _start(request: ToolRequest, row: Message, record: ThreadRecord | None, child: Child, depth: int) -> ThreadStart:
    return ThreadStart(
        agent=child.agent,
        owner=(record.owner if record else "") or None,
        tenant=(record.tenant if record else "") or None,
        idle_timeout_s=IDLE_TIMEOUT_S,
        parent=Parent(thread=request.thread, prompt_id=request.prompt_id, message_id=row.id, depth=depth),
    )


def _asked_together(agent: Agent, request: ToolRequest, rows: list[Message]) -> int:
    """How many other agents the step asks at once."""
    calls = next((row.tool_calls for row in rows if row.role == "assistant" and row.step == request.step), [])
    tools = [agent.tool(call.name) for call in calls]
    return max(1, sum(tool is not None and tool.delegate is not None for tool in tools))


def _limits(left: Left, asked: Agent, parts: int) -> dict[str, Any]:
    tokens = None if left.tokens is None else max(1, left.tokens // parts)
    limits = {"max_tokens": (tokens, asked.max_tokens), "max_seconds": (left.seconds, asked.max_seconds)}
    return {
        name: min(of_turn, own if own is not None else of_turn)
        for name, (of_turn, own) in limits.items()
        if of_turn is not None
    }
