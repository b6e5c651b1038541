"""Rows deleted page by page from all collections, and the blobs that no other row names."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from temporalio import activity

from activities.ports import Blobs, Eraser, Graves
from domain.erasure import Erasing, Part
from domain.errors import UnavailableError

ROWS = 200  # a page
UNUSED_S = 5.0  # whoever has just put a blob is about to name it in a row


class Shredder:
    """Deletes and counts; see activities.erasing."""

    def __init__(self, graves: Graves, blobs: Blobs | None) -> None:
        self._graves = graves
        self._blobs = blobs

    async def shred(self, erasure: str, part: Part) -> None:
        """Delete all of a part, from every collection that knows it by its fields."""
        for eraser in self._graves.erasers:
            while page := await eraser.page(part, ROWS):
                await self._delete(erasure, eraser, page)
                activity.heartbeat()

    async def shred_messages(self, erasure: str, row_ids: Sequence[str]) -> None:
        """Delete these messages, and what other collections have of them."""
        for start in range(0, len(row_ids), ROWS):
            await self.shred(erasure, Part(messages=list(row_ids[start : start + ROWS])))

    async def _delete(self, erasure: str, eraser: Eraser, page: list[str]) -> None:
        refs = await self._graves.refs_of(eraser.name, page) if self._blobs is not None else []
        noted = await self.settled(erasure)
        erased = Counter(noted.erased) + Counter({eraser.name: len(page)})
        await self._graves.note(noted.model_copy(update={"erased": dict(erased), "of": eraser.name, "page": page}))
        for ref in refs:  # before the rows: without them nothing would lead to it
            await self._delete_blob(ref, page)
        await eraser.delete(page)

    async def settled(self, erasure: str) -> Erasing:
        """The record, without what was to be deleted when its worker was lost, and was not."""
        noted = await self._graves.noted(erasure) or Erasing(id=erasure)
        if not noted.page:
            return noted
        eraser = next(eraser for eraser in self._graves.erasers if eraser.name == noted.of)
        still = await eraser.there(noted.page)
        erased = Counter(noted.erased)
        erased[noted.of] -= still
        return noted.model_copy(update={"erased": dict(+erased), "of": "", "page": []})

    async def _delete_blob(self, ref: str, page: Sequence[str]) -> None:
        """Unless another row names it. Raises: UnavailableError if it is put again and again."""
        assert self._blobs is not None
        for _ in range(5):
            if await self._graves.users_of(ref, page) or await self._blobs.delete(ref, UNUSED_S):
                return
            activity.heartbeat()
            await asyncio.sleep(UNUSED_S / 2)
        raise UnavailableError(f"blob {ref} is in use")
