"""An answer as it comes: its pieces go out live and are saved about once a second."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import structlog

from activities.away import Away
from activities.failures import retry_delay
from activities.live import LiveAnswer
from activities.ports import ChatModel, EventLog, Store
from activities.responding import respond
from activities.step import Step
from domain.errors import ModelRefusedError, ModelUnavailableError, QuotaSpentError, SupersededError
from domain.model import Completion, ModelRequest, ReasoningDelta, TextDelta
from domain.steps import attempt_of

PARTIAL_EVERY_S = 1.0
MAX_CUT_OFF = 20  # attempts in which an answer had begun: each may have been paid for

log = structlog.get_logger()


class AnswerStream:
    """Model calls of steps, over the ports it is given."""

    def __init__(self, store: Store, events: EventLog, model: ChatModel, clock: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._model = model
        self._clock = clock
        self._away = Away()

    async def read(self, step: Step, call: ModelRequest) -> Completion:
        """The whole answer; cut, with what was said until then, if the turn's time is over.

        Raises: ModelUnavailableError, ModelRefusedError, SupersededError.
        """
        await self._begin(step)
        log.info("model.called", message_id=step.answer_id, messages=len(call.messages), agent=step.agent.name)
        limit = asyncio.timeout(step.call_timeout_s(self._clock()))
        try:
            async with limit:
                completion = await self._available(step, call)
                await self.restate(step, completion.text)
                return completion
        except TimeoutError:
            if not limit.expired():
                raise
            log.info("model.cut", message_id=step.answer_id, max_seconds=step.agent.max_seconds)
            return Completion(step.text, (), "time_limit", step.model or "", None, {}, step.reasoning)
        except ModelUnavailableError as error:
            self._give_up(step, error)
            await self._tell_retry(step, error)
            raise

    async def _available(self, step: Step, call: ModelRequest) -> Completion:
        """The answer of the first model that gives one; one that has begun is not asked of another.

        Raises: if none does, the error of the one that may be asked again first.
        """
        if not call.fallbacks:
            step.model = call.model
            return await self._pieces(step, call)
        errors: list[ModelUnavailableError | QuotaSpentError] = []
        for model in self._away.last([call.model, *call.fallbacks], self._clock()):
            step.model = model
            try:
                return await self._pieces(step, replace(call, model=model, fallbacks=()))
            except (ModelUnavailableError, QuotaSpentError) as error:
                self._away.note(model, error, self._clock())
                if step.begun:
                    raise
                log.warning("model.passed_over", message_id=step.answer_id, model=model, error=str(error))
                errors.append(error)
        raise min(
            errors, key=lambda error: retry_delay(error) if isinstance(error, ModelUnavailableError) else math.inf
        )

    async def restate(self, step: Step, text: str) -> None:
        """Tell live readers the text that the answer has in the end, if it is another than they heard."""
        if text != step.text:
            await self._begin(step)
            step.text = text
            async with LiveAnswer(self._events, step) as live:
                await live.add(TextDelta(text))

    async def _begin(self, step: Step) -> None:
        """From here on live readers hear the answer from its start."""
        step.text, step.reasoning, step.begun = "", "", False
        started = step.event(message_id=step.answer_id, step=step.request.step)
        await self._events.publish(step.request.thread, "message.started", started)

    async def _pieces(self, step: Step, call: ModelRequest) -> Completion:
        saved_at = time.monotonic()
        source = self._model.stream(call) if step.agent.respond is None else respond(step, call)
        async with aclosing(source) as pieces, LiveAnswer(self._events, step) as live:
            async for piece in pieces:
                step.lease.check()
                if isinstance(piece, Completion):
                    return piece
                step.begun = True
                step.text += piece.text if isinstance(piece, TextDelta) else ""
                step.reasoning += piece.text if isinstance(piece, ReasoningDelta) else ""
                await live.add(piece)
                if time.monotonic() - saved_at >= PARTIAL_EVERY_S:
                    await self._save_partial(step)
                    saved_at = time.monotonic()
        raise ModelUnavailableError("the model's stream ended without an end")

    async def _save_partial(self, step: Step) -> None:
        row = await self._store.amend(step.answer_id, step.attempt, {"text": step.text, "updated_at": self._clock()})
        if row is None or row.attempt != step.attempt:
            raise SupersededError("a later attempt of this step holds its row")

    def _give_up(self, step: Step, error: ModelUnavailableError) -> None:
        """Raises: ModelRefusedError if it is not to be tried again."""
        if step.begun and attempt_of(step.attempt) >= MAX_CUT_OFF:
            raise ModelRefusedError(f"The answer was cut off {MAX_CUT_OFF} times, the last time so: {error}") from error
        if step.given_up(self._clock()):
            limit = step.agent.max_seconds
            raise ModelRefusedError(
                f"The turn may take {limit:g} s (max_seconds) and took twice that: {error}"
            ) from error

    async def _tell_retry(self, step: Step, error: ModelUnavailableError) -> None:
        wait_s = round(retry_delay(error), 1)
        log.warning("model.unavailable", error=str(error), attempt=attempt_of(step.attempt), retry_in_s=wait_s)
        data = step.event(message_id=step.answer_id, error=str(error), retry_in_s=wait_s)
        await self._events.publish(step.request.thread, "model.retrying", data)
