"""`deliver`: tells whoever a prompt names in `reply_to` how it ended, until it is taken or the time is over; `notify` tells
whoever an agent's approvals name of a call that waits.

It arrives at least once: a crash between the sending and its record sends it again, under the same id. Once it is
recorded as delivered it is never sent again. What became of it is in the prompt's row, field `delivery`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from pydantic import BaseModel
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import translated
from activities.ports import Store, Webhooks
from domain import ids
from domain.delivery import CallNotice, delivery_of, end_of
from domain.errors import DeliveryFailedError, DeliveryRefusedError, NotVisibleYetError
from domain.messages import Message, preview
from domain.prompts import ReplyTo
from domain.steps import DeliverRequest, DeliverResult, NotifyRequest

CALL_TIMEOUT_S = 10.0
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
SHORTEST_RETRY_S = 0.1

log = structlog.get_logger()


class DeliveryActivities:
    """Replies over the ports it is given, and signals over a Temporal client."""

    def __init__(
        self, store: Store, webhooks: Webhooks, temporal: Client, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._webhooks = webhooks
        self._temporal = temporal
        self._clock = clock

    @activity.defn(name="deliver")
    async def deliver(self, request: DeliverRequest) -> DeliverResult:
        """Send it once. Fails, saying when to come again, while it is not taken and its time is not over."""
        with translated():
            row_id = ids.message_id(request.thread, request.prompt_id, "prompt")
            row = next(iter(await self._store.get([row_id])), None)
            if row is None or row.reply_to is None:
                return DeliverResult(status="none")
            earlier = delivery_of(row)
            if earlier.get("status") in {"delivered", "undeliverable"}:
                return DeliverResult(status=earlier["status"])
            if not row.final:
                raise NotVisibleYetError(f"the end of prompt {request.prompt_id} does not show yet")
            return await self._try(row, ReplyTo.model_validate(row.reply_to), int(earlier.get("attempts", 0)) + 1)

    @activity.defn(name="notify")
    async def notify(self, request: NotifyRequest) -> DeliverResult:
        """Tell an address of a call that waits, until it is taken, its time is over, or the call waits no more."""
        with translated():
            row = next(iter(await self._store.get([request.message_id])), None)
            if row is None or row.waits is None or row.final:
                return DeliverResult(status="none")
            told = CallNotice(
                **request.model_dump(include={"thread", "prompt_id", "turn", "message_id", "why"}), call=request.call
            )
            message_id = ids.record_id("notice", request.message_id, request.why)
            try:
                await self._post(request.to, message_id, told)
            except DeliveryRefusedError as error:
                log.warning("notice.undeliverable", message_id=row.id, why=request.why, error=str(error))
                return DeliverResult(status="undeliverable")
            except DeliveryFailedError as error:
                raise _again(error, retry_in_s(error, message_id, activity.info().attempt)) from error
            log.info("notice.delivered", message_id=row.id, why=request.why)
            return DeliverResult(status="delivered")

    async def _try(self, row: Message, to: ReplyTo, attempt: int) -> DeliverResult:
        try:
            await self._send(row, to)
        except DeliveryRefusedError as error:
            return await self._give_up(row, attempt, str(error))
        except DeliveryFailedError as error:
            left_s = row.updated_at + to.within_s - self._clock()
            if left_s <= 0:
                return await self._give_up(row, attempt, str(error))
            await self._note(row, "trying", attempt, str(error))
            # The last try is at the end of its time, whenever that is.
            raise _again(error, min(retry_in_s(error, row.id, attempt), max(left_s, SHORTEST_RETRY_S))) from error
        await self._note(row, "delivered", attempt)
        return DeliverResult(status="delivered")

    async def _give_up(self, row: Message, attempt: int, error: str) -> DeliverResult:
        await self._note(row, "undeliverable", attempt, error)
        return DeliverResult(status="undeliverable")

    async def _note(self, row: Message, status: str, attempts: int, error: str | None = None) -> None:
        delivery = {"status": status, "attempts": attempts, "error": error, "at": self._clock()}
        if row.reopened_by is not None:
            delivery["reopened_by"] = row.reopened_by
        await self._store.annotate(row.id, {"delivery": delivery})
        note = log.warning if status == "undeliverable" else log.info
        note(f"reply.{status}", thread=row.thread, prompt_id=row.prompt_id, attempts=attempts, error=error)

    async def _send(self, row: Message, to: ReplyTo) -> None:
        await self._post(to, _message_id(row), end_of(row, await self._answer(row)))

    async def _post(self, to: ReplyTo, message_id: str, told: BaseModel) -> None:
        if to.workflow_id is not None:
            await self._signal(to.workflow_id, to.signal, told)
            return
        assert to.url is not None
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._webhooks.post(to.url, message_id, told.model_dump_json().encode())
        except TimeoutError:
            raise DeliveryFailedError(f"no answer within {CALL_TIMEOUT_S:g} s") from None

    async def _answer(self, row: Message) -> Message | None:
        """The last answer of its turn, which may be another prompt's."""
        first = row
        if row.joins is not None:
            [first] = await self._store.get([ids.message_id(row.thread, row.joins, "prompt")]) or [row]
            if not first.final:
                raise NotVisibleYetError(f"the turn that prompt {row.prompt_id} joined has not ended")
        if first.answer is None:
            return None
        for answer in await self._store.get([first.answer]):
            return answer
        raise NotVisibleYetError(f"the answer to prompt {row.prompt_id} does not show yet")

    async def _signal(self, workflow_id: str, signal: str, told: BaseModel) -> None:
        handle = self._temporal.get_workflow_handle(workflow_id)
        try:
            await handle.signal(signal, told, rpc_timeout=timedelta(seconds=CALL_TIMEOUT_S))
        except RPCError as error:
            what = f"workflow {preview(ascii(workflow_id), 80)}"
            if error.status == RPCStatusCode.INVALID_ARGUMENT:
                raise DeliveryRefusedError(f"{what} cannot be signalled: {error.message}") from error
            why = "does not run" if error.status == RPCStatusCode.NOT_FOUND else f"did not answer: {error.message}"
            raise DeliveryFailedError(f"{what} {why}") from error


def _message_id(row: Message) -> str:
    """By which a receiver knows what it has had: another end of the same prompt, opened again, is another message."""
    return row.id if row.reopened_by is None else ids.record_id("reply", row.id, row.reopened_by)


def retry_in_s(error: DeliveryFailedError, row_id: str, attempt: int) -> float:
    """Seconds until the next try: doubling up to a minute, and not before the receiver wants it."""
    jitter = random.Random(f"{row_id}/{attempt}").uniform(0.75, 1.25)  # noqa: S311
    delay = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempt - 1, 10)) * jitter
    return max(delay, (error.retry_after_s or 0.0) * max(1.0, jitter))


def _again(error: DeliveryFailedError, delay_s: float) -> ApplicationError:
    return ApplicationError(str(error), type=type(error).__name__, next_retry_delay=timedelta(seconds=delay_s))
