"""Prompts that wait, on their way to the store: so that they are seen, cannot be lost, and need not be carried."""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.threads import ThreadActivities
    from domain.content import MAX_PROMPT_BYTES
    from domain.errors import InputRefusedError
    from domain.inbox import INLINE_INBOX_BYTES
    from domain.state import Waiting
    from domain.steps import Revision, SaveRequest, SaveResult
    from domain.thread import FRONT, ThreadState
    from domain.wire import json_size
    from domain.wishes import TurnReport
    from workflows import options

FIRST = 2 * FRONT  # the place of what was there before all that wait


@dataclass
class _Batch:
    """What goes to the store together: new prompts, what others say now, and what was withdrawn."""

    prompts: list[Waiting] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


class Inbox:
    """The waiting prompts of one run of a thread."""

    def __init__(self, thread: str, state: ThreadState) -> None:
        self._thread = thread
        self._state = state
        self._saving = False
        self._saved_some = False

    def small_enough(self) -> bool:
        """Whether what is left of it can be carried to the next run."""
        state = self._state
        return not self._saving and not state.withdrawn and state.inline_bytes() <= INLINE_INBOX_BYTES

    async def keep_saved(self) -> None:
        """Save what must be, for as long as the run lasts."""
        while True:
            await workflow.wait_condition(lambda: bool(self._state.unsaved() or self._state.withdrawn))
            self._saving = True
            await self._save_some(self._state.unsaved())
            self._saving = False

    async def save_all(self) -> None:
        """The run was cancelled: the store keeps what it took and did not answer, and the next run goes on with it."""
        state = self._state
        if running := state.running:
            first = Waiting(id=running.prompt_id, digest=running.digest, place=0, prompt=running.prompt)
            if running.prompt:
                state.inbox.insert(0, first)
            state.running = None
        state.inbox += state.steered
        state.steered = []
        while unsaved := [w for w in state.inbox if w.revision is not None or (w.prompt and not w.saved)]:
            await self._save_some(unsaved)
        if state.withdrawn:
            await self._save_some([])

    def refuse_conflict(self, prompt_id: str, text: str) -> None:
        """The store has another text under the id."""
        error = InputRefusedError(f"prompt id {prompt_id} was used before for another text; send it under a new id")
        self._state.refuse(str(workflow.uuid4()), error, text, prompt_id)
        self._state.forget(prompt_id)
        self._state.note_end(TurnReport(prompt_id=prompt_id, status="refused", error=str(error)))

    async def _save_some(self, unsaved: list[Waiting]) -> None:
        batch = _batch([*self._first(unsaved), *unsaved], self._state.withdrawn)
        result = await self._save(batch)
        waiting = {w.id: w for w in batch.prompts}
        for prompt_id in filter(self._state.waits, result.conflicts):
            self.refuse_conflict(prompt_id, waiting[prompt_id].preview)
        done = [w.id for w in batch.prompts]
        self._state.saved(done, [*result.duplicates, *result.conflicts])
        for revision in batch.revisions:
            self._state.revised(revision.prompt_id, revision.content)
        self._state.note_withdrawn(batch.withdrawn)

    def _first(self, unsaved: list[Waiting]) -> list[Waiting]:
        """The prompt that started at once, to be saved before the first of those that wait behind it.

        Its own step saves it too. But when the workflow task that opened the thread is lost, the thread opens again with
        what the store has by then: the others would come before it.
        """
        state, running = self._state, self._state.running
        if self._saved_some:
            return []
        self._saved_some = True
        if running is None:
            return [
                waiting
                for waiting in state.inbox[:1]
                if waiting.prompt and not waiting.saved and waiting not in unsaved
            ]
        if running.prompt is None:
            return []
        size = running.prompt.size()
        return [Waiting(id=running.prompt_id, digest=running.digest, place=FIRST, prompt=running.prompt, size=size)]

    async def _save(self, batch: _Batch) -> SaveResult:
        request = SaveRequest(
            thread=self._thread,
            prompts=[w.prompt for w in batch.prompts if w.prompt],
            places=[w.place for w in batch.prompts],
            revisions=batch.revisions,
            withdrawn=batch.withdrawn,
        )
        return await workflow.execute_local_activity_method(
            ThreadActivities.save_prompts, request, **options.short(f"{len(batch.prompts)} waiting")
        )


def _batch(unsaved: list[Waiting], withdrawn: list[Waiting]) -> _Batch:
    """The first of them that together fit into one activity input."""
    batch, size, out = _Batch(), 0, {waiting.id for waiting in withdrawn}
    for waiting in [*withdrawn, *unsaved]:
        size += waiting.size + (json_size(waiting.revision) if waiting.revision is not None else 0)
        if size > MAX_PROMPT_BYTES and (batch.prompts or batch.revisions or batch.withdrawn):
            break
        if waiting.prompt is not None and not waiting.saved:
            batch.prompts.append(waiting)
        if waiting.id in out:
            batch.withdrawn.append(waiting.id)
        elif waiting.revision is not None:
            batch.revisions.append(Revision(prompt_id=waiting.id, content=waiting.revision))
    return batch
