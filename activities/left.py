"""What an erasure leaves, and says so: turns that have not ended, threads that live on."""

from __future__ import annotations

from collections.abc import Sequence

from activities.ports import Graves, Store
from activities.shredding import Shredder
from domain import ids
from domain.erasure import MAX_MESSAGES
from domain.messages import Message

MOST = 100  # sentences in a receipt


class Left:
    """Kept in the erasure's record."""

    def __init__(self, store: Store, graves: Graves, shredder: Shredder) -> None:
        self._store = store
        self._graves = graves
        self._shredder = shredder

    async def is_open(self, row: Message) -> bool:
        """Whether its turn has not ended. What a lost attempt wrote to a turn whose prompt is gone is nobody's."""
        first = ids.message_id(row.thread, row.joins or row.prompt_id, "prompt")
        prompts = await self._store.get([first])
        return any(not prompt.final for prompt in prompts) or (bool(prompts) and not row.final)

    async def any_open(self, rows: Sequence[Message]) -> bool:
        prompts = [row for row in rows if row.slot == "prompt"]
        return any(not row.final for row in prompts) or (bool(prompts) and any(not row.final for row in rows))

    async def note(self, erasure: str, sentence: str) -> None:
        noted = await self._shredder.settled(erasure)
        if sentence not in noted.left and len(noted.left) < MOST:
            await self._graves.note(noted.model_copy(update={"left": [*noted.left, sentence]}))

    async def note_thread(self, erasure: str, thread: str) -> None:
        noted = await self._shredder.settled(erasure)
        if thread not in noted.open_threads and len(noted.open_threads) < MAX_MESSAGES:
            await self._graves.note(noted.model_copy(update={"open_threads": [*noted.open_threads, thread]}))

    async def note_turns(self, erasure: str, turns: Sequence[tuple[str, int]]) -> None:
        """So that they are looked at again when their prompts are gone."""
        noted = await self._shredder.settled(erasure)
        known = list(dict.fromkeys([*noted.turns, *turns]))
        if known != noted.turns:
            await self._graves.note(noted.model_copy(update={"turns": known}))
