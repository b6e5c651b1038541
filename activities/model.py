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

from activities.calling import model_request
from activities.failures import translated
from activities.lease import Lease, interrupted, until_stopped
from activities.ports import Catalog, ChatModel, EventLog, Store, ToolServers
from activities.rows import answer_row, held, joined_changes, prompt_row
from activities.servers import NoServers, ServedTools
from activities.step import Step
from activities.streaming import AnswerStream
from domain import ids
from domain.context import without_images
from domain.errors import (
    ContextTooLongError,
    ImagesRefusedError,
    ModelRefusedError,
    NotVisibleYetError,
    SupersededError,
)
from domain.messages import Message, preview
from domain.model import Completion
from domain.steps import StepRequest, StepResult, attempt_of, fence

LEAST_BUDGET = 100  # tokens
HEARD_CHARS = 10_000  # of a prompt, by live readers; the store has it whole

log = structlog.get_logger()


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
        servers: ToolServers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._answers = AnswerStream(store, events, model, clock)
        self._catalog = catalog
        self._served = ServedTools(store, events, servers or NoServers())
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
        return _result(step, "interrupted", step.text)

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
            running = await self._running(step)
            await self._served.equip(step, running)
            step.see(running, row.created_at, self._clock())
            row = await self._save(step, await self._ask(step))
        if row.status == "failed":  # the turn was being closed as failed when its run was lost
            raise ModelRefusedError(row.error or "the step failed before")
        if row.status == "interrupted":  # likewise
            return _result(step, "interrupted", row.text)
        return await self._done(step, row)

    async def _done(self, step: Step, row: Message) -> StepResult:
        result = StepResult.model_validate(row.result)
        if not result.plan:
            await self._end_turn(step, result)
        return result

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

    async def _ask(self, step: Step) -> Completion:
        """The model's answer, with less of the conversation where it cannot take what it should."""
        history, budget = await self._history(step), self._budget
        while True:
            try:
                return await self._answers.read(step, await model_request(step, history, budget))
            except ImagesRefusedError:
                if (seen := without_images(history)) == history:  # it is this turn's own
                    raise
                history = seen
                log.warning("context.without_images", message_id=step.answer_id)
            except ContextTooLongError:
                if budget < LEAST_BUDGET:
                    raise
                budget //= 2
                log.warning("context.halved", message_id=step.answer_id, budget_tokens=budget)

    async def _history(self, step: Step) -> list[Message]:
        count = step.agent.recent_messages
        return await self._store.history(step.request.thread, ids.first_seq(step.request.turn), count) if count else []

    async def _running(self, step: Step) -> list[Message]:
        """The turn's own rows so far. Raises: NotVisibleYetError if one that an earlier step saved is missing."""
        if step.prompt is not None and step.request.step == 0:
            return [step.prompt]
        answers = await self._all([step.prompt_row_id, *map(step.answer_of, range(step.request.step))])
        planned = {row_id for answer in answers for row_id in step.results_of(answer)}
        planned |= {row_id for answer in answers for row_id in answer.joined} | set(step.joined)
        known = {answer.id for answer in answers}
        results = await self._all(sorted((planned | set(step.request.expect)) - known))
        return sorted([*answers, *results], key=lambda row: row.seq)

    async def _all(self, wanted: list[str]) -> list[Message]:
        rows = await self._store.get(wanted)
        if len(rows) < len(wanted):
            raise NotVisibleYetError(f"{len(wanted) - len(rows)} of {len(wanted)} messages of the turn do not show yet")
        return rows

    async def _save(self, step: Step, completion: Completion) -> Message:
        """Make the answer final, once. Returns the row that won, which may be another attempt's."""
        step.lease.check()
        result = _completed(step, completion)
        row = await self._store.amend(
            step.answer_id,
            step.attempt,
            {
                "status": "complete",
                "text": completion.text,
                "tool_calls": [call.model_dump() for call in completion.tool_calls[: ids.MAX_CALLS]],
                "model": completion.model or None,
                "finish": result.finish,
                "usage": completion.usage.model_dump() if completion.usage else None,
                "raw": completion.raw,
                "result": result.model_dump(mode="json"),
                "updated_at": self._clock(),
            }
            | step.served(completion.tool_calls),
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
        await self._events.publish(step.request.thread, kind, step.event(**data))


def _completed(step: Step, completion: Completion) -> StepResult:
    """What the workflow is told of an answer: why it ended, and which calls are to be run."""
    calls = () if step.last else completion.tool_calls[: ids.MAX_CALLS]
    finish = "step_limit" if completion.tool_calls and not calls else completion.finish
    if step.ending is not None:
        finish = step.ending.finish
    return _result(step, finish, completion.text, usage=completion.usage, plan=step.plan(calls))


def _result(step: Step, finish: str, text: str, **fields: Any) -> StepResult:
    busy_mode = step.agent.busy_mode
    return StepResult(message_id=step.answer_id, finish=finish, preview=preview(text), busy_mode=busy_mode, **fields)
