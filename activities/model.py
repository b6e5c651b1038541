"""`call_model`: one step of a turn. Saves the prompt, builds the context, calls the model, saves the answer.

A step whose answer is final returns it without calling the model again, so that a crash between saving and reporting
costs nothing. The rows it writes are its own only while no later attempt holds them (see activities.ports.Store.amend).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import structlog
from temporalio import activity

from activities.deltas import DeltaWriter
from activities.failures import retry_delay, translated
from activities.lease import Lease, interrupted, until_stopped
from activities.ports import Catalog, ChatModel, EventLog, Store
from activities.rows import answer_row, held, joined_changes, prompt_row
from domain import ids
from domain.agent import Agent
from domain.context import build_context, text_tokens
from domain.errors import (
    ContextTooLongError,
    ModelRefusedError,
    ModelUnavailableError,
    NotVisibleYetError,
    SupersededError,
)
from domain.messages import Message, ThreadRecord, ToolCall, preview
from domain.model import Completion, ModelRequest
from domain.steps import PlannedCall, StepRequest, StepResult, attempt_of, fence

PARTIAL_EVERY_S = 1.0
MAX_CUT_OFF = 20  # attempts in which an answer had begun: each may have been paid for
LEAST_BUDGET = 100  # tokens
HEARD_CHARS = 10_000  # of a prompt, by live readers; the store has it whole

log = structlog.get_logger()


@dataclass
class Step:
    """One attempt of one step: what is asked, who asks, and the right to write."""

    request: StepRequest
    agent: Agent
    attempt: int  # fence
    lease: Lease
    record: ThreadRecord | None  # of the thread
    prompt: Message | None = None  # once admitted, in the first step
    text: str = ""  # of the answer, as far as it has come
    joined: Sequence[str] = ()  # the rows of prompts that came to the turn with this step

    @cached_property
    def answer_id(self) -> str:
        return self.answer_of(self.request.step)

    @cached_property
    def prompt_row_id(self) -> str:
        return ids.message_id(self.request.thread, self.request.prompt_id, "prompt")  # of every branch

    def answer_of(self, step: int) -> str:
        request = self.request
        return ids.message_id(request.thread, request.prompt_id, "answer", branch=request.branch, step=step)

    def results_of(self, answer: Message) -> list[str]:
        """The ids of the results of the calls that an earlier step planned."""
        request, plan = self.request, (answer.result or {}).get("plan", [])
        place = {"branch": request.branch, "step": answer.step}
        return [ids.message_id(request.thread, request.prompt_id, f"tool:{i}", **place) for i in range(len(plan))]

    @property
    def last(self) -> bool:
        return self.request.step + 1 >= self.agent.max_steps


class ModelActivities:
    """Model calls over the ports it is given. `budget_tokens` bounds the context of a call."""

    def __init__(
        self,
        store: Store,
        events: EventLog,
        model: ChatModel,
        catalog: Catalog,
        *,
        budget_tokens: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._model = model
        self._catalog = catalog
        self._budget = budget_tokens
        self._clock = clock

    @activity.defn(name="call_model")
    async def call_model(self, request: StepRequest) -> StepResult:
        """One model call and its records. Returns the final answer of an earlier attempt if there is one."""
        with translated():
            agent = self._catalog.agent(request.agent)
            async with Lease.of_activity() as lease:
                record = await self._store.get_thread(request.thread)
                step = Step(request, agent, fence(request.epoch, request.step, activity.info().attempt), lease, record)
                try:
                    return await until_stopped(self._work(step))
                except asyncio.CancelledError:
                    if not interrupted():
                        raise
                    return await self._interrupted(step)

    async def _interrupted(self, step: Step) -> StepResult:
        """Keep what has come. The row stays open: whether the turn ends here is for the thread to say (`close_turn`)."""
        row = await self._store.amend(step.answer_id, step.attempt, {"text": step.text, "updated_at": self._clock()})
        if row is not None and row.status == "complete":  # it was just done
            return await self._done(step, row)
        return StepResult(message_id=step.answer_id, finish="interrupted", preview=preview(step.text))

    async def _work(self, step: Step) -> StepResult:
        return await self._admit(step) or await self._answer(step)

    async def _admit(self, step: Step) -> StepResult | None:
        """Make the prompt's row this turn's. Returns a result only if the prompt id is an older prompt's."""
        request = step.request
        if request.step > 0:
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
            row = await self._save(step, await self._ask(step))
        if row.status == "failed":  # the turn was being closed as failed when its run was lost
            raise ModelRefusedError(row.error or "the step failed before")
        if row.status == "interrupted":  # likewise
            return StepResult(message_id=row.id, finish="interrupted", preview=preview(row.text))
        return await self._done(step, row)

    async def _done(self, step: Step, row: Message) -> StepResult:
        result = StepResult.model_validate(row.result)
        if not result.plan:
            await self._end_turn(step, result)
        return result

    async def _claim(self, step: Step) -> Message:
        """The answer's row, held by this attempt unless it is final. Raises: SupersededError if a later one holds it."""
        await self._store.insert([answer_row(step.request, step.answer_id, step.attempt, step.record, self._clock())])
        row = next(iter(await self._store.get([step.answer_id])), None)
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

    async def _ask(self, step: Step) -> Completion:
        """The model's answer, with less of the conversation where all that should fit does not."""
        budget = self._budget
        while True:
            try:
                return await self._stream(step, await self._context(step, budget))
            except ContextTooLongError:
                if budget < LEAST_BUDGET:
                    raise
                budget //= 2
                log.warning("context.halved", message_id=step.answer_id, budget_tokens=budget)

    async def _context(self, step: Step, budget: int) -> ModelRequest:
        request, agent = step.request, step.agent
        first = ids.first_seq(request.turn)
        history = await self._store.history(request.thread, first, agent.recent_messages)
        running = await self._running(step)
        tools = [
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in agent.tools
        ]
        messages = build_context(agent.instructions, history, running, budget - text_tokens(json.dumps(tools)))
        choice = "none" if step.last else "auto"
        return ModelRequest(agent.model, messages, tools, choice, agent.options)

    async def _running(self, step: Step) -> list[Message]:
        """The turn's own rows so far. Raises: NotVisibleYetError if one that an earlier step saved is missing."""
        if step.prompt is not None and step.request.step == 0:
            return [step.prompt]
        answers = await self._all([step.prompt_row_id, *map(step.answer_of, range(step.request.step))])
        planned = {row_id for answer in answers for row_id in step.results_of(answer)}
        planned |= {row_id for answer in answers for row_id in answer.joined} | set(step.joined)
        known = {answer.id for answer in answers}
        results = await self._all(sorted((planned | set(step.request.expect)) - known))
        said = [row for row in [*answers, *results] if row.role != "assistant" or row.text or row.tool_calls]
        return sorted(said, key=lambda row: row.seq)

    async def _all(self, wanted: list[str]) -> list[Message]:
        rows = await self._store.get(wanted)
        if len(rows) < len(wanted):
            raise NotVisibleYetError(f"{len(wanted) - len(rows)} of {len(wanted)} messages of the turn do not show yet")
        return rows

    async def _stream(self, step: Step, call: ModelRequest) -> Completion:
        await self._publish(step, "message.started", message_id=step.answer_id, step=step.request.step)
        log.info("model.called", message_id=step.answer_id, messages=len(call.messages), agent=step.agent.name)
        step.text, saved_at = "", time.monotonic()
        try:
            async with aclosing(self._model.stream(call)) as pieces, self._deltas(step) as deltas:
                async for piece in pieces:
                    step.lease.check()
                    if isinstance(piece, Completion):
                        return piece
                    step.text += piece.text
                    await deltas.add(piece.text)
                    if time.monotonic() - saved_at >= PARTIAL_EVERY_S:
                        await self._save_partial(step)
                        saved_at = time.monotonic()
        except ModelUnavailableError as error:
            if step.text and attempt_of(step.attempt) >= MAX_CUT_OFF:
                raise ModelRefusedError(
                    f"The answer was cut off {MAX_CUT_OFF} times, the last time so: {error}"
                ) from error
            await self._tell_retry(step, error)
            raise
        raise ModelUnavailableError("the model's stream ended without an end")

    def _deltas(self, step: Step) -> DeltaWriter:
        thread, message = step.request.thread, {"message_id": step.answer_id, "attempt": step.attempt}

        async def publish(text: str) -> None:
            await self._events.publish(thread, "message.delta", message | {"text": text})

        return DeltaWriter(publish)

    async def _save_partial(self, step: Step) -> None:
        row = await self._store.amend(step.answer_id, step.attempt, {"text": step.text, "updated_at": self._clock()})
        if row is None or row.attempt != step.attempt:
            raise SupersededError("a later attempt of this step holds its row")

    async def _tell_retry(self, step: Step, error: ModelUnavailableError) -> None:
        wait_s = round(retry_delay(error), 1)
        log.warning("model.unavailable", error=str(error), attempt=attempt_of(step.attempt), retry_in_s=wait_s)
        await self._publish(step, "model.retrying", message_id=step.answer_id, error=str(error), retry_in_s=wait_s)

    async def _save(self, step: Step, completion: Completion) -> Message:
        """Make the answer final, once. Returns the row that won, which may be another attempt's."""
        step.lease.check()
        result = self._result(step, completion)
        row = await self._store.amend(
            step.answer_id,
            step.attempt,
            {
                "status": "complete",
                "text": completion.text,
                "tool_calls": [call.model_dump() for call in completion.tool_calls[: ids.MAX_CALLS]],
                "model": completion.model,
                "finish": completion.finish,
                "usage": completion.usage.model_dump() if completion.usage else None,
                "raw": completion.raw,
                "result": result.model_dump(mode="json"),
                "updated_at": self._clock(),
            },
        )
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

    def _result(self, step: Step, completion: Completion) -> StepResult:
        calls = () if step.last else completion.tool_calls[: ids.MAX_CALLS]
        return StepResult(
            message_id=step.answer_id,
            finish="step_limit" if completion.tool_calls and not calls else completion.finish,
            preview=preview(completion.text),
            usage=completion.usage,
            plan=[_plan(step.agent, call) for call in calls],
        )

    async def _end_turn(self, step: Step, result: StepResult) -> None:
        """Mark the prompt answered and the thread active; the same again on a retry."""
        request, now = step.request, self._clock()
        step.lease.check()
        ended = {"status": "answered", "answer": result.message_id, "updated_at": now}
        row = held(await self._store.amend(step.prompt_row_id, step.attempt, ended), step.attempt)
        asked = preview(row.text, 80)
        await self._store.end_turn(
            request.thread, request.turn, {"updated_at": now, "preview": asked, "status": "active"}
        )
        data: dict[str, Any] = {"prompt_id": request.prompt_id, "status": "answered", "message_id": result.message_id}
        await self._publish(step, "turn.finished", **data)

    async def _publish(self, step: Step, kind: Any, /, **data: Any) -> None:
        common = {"turn": step.request.turn, "attempt": step.attempt, "agent": step.request.agent}
        await self._events.publish(step.request.thread, kind, common | data)


def _plan(agent: Agent, call: ToolCall) -> PlannedCall:
    tool = agent.tool(call.name)
    if tool is None:  # run_tool tells the model so
        return PlannedCall(call_id=call.call_id, tool=preview(call.name, 64), effect="read")
    return PlannedCall(call_id=call.call_id, tool=tool.name, effect=tool.effect, timeout_s=tool.timeout_s)
