"""Prompts that wait, on their way to the store: so that they are seen, cannot be lost, and need not be carried."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.threads import ThreadActivities
    from domain.content import MAX_PROMPT_BYTES
    from domain.errors import InputRefusedError
    from domain.prompts import TurnReport
    from domain.state import Waiting
    from domain.steps import SaveRequest, SaveResult
    from domain.thread import INLINE_INBOX_BYTES, ThreadState
    from workflows import options


class Inbox:
    """The waiting prompts of one run of a thread."""

    def __init__(self, thread: str, state: ThreadState) -> None:
        self._thread = thread
        self._state = state
        self._saving = False

    def small_enough(self) -> bool:
        """Whether what is left of it can be carried to the next run."""
        return not self._saving and self._state.inline_bytes() <= INLINE_INBOX_BYTES

    async def keep_saved(self) -> None:
        """Save what must be, for as long as the run lasts."""
        while True:
            await workflow.wait_condition(lambda: bool(self._state.unsaved()))
            batch = _batch(self._state.unsaved())
            self._saving = True
            result = await self._save(batch)
            self._saving = False
            waiting = {w.id: w for w in self._state.inbox}
            for prompt_id in result.conflicts:
                if prompt_id in waiting:
                    self.refuse_conflict(prompt_id, waiting[prompt_id].preview)
            self._state.saved([w.id for w in batch], [*result.duplicates, *result.conflicts])

    async def save_all(self) -> None:
        """The run was cancelled: the store keeps what it took and did not answer, and the next run goes on with it."""
        if running := self._state.running:
            self._state.inbox.insert(
                0, Waiting(id=running.prompt_id, digest=running.digest, place=0, prompt=running.prompt)
            )
            self._state.running = None
        while unsaved := [waiting for waiting in self._state.inbox if waiting.prompt and not waiting.saved]:
            batch = _batch(unsaved)
            await self._save(batch)
            self._state.saved([waiting.id for waiting in batch], [])

    def refuse_conflict(self, prompt_id: str, text: str) -> None:
        """The store has another text under the id."""
        error = InputRefusedError(f"prompt id {prompt_id} was used before for another text; send it under a new id")
        self._state.refuse(str(workflow.uuid4()), error, text, prompt_id)
        self._state.forget(prompt_id)
        self._state.note_end(TurnReport(prompt_id=prompt_id, status="refused", error=str(error)))

    async def _save(self, batch: list[Waiting]) -> SaveResult:
        request = SaveRequest(
            thread=self._thread, prompts=[w.prompt for w in batch if w.prompt], places=[w.place for w in batch]
        )
        return await workflow.execute_local_activity_method(
            ThreadActivities.save_prompts, request, **options.short(f"{len(batch)} waiting")
        )


def _batch(unsaved: list[Waiting]) -> list[Waiting]:
    """The first of them that together fit into one activity input."""
    batch: list[Waiting] = []
    size = 0
    for waiting in unsaved:
        size += waiting.size
        if batch and size > MAX_PROMPT_BYTES:
            break
        batch.append(waiting)
    return batch
