"""`call_model`: one step of a turn. Saves the prompt, builds the context, calls the model, saves the answer.

A step whose answer is final returns it without calling the model again, so that a crash between saving and reporting
costs nothing. The rows it writes are its own only while no later attempt holds them (see activities.ports.Store.amend).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from temporalio import activity

from activities.answering import Answer, Answering
from activities.backlog import Backlog
from activities.consulting import Consulting
from activities.failures import translated
from activities.gating import Gatekeeper, with_gates
from activities.lease import Lease, interrupted, until_stopped
from activities.memory import Memory
from activities.past import PastReader, outgrown
from activities.ports import (
    Catalog,
    ChatModel,
    EventLog,
    KnowledgeSearch,
    Store,
    Summaries,
    TokenCounter,
    ToolServers,
)
from activities.remembering import Remembering
from activities.routing import Routes
from activities.rows import SKIPPED, answer_row, asker_of, held, joined_changes, living, prompt_row
from activities.servers import NoServers, ServedTools
from activities.step import Step
from activities.stopping import STOPPED, last_answer, stops
from activities.streaming import AnswerStream
from domain import ids
from domain.errors import ModelRefusedError, NotVisibleYetError, OutputInvalidError, SupersededError
from domain.messages import Message, preview
from domain.model import Completion
from domain.steps import StepRequest, StepResult, attempt_of, fence

HEARD_CHARS = 10_000  # of a prompt, by live readers; the store has it whole

log = structlog.get_logger()


class ModelActivities:
    """Model calls over the ports it is given. `budget_tokens` bounds the context of a call.

    Without `queues` the thread's own workers run all tools, since there can be no others.
    """

    def __init__(
        self,
        store: Store,
        events: EventLog,
        model: ChatModel,
        catalog: Catalog,
        *,
        budget_tokens: int,
        tokens: TokenCounter | None = None,
        summaries: Summaries | None = None,
        servers: ToolServers | None = None,
        memory: Memory | None = None,
        knowledge: KnowledgeSearch | None = None,
        remembering: Remembering | None = None,
        queues: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._answering = Answering(AnswerStream(store, events, model, clock), budget_tokens, tokens)
        self._backlog = Backlog(store, clock)
        self._past = PastReader(self._backlog, memory, summaries, remembering)
        self._gates = Gatekeeper(store, events, clock)
        self._routes = Routes(store, events, catalog)
        self._catalog = catalog
        self._queues = queues
        self._served = ServedTools(store, events, servers or NoServers())
        self._consulting = Consulting(knowledge)
        self._clock = clock

    @activity.defn(name="call_model")
    async def call_model(self, request: StepRequest) -> StepResult:
        """One model call and its records. Returns the final answer of an earlier attempt if there is one."""
        with translated():
            async with Lease.of_activity() as lease:
                record = living(await self._store.get_thread(request.thread))
                agent = await self._catalog.agent(request.agent, asker_of(request.thread, record))
                attempt = fence(request.epoch, request.step, activity.info().attempt)
                step = Step(request, agent, attempt, lease, record, queues=self._queues)
                try:
                    return await until_stopped(self._work(step))
                except asyncio.CancelledError:
                    if not interrupted():
                        raise
                    return await self._interrupted(step)

    async def _interrupted(self, step: Step) -> StepResult:
        """Keep what has come. The row stays open: whether the turn ends here is for the thread to say (`close_turn`)."""
        said = {"text": step.text, "reasoning": step.reasoning or None, "updated_at": self._clock()} | _shown(step)
        row = await self._store.amend(step.answer_id, step.attempt, said)
        if row is not None and row.status == "complete":  # it was just done
            return await self._done(step, row)
        return _result(step, "interrupted", step.text)

    async def _work(self, step: Step) -> StepResult:
        if result := await self._admit(step):
            return result
        if step.request.step == 0 and step.agent.route is not None:
            await self._routes.follow(step)
        return await self._answer(step)

    async def _admit(self, step: Step) -> StepResult | None:
        """Make the prompt's row this turn's. Returns a result only if the prompt id is an older prompt's."""
        request = step.request
        if request.step > 0:
            if step.record is not None and step.record.status == "waiting":  # what it waited for is there
                await self._store.end_turn(request.thread, step.newest_turn, {"status": "active"})
            if request.joined:  # the model may have stopped just before: then the turn goes on with this step
                changes = {"status": "pending", "from_step": request.step}
                await self._store.reopen(step.prompt_row_id, step.attempt, changes)
            return None
        if request.prompt is not None:
            new = prompt_row(request.thread, request.prompt, step.record, self._clock())
            await self._store.insert([new.model_copy(update=self._place_of(step) | {"attempt": step.attempt})])
        row = next(iter(await self._store.get([step.prompt_row_id])), None)
        if row is None:
            raise NotVisibleYetError(f"prompt {request.prompt_id} is not in the store yet")
        if request.prompt is not None and row.digest != request.prompt.digest():
            return StepResult(message_id=row.id, finish="conflict")
        if row.final:
            return None if row.turn == request.turn else StepResult(message_id=row.id, finish="duplicate")
        if (row.attempt, row.turn) != (step.attempt, request.turn):  # it waited, or an attempt before this one began
            row = held(await self._store.amend(row.id, step.attempt, self._place_of(step)), step.attempt)
        step.prompt = row
        await self._publish(
            step, "turn.started", prompt_id=request.prompt_id, text=row.text[:HEARD_CHARS], author=row.author
        )
        return None

    @staticmethod
    def _place_of(step: Step) -> dict[str, Any]:
        """What makes a prompt's row the turn's first."""
        return {"turn": step.request.turn, "seq": ids.first_seq(step.request.turn), "agent": step.request.agent}

    async def _answer(self, step: Step) -> StepResult:
        row = await self._claim(step)
        if not row.final:
            running = await self._running(step)
            await self._served.equip(step, running)
            self._consulting.equip(step)
            step.see(running, row.created_at, self._clock())
            row = await (self._stop(step) if await stops(step) else self._save(step, await self._ask(step)))
        if row.status == "failed":  # the turn was being closed as failed when its run was lost
            raise ModelRefusedError(row.error or "the step failed before")
        if row.status == "interrupted":  # likewise
            return _result(step, "interrupted", row.text)
        return await self._done(step, row)

    async def _done(self, step: Step, row: Message) -> StepResult:
        result = StepResult.model_validate(row.result)
        if not result.plan:
            await self._end_turn(step, result)
        return await self._gates.announce(step, result, row)

    async def _claim(self, step: Step) -> Message:
        """The answer's row, held by this attempt unless it is final. Raises: SupersededError if a later one holds it."""
        await self._store.insert([answer_row(step.request, step.answer_id, step.attempt, step.record, self._clock())])
        found = {row.id: row for row in await self._store.get([step.answer_id, step.prompt_row_id])}
        row, prompt = found.get(step.answer_id), found.get(step.prompt_row_id)
        if row is not None and not row.final and prompt is not None and prompt.status in ("interrupted", "failed"):
            # This attempt was given up, and the turn closed, before there was a row to close: nobody else will.
            ended = {"status": prompt.status, "error": prompt.error, "updated_at": self._clock()}
            row = await self._store.amend(row.id, step.attempt, ended)
        if row is not None and not row.final and row.attempt < step.attempt:
            row = await self._store.amend(row.id, step.attempt, {"text": "", "updated_at": self._clock()})
        row = held(row, step.attempt)
        step.joined = row.joined
        await self._join(step)
        return row

    async def _join(self, step: Step) -> None:
        """Make the prompts that came to this step part of its turn."""
        request = step.request
        for index, row_id in enumerate(step.joined):
            changes = joined_changes(request.turn, request.prompt_id, request.branch, request.step, index)
            row = await self._store.amend(row_id, step.attempt, changes | {"updated_at": self._clock()})
            if row is not None and row.attempt == step.attempt:
                text = row.text[:HEARD_CHARS]
                await self._publish(step, "prompt.joined", prompt_id=row.prompt_id, text=text, author=row.author)

    async def _ask(self, step: Step) -> Answer:
        """The model's answer. One that is not what it was to be is kept, for who wants to know, before it fails the turn."""
        await self._consulting.look_up(step)
        try:
            return await self._answering.ask(step, await self._past.of(step))
        except OutputInvalidError as error:
            if step.failed is not None:
                said = (
                    _said(step.failed)
                    | {"error_type": type(error).__name__, "updated_at": self._clock()}
                    | _shown(step)
                )
                await self._store.amend(step.answer_id, step.attempt, said)
            raise

    async def _running(self, step: Step) -> list[Message]:
        """The turn's own rows so far. Raises: NotVisibleYetError if one that an earlier step saved is missing."""
        if step.prompt is not None and step.request.step == 0:
            return [step.prompt]
        answers = await self._all([step.prompt_row_id, *map(step.answer_of, range(step.request.step))])
        planned = {row_id for answer in answers for row_id in step.results_of(answer)}
        planned |= {row_id for answer in answers for row_id in answer.joined} | set(step.joined)
        known = {answer.id for answer in answers}
        results = await self._all(sorted((planned | set(step.request.expect)) - known))
        said = await self._all([row_id for row in results for row_id in row.said])
        return sorted([*answers, *results, *said], key=lambda row: row.seq)

    async def _all(self, wanted: list[str]) -> list[Message]:
        rows = await self._store.get(wanted) if wanted else []
        if len(rows) < len(wanted):
            raise NotVisibleYetError(f"{len(wanted) - len(rows)} of {len(wanted)} messages of the turn do not show yet")
        return rows

    async def _save(self, step: Step, answer: Answer) -> Message:
        """Make the answer final, once. Returns the row that won, which may be another attempt's."""
        completion = answer.completion
        changes = _said(completion) | {
            "tool_calls": [call.model_dump() for call in completion.tool_calls[: ids.MAX_CALLS]]
        }
        changes |= step.served(completion.tool_calls) | _shown(step)
        if step.sources:
            changes["sources"] = [*step.sources, *completion.sources]
        if not step.searchable:
            changes["index"] = SKIPPED
        if answer.value is not None:
            changes |= {"object": answer.value.value, "error_type": None}  # of an attempt that was lost as it failed
        if answer.problem:
            changes["repair"] = {"error": answer.problem, "text": answer.first}
        return await self._complete(step, await _completed(step, completion), changes)

    async def _stop(self, step: Step) -> Message:
        """End the turn with what its last answer said. The row stands for the call that is not made, also on a retry."""
        last = last_answer(step)
        result = _result(step, STOPPED, last.text).model_copy(update={"message_id": last.id})
        return await self._complete(step, result, {})

    async def _complete(self, step: Step, result: StepResult, changes: dict[str, Any]) -> Message:
        step.lease.check()
        ended = {"status": "complete", "finish": result.finish, "updated_at": self._clock()}
        changes |= ended | {"result": result.model_dump(mode="json")}
        row = await self._store.amend(step.answer_id, step.attempt, changes)
        if row is None or not row.final:
            raise SupersededError("a later attempt of this step holds its row")
        if row.attempt == step.attempt:
            await self._tell_finished(step, row)
        return row

    async def _tell_finished(self, step: Step, row: Message) -> None:
        # One such line per message, whatever happens, is how crash tests count final transitions.
        log.info("message.finished", message_id=row.id, prompt_id=row.prompt_id, attempt=attempt_of(row.attempt))
        data = {"message_id": row.id, "step": row.step, "status": row.status, "finish": row.finish}
        await self._publish(step, "message.finished", **data)

    async def _end_turn(self, step: Step, result: StepResult) -> None:
        """Mark the prompt answered and the thread active; the same again on a retry."""
        request, now = step.request, self._clock()
        step.lease.check()
        self._backlog.forget(step)
        ended: dict[str, Any] = {"status": "answered", "answer": result.message_id, "updated_at": now}
        if step.agent.memory is not None and step.agent.memory.extract:
            ended |= {"learn": "due", "learn_at": now, "learn_tries": 0, "lesson": None}
        row = held(await self._store.amend(step.prompt_row_id, step.attempt, ended), step.attempt)
        asked = preview(row.text, 80)
        await self._store.end_turn(
            request.thread, request.turn, {"updated_at": now, "preview": asked, "status": "active"} | outgrown(step)
        )
        data: dict[str, Any] = {"prompt_id": request.prompt_id, "status": "answered", "message_id": result.message_id}
        await self._publish(step, "turn.finished", **data)

    async def _publish(self, step: Step, kind: Any, /, **data: Any) -> None:
        await self._events.publish(step.request.thread, kind, step.event(**data))


def _said(completion: Completion) -> dict[str, Any]:
    """What is kept of an answer, however it ended."""
    return {
        "text": completion.text,
        "model": completion.model or None,
        "usage": completion.usage.model_dump() if completion.usage else None,
        "raw": completion.raw,
        "reasoning": completion.reasoning or None,
        "sources": list(completion.sources) or None,
    }


def _shown(step: Step) -> dict[str, Any]:
    """The record of what the model was shown for the answer."""
    return {"context": step.context.stored()} if step.context is not None else {}


async def _completed(step: Step, completion: Completion) -> StepResult:
    """What the workflow is told of an answer: why it ended, and which calls are to be run."""
    calls = () if step.last else completion.tool_calls[: ids.MAX_CALLS]
    finish = "step_limit" if completion.tool_calls and not calls else completion.finish
    if step.ending is not None:
        finish = step.ending.finish
    plan = await with_gates(step, calls, step.plan(calls))
    terms = step.agent.approvals.terms if any(call.gate for call in plan) else None
    return _result(step, finish, completion.text, usage=completion.usage, plan=plan, terms=terms)


def _result(step: Step, finish: str, text: str, **fields: Any) -> StepResult:
    fields |= {"message_id": step.answer_id, "finish": finish, "preview": preview(text)}
    return StepResult(busy_mode=step.agent.busy_mode, agent=step.passed_to, **fields)
