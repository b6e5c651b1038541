"""A person in an agent's place, on one run of a thread: the handlers, and how what is said becomes a turn."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.operating import OperatingActivities
    from domain.gates import waiting_calls
    from domain.operators import (
        OperatorReceipt,
        SayReceipt,
        addressed,
        hand_back,
        read_hand_back,
        read_say,
        read_take_over,
        say,
        take_over,
        was_said,
    )
    from domain.steps import OperatorRequest, SayRequest, SayResult
    from domain.thread import ThreadState
    from domain.wishes import Interrupt
    from workflows import options
    from workflows.doors import Doors, refusals_told
    from workflows.inputs import one_value


class OperatedDoors(Doors):
    """Of a thread that a person may take over."""

    def __init__(self) -> None:
        super().__init__()
        self._noting = asyncio.Lock()

    # --- signals

    @workflow.signal(name="take_over")
    async def take_over(self, *inputs: Any) -> None:
        """Let a person answer in the agent's place, {"by": "…"}."""
        self._signalled()
        with self._refusals_recorded(inputs):
            await self._take_over(inputs)

    @workflow.signal(name="say")
    async def say(self, *inputs: Any) -> None:
        """Say something as the person who has the thread, {"content": "…", "by": "…"}."""
        given_id = self._signalled()
        with self._refusals_recorded(inputs):
            await self._say(inputs, given_id)

    @workflow.signal(name="hand_back")
    async def hand_back(self, *inputs: Any) -> None:
        """Let the agent answer again, {"by": "…"}."""
        self._signalled()
        with self._refusals_recorded(inputs):
            await self._hand_back(inputs)

    # --- updates

    @workflow.update(name="take_over")
    async def take_over_now(self, *inputs: Any) -> OperatorReceipt:
        """Let a person answer in the agent's place, and say so once it is in the store."""
        with refusals_told():
            await self._updated()
            return await self._take_over(inputs)

    @workflow.update(name="say")
    async def say_now(self, *inputs: Any) -> SayReceipt:
        """Say something as the person who has the thread, and hear when it is in the store."""
        with refusals_told():
            return await self._say(inputs, await self._updated())

    @workflow.update(name="hand_back")
    async def hand_back_now(self, *inputs: Any) -> OperatorReceipt:
        """Let the agent answer again, and say so once it is in the store."""
        with refusals_told():
            await self._updated()
            return await self._hand_back(inputs)

    # --- what they do

    async def _save_checkpoint(self) -> None:
        raise NotImplementedError

    async def _take_over(self, inputs: tuple[Any, ...]) -> OperatorReceipt:
        wanted = read_take_over(one_value(inputs, "take_over"))
        await self._opened()
        before = self._state.operator
        receipt = take_over(self._state, wanted)
        if wanted.interrupt and self._state.running is not None:
            self._state.interrupt(Interrupt(reason=f"{wanted.by[:150]} took the thread over"))
            self._calls.stop()
        await self._note_operator(before, receipt)
        return receipt

    async def _hand_back(self, inputs: tuple[Any, ...]) -> OperatorReceipt:
        wanted = read_hand_back(one_value(inputs, "hand_back"))
        await self._opened()
        before = self._state.operator
        receipt = hand_back(self._state, wanted)
        await self._note_operator(before, receipt)
        return receipt

    async def _note_operator(self, before: str, receipt: OperatorReceipt) -> None:
        """One after another: what is kept last is how it is."""
        self._show()
        if receipt.disposition == "unchanged":
            return
        async with self._noting:
            request = OperatorRequest(thread=self._thread, operator=self._state.operator, before=before)
            await workflow.execute_local_activity_method(
                OperatingActivities.note_operator, request, **options.short("operator")
            )

    async def _say(self, inputs: tuple[Any, ...], given_id: str) -> SayReceipt:
        wanted = read_say(one_value(inputs, "say"))
        await self._opened()
        said = say(self._state, wanted, given_id)
        if said is None:
            return SayReceipt(prompt_id=wanted.prompt_id or wanted.id or given_id, disposition="duplicate")
        # A thread that continues as new carries it along. A turn whose calls wait for somebody may take weeks.
        await workflow.wait_condition(
            lambda: self._leaving or said not in self._state.said or any(waiting_calls(self._state.running))
        )
        there = said not in self._state.said
        if not there and not self._leaving:  # a roll keeps it, too
            await self._save_checkpoint()
        return SayReceipt(prompt_id=said.prompt_id or said.id, disposition="said" if there else "accepted")


async def say_next(thread: str, state: ThreadState) -> None:
    """Save the first of what was said, as the answer to its prompt or as a turn of its own."""
    said = state.said[0]
    # What it answers goes to the store first; it may be withdrawn meanwhile.
    await workflow.wait_condition(lambda: (found := addressed(state, said)) is None or found.in_store)
    waiting = addressed(state, said)
    turn = (waiting.turn if waiting else None) or state.next_turn
    request = SayRequest(
        thread=thread,
        epoch=state.epoch,
        id=said.id,
        by=said.by,
        content=said.content,
        turn=turn,
        prompt_id=waiting.id if waiting else None,
        branch=waiting.branch if waiting else 0,
        step=waiting.step if waiting else 0,
    )
    result: SayResult = await workflow.execute_local_activity_method(
        OperatingActivities.save_said, request, **options.short(f"{turn}: {said.by[:40]}")
    )
    was_said(state, said, waiting, turn, result.message_id)
