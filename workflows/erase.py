"""Erase: what is to be forgotten is deleted, deleted again when nobody can write any more, and looked for.

It ends whatever dies meanwhile: each part of the work may be cut off and done again. What a lost attempt of an activity
writes behind the first sweep, the second one deletes. No content passes through it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.erasing import ErasingActivities
    from domain.erasure import EraseInput, EraseStep, EraseStepResult, ErasureReceipt, ErasureRequest
    from domain.errors import InputRefusedError
    from domain.prompts import read_as
    from workflows import interface, options
    from workflows.inputs import one_value

LEAST_SWEEPS, MOST_SWEEPS = 2, 6
EXAMPLE = '{"request": {"thread": "support-42"}}'
Part = Callable[[ErasingActivities, EraseStep], Any]
SWEEP: tuple[Part, ...] = (
    ErasingActivities.bury_threads,
    ErasingActivities.erase_turns,
    ErasingActivities.bury_threads,  # what calls of those turns asked
    ErasingActivities.end_threads,
    ErasingActivities.erase_rows,
)


@workflow.defn(name=interface.ERASE)
class Erase:
    """See the module. Start input: domain.erasure.EraseInput; id: erase/<erasure id>."""

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        self._id = workflow.info().workflow_id.removeprefix(interface.erase_id(""))
        self._receipt = ErasureReceipt(id=self._id)

    @workflow.run
    async def run(self, *inputs: Any) -> ErasureReceipt:
        given = _read(inputs)
        self._receipt = await self._do(ErasingActivities.begin_erasure, given.request)
        sweeps, left = given.sweeps, 1
        while left and sweeps < MOST_SWEEPS:
            if sweeps:
                await workflow.sleep(timedelta(seconds=given.settle_s))
            await self._sweep(given.model_copy(update={"sweeps": sweeps}))
            sweeps += 1
            if sweeps >= LEAST_SWEEPS:
                left = (await self._step(ErasingActivities.verify_erasure, given.request)).left
        self._receipt = await self._do(ErasingActivities.end_erasure, given.request)
        return self._receipt

    @workflow.query(name="progress")
    def progress(self) -> ErasureReceipt:
        """The receipt as far as it is."""
        return self._receipt

    async def _sweep(self, given: EraseInput) -> None:
        for part in SWEEP:
            after: str | None = None
            while True:
                if workflow.info().is_continue_as_new_suggested():
                    workflow.continue_as_new(given)
                after = (await self._step(part, given.request, after)).after
                if after is None:
                    break

    async def _step(self, part: Part, request: ErasureRequest, after: str | None = None) -> EraseStepResult:
        result: EraseStepResult = await self._do(part, request, after)
        self._receipt = result.receipt or self._receipt
        return result

    async def _do(self, part: Part, request: ErasureRequest, after: str | None = None) -> Any:
        step = EraseStep(id=self._id, request=request, after=after)
        return await workflow.execute_activity_method(part, step, **options.erase())


def _read(inputs: tuple[Any, ...]) -> EraseInput:
    """Raises: ApplicationError if it is none."""
    try:
        return read_as(EraseInput, one_value(inputs, interface.ERASE), "the start input", EXAMPLE)
    except InputRefusedError as error:
        raise ApplicationError(str(error), type="InvalidStart", non_retryable=True) from None
