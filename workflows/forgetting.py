"""What a thread does when some of its turns are erased: it shows them no more, in its own state and in the store's copy."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.erasure import ForgetReceipt, read_forget
    from workflows.doors import refusals_told
    from workflows.inputs import one_value
    from workflows.operator import OperatedDoors


class ForgetfulDoors(OperatedDoors):
    """Of a thread whose turns may be erased."""

    @workflow.update(name="forget")
    async def forget(self, *inputs: Any) -> ForgetReceipt:
        """Forget turns, and leave the history that tells of them behind; its time at the server runs from then on."""
        with refusals_told():
            await self._updated()
            wanted = read_forget(one_value(inputs, "forget"))
            still_open = self._state.erase(wanted.prompt_ids, wanted.turns)
            self._show()
            await self._save_checkpoint()
            self._asked_to_roll = True
            return ForgetReceipt(open=still_open)

    async def _save_checkpoint(self) -> None:
        """Of the state as it is now."""
        raise NotImplementedError
