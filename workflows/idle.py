"""What happens to a thread that nobody talks to: it rolls, so that no old code has to be replayed for it, or it ends."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.thread import IDLE_ROLL_EVENTS, ThreadState


class Idle:
    """One timer at most, armed only when something is due, and not moved by work: when it fires early, it is armed again
    for the rest. So a busy thread pays two events now and then, and most threads none.
    """

    def __init__(self, state: ThreadState) -> None:
        self._state = state
        self.rolls = False
        self.ends = False

    def touch(self) -> None:
        """There was work."""
        self._state.active_at = workflow.time()
        self.rolls = self.ends = False

    async def watch(self) -> None:
        """For as long as the run lasts."""
        while True:
            await workflow.wait_condition(lambda: bool(self._due()) and not (self.rolls or self.ends))
            at, what = min(self._due())
            if (wait_s := at - workflow.time()) > 0:
                await workflow.sleep(wait_s)
            elif self._state.busy or self._state.deliveries:
                await workflow.wait_condition(lambda: not (self._state.busy or self._state.deliveries))
            else:
                self.rolls, self.ends = what == "roll", what == "end"

    def _due(self) -> list[tuple[float, str]]:
        """When what happens if there is no more work until then."""
        state, due = self._state, []
        if state.idle_roll_s is not None and workflow.info().get_current_history_length() > IDLE_ROLL_EVENTS:
            due.append((state.active_at + state.idle_roll_s, "roll"))
        if state.idle_timeout_s is not None:
            due.append((state.active_at + state.idle_timeout_s, "end"))
        if state.expires_at is not None:
            due.append((state.expires_at, "end"))
        return due
