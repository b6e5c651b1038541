"""Messages and turns of threads that live on. What is left of them stays valid, and what showed the others shows them no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from temporalio import activity

from activities.left import Left
from activities.ports import EventLog, Graves, Runs, Store
from activities.shredding import Shredder
from domain import ids
from domain.delegation import PREFIX
from domain.erasure import EraseStep, EraseStepResult, ErasureRequest, Forget, Part
from domain.errors import InputRefusedError
from domain.messages import Message, preview

ROWS = 200
TURNS = 25  # at once: the thread continues as new for each lot


class Turns:
    """Over the ports it is given."""

    def __init__(
        self,
        store: Store,
        graves: Graves,
        runs: Runs,
        events: EventLog,
        shredder: Shredder,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._graves = graves
        self._runs = runs
        self._events = events
        self._shredder = shredder
        self._left = Left(store, graves, shredder)
        self._clock = clock

    async def erase(self, step: EraseStep, until: float) -> EraseStepResult:
        """Delete until then; from behind the thread that `after` names."""
        done = await self._erase(step, until)
        for thread in (await self._shredder.settled(step.id)).open_threads:  # in each sweep: one may just be being made
            await self._graves.drop_summary(thread)
            activity.heartbeat()
        return done

    async def _erase(self, step: EraseStep, until: float) -> EraseStepResult:
        request = step.request
        if request.messages is not None:
            await self._erase_messages(step, request.messages)
            return EraseStepResult()
        async for point_id, thread in self._threads(request, step.after):
            turns = await self._turns(request, thread)
            for start in range(0, len(turns), TURNS):
                await self._erase_turns(step, thread, turns[start : start + TURNS])
            if request.before is not None:
                await self._erase_without_turn(step, thread, request.before)
            if self._clock() > until and point_id is not None:
                return EraseStepResult(after=point_id)
        return EraseStepResult()

    async def count(self, step: EraseStep) -> int:
        """Messages that are still there, but for those of turns that have not ended, which the receipt names."""
        request, number = step.request, 0
        if request.messages is not None:
            rows = await self._graves.messages(Part(messages=request.messages), None, len(request.messages))
            number += len([row for row in rows if not await self._left.is_open(row)])
            turns = [*(await self._shredder.settled(step.id)).turns]
        else:
            threads = [thread async for _, thread in self._threads(request, None)]
            turns = [(thread, turn) for thread in threads for turn in await self._turns(request, thread)]
        for thread, turn in turns:
            rows = await self._all(Part(thread=thread, turn=turn))
            number += 0 if await self._left.any_open(rows) else len(rows)
        return number

    async def children(self, thread: str) -> AsyncIterator[str]:
        """The threads that were made for calls of a thread."""
        async for row in self._rows(Part(thread=thread)):
            if row.child is not None:
                yield row.child.thread

    # --- whole turns

    async def _erase_turns(self, step: EraseStep, thread: str, turns: Sequence[int]) -> None:
        """All tries of each, unless it has not ended."""
        gone: list[Message] = []
        for turn in turns:
            rows = await self._all(Part(thread=thread, turn=turn))
            if await self._left.any_open(rows):
                await self._left.note(step.id, f"turn {turn} of thread {thread} has not ended; interrupt it first")
            else:
                gone += rows
        prompt_ids = list(dict.fromkeys(row.prompt_id for row in gone))
        begun = set(await self._forget(step, thread, prompt_ids, turns) if prompt_ids else [])
        begun_turns = {row.turn for row in gone if row.prompt_id in begun}
        for turn in sorted(filter(None, begun_turns)):
            await self._left.note(step.id, f"turn {turn} of thread {thread} has begun again; interrupt it first")
        gone = [row for row in gone if row.turn not in begun_turns]
        for row in gone:
            await self._erase_asked(step, row)
        await self._shredder.shred_messages(step.id, [row.id for row in gone])
        await self._show_another(thread, [row for row in gone if row.role == "user"])

    async def _erase_asked(self, step: EraseStep, row: Message) -> None:
        """What another agent was asked by a call: on a thread of its own, or by a prompt on one that calls share."""
        if row.child is None:
            return
        if row.child.thread == PREFIX + row.id:
            await self._graves.bury(row.child.thread, step.id, self._clock())
            return
        for prompt in await self._store.get([ids.message_id(row.child.thread, row.id, "prompt")]):
            if prompt.turn is not None:
                await self._erase_turns(step, row.child.thread, [prompt.turn])

    # --- single messages

    async def _erase_messages(self, step: EraseStep, wanted: Sequence[str]) -> None:
        """A turn's prompt stands for its turn."""
        rows = await self._graves.messages(Part(messages=wanted), None, len(wanted))
        turns = [(row.thread, row.turn) for row in rows if _begins(row) and row.turn is not None]
        await self._left.note_turns(step.id, turns)
        for thread, turn in (await self._shredder.settled(step.id)).turns:
            await self._erase_turns(step, thread, [turn])
        for row in rows:
            activity.heartbeat()
            if not _begins(row) or row.turn is None:
                await self._erase_message(step, row)
        there = {row.id for row in await self._graves.messages(Part(messages=wanted), None, len(wanted))}
        # What other collections have of rows that are gone.
        await self._shredder.shred_messages(step.id, [row_id for row_id in wanted if row_id not in there])

    async def _erase_message(self, step: EraseStep, row: Message) -> None:
        turns = [row.turn] if row.turn is not None else []
        if await self._left.is_open(row) or await self._forget(step, row.thread, [row.prompt_id], turns):
            await self._left.note(step.id, f"message {row.id} is of a turn that has not ended; interrupt it first")
            return
        await self._erase_asked(step, row)
        await self._store.annotate(ids.message_id(row.thread, row.joins or row.prompt_id, "prompt"), {"erased": True})
        await self._shredder.shred_messages(step.id, [row.id])

    async def _erase_without_turn(self, step: EraseStep, thread: str, before: float) -> None:
        """Prompts that were withdrawn before they had a turn."""
        rows = await self._all(Part(thread=thread, before=before))
        await self._shredder.shred_messages(step.id, [row.id for row in rows if row.turn is None and row.final])

    # --- what shows them

    async def _forget(self, step: EraseStep, thread: str, prompt_ids: Sequence[str], turns: Sequence[int]) -> list[str]:
        """Make the thread itself forget them; the prompts of those that have not ended are returned."""
        await self._left.note_thread(step.id, thread)
        await self._events.forget(thread)
        try:
            return await self._runs.forget(thread, Forget(prompt_ids=list(prompt_ids), turns=list(turns)))
        except InputRefusedError:  # it cannot be opened any more
            await self._graves.drop_checkpoint(thread)
            return []

    async def _show_another(self, thread: str, erased: Sequence[Message]) -> None:
        """The list of threads shows the last prompt; it is the one before now."""
        record = await self._store.get_thread(thread)
        if record is None or record.preview not in {preview(row.text, 80) for row in erased}:
            return
        left = await self._store.recent_prompts(thread, 1)
        await self._graves.show(thread, record.preview, preview(left[0].text, 80) if left else "")

    # --- which

    async def _threads(self, request: ErasureRequest, after: str | None) -> AsyncIterator[tuple[str | None, str]]:
        """The threads that are looked through, each with where to go on behind it."""
        if request.thread is not None:
            yield None, request.thread
        elif (person := request.person) is not None:
            while threads := await self._graves.living(person, after, ROWS):
                for point_id, record in threads:
                    yield point_id, record.thread
                after = threads[-1][0]

    async def _turns(self, request: ErasureRequest, thread: str) -> list[int]:
        """Those of a thread that are to be erased; of those before a time, all of whose rows are older."""
        wanted, found = request.turns, set[int]()
        async for row in self._rows(Part(thread=thread, before=request.before)):
            if row.turn is not None and (wanted is None or wanted.first <= row.turn <= wanted.last):
                found.add(row.turn)
        if request.before is None:
            return sorted(found)
        return [turn for turn in sorted(found) if not await self._is_newer(thread, turn, request.before)]

    async def _is_newer(self, thread: str, turn: int, before: float) -> bool:
        return bool(await self._graves.messages(Part(thread=thread, turn=turn, since=before), None, 1))

    async def _all(self, part: Part) -> list[Message]:
        return [row async for row in self._rows(part)]

    async def _rows(self, part: Part) -> AsyncIterator[Message]:
        after: str | None = None
        while rows := await self._graves.messages(part, after, ROWS):
            activity.heartbeat()
            for row in rows:
                yield row
            after = rows[-1].id


def _begins(row: Message) -> bool:
    """Whether it is the prompt of a turn of its own."""
    return row.slot == "prompt" and row.joins is None and row.status != "refused"
