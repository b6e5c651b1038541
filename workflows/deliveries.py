"""Telling others how their prompts ended, beside the turns."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.delivery import DeliveryActivities
    from domain.messages import preview
    from domain.steps import DeliverRequest
    from domain.thread import ThreadState
    from workflows import options

SUMMARY_CHARS = 40


class Deliveries:
    """The replies that one run of a thread sends.

    All at once, so that one that nobody takes holds up no other; there are domain.thread.MAX_DELIVERIES at most.
    The record is the state's list of prompts, and in the store what became of each. A run that continues as new leaves
    its activities behind; the next one begins them anew, and what was delivered is not sent again.
    """

    def __init__(self, thread: str, state: ThreadState) -> None:
        self._thread = thread
        self._state = state
        self._sending: dict[str, asyncio.Task[None]] = {}

    async def keep_sending(self) -> None:
        """For as long as the run lasts."""
        while True:
            await workflow.wait_condition(lambda: bool(self._unsent()))
            for prompt_id in self._unsent():
                self._sending[prompt_id] = asyncio.create_task(self._send(prompt_id))

    def _unsent(self) -> list[str]:
        """Each once: what is owed twice, since its turn ended again meanwhile, is sent again after the first."""
        owed = dict.fromkeys(self._state.deliveries)
        return [prompt_id for prompt_id in owed if prompt_id not in self._sending]

    async def _send(self, prompt_id: str) -> None:
        request = DeliverRequest(thread=self._thread, prompt_id=prompt_id)
        try:
            await workflow.execute_activity_method(
                DeliveryActivities.deliver, request, **options.deliver(f"reply: {preview(prompt_id, SUMMARY_CHARS)}")
            )
        except ActivityError as error:  # it is in the store that it was tried
            workflow.logger.warning("reply.lost %s: %s", prompt_id, error.cause)
        self._state.deliveries.remove(prompt_id)
        del self._sending[prompt_id]
