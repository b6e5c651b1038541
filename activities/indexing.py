"""The chore that keeps the index of messages: whatever has ended gets its vectors, some seconds after its turn.

What is due is told by the rows themselves. A row is marked only after its vectors are written, so that one whose worker is
killed between is done again, to the same effect. A message is found by words at once, also while the embedding model does
not answer; then it stays due.

Another model than that of the vectors there are: new messages get both, the old ones those of the new one, by id, and the
state says how far that is. What is searched is switched when all have them, and then the old vectors are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from activities.ports import Embedder, Lexicon, MessageIndex
from activities.recalling import Embedders
from domain.errors import ModelRefusedError, ModelUnavailableError
from domain.indexing import ROLES, indexed_text
from domain.messages import Message
from domain.pieces import in_pieces
from domain.recall import Indexed, IndexState
from domain.vectors import WORDS, Dense, Sparse

BATCH = 64
FILL_BATCH = 256

log = structlog.get_logger()


class Indexing:
    """activities.keeping.Chore. `embedder` is that of the settings, None: words alone; `embedders` know it too."""

    name = "indexing"

    def __init__(self, index: MessageIndex, lexicon: Lexicon, embedder: Embedder | None, embedders: Embedders) -> None:
        self._index = index
        self._lexicon = lexicon
        self._embedder = embedder
        self._embedders = embedders
        self._begun = False

    async def due(self) -> int:
        return await self._index.count_due()

    async def work(self) -> int:
        state = await self._prepare()
        if rows := await self._index.due(BATCH):
            await self._index_rows(rows, state)
            return len(rows)
        return await self._fill(state) if state.filling else 0

    async def _prepare(self) -> IndexState:
        """The state, with the settings' model as the active one or the one that is being filled."""
        if not self._begun:
            await self._index.mark_old()
            self._begun = True
        state = await self._index.state() or IndexState()
        wanted = self._embedder
        if wanted is not None and wanted.name not in (state.active, state.filling):
            await self._index.add_model(wanted.name, wanted.dimensions)
            if state.active is None and not await self._index.count_done():
                state = state.model_copy(update={"active": wanted.name})
            else:
                state = state.model_copy(update={"filling": wanted.name, "after": None, "filled": 0})
                log.info("index.filling", model=wanted.name, before=state.active)
            await self._index.save_state(state)
        elif wanted is not None and wanted.name == state.active and state.filling:  # the setting was taken back
            dropped, state = state.filling, state.model_copy(update={"filling": None, "after": None, "filled": 0})
            await self._index.save_state(state)
            await self._index.drop_model(dropped)
        return state

    async def _index_rows(self, rows: Sequence[Message], state: IndexState) -> None:
        texts = [indexed_text(row) if row.role in ROLES else "" for row in rows]
        entries = [self._entry(row, text) for row, text in zip(rows, texts, strict=True)]
        try:
            embedded, tokens = await self._embed_all(texts, state)
        except ModelUnavailableError:
            await self._index.place(entries)  # found by words at once
            raise
        entries = [
            entry.model_copy(update={"vectors": dict(entry.vectors) | dense})
            for entry, dense in zip(entries, embedded, strict=True)
        ]
        await self._index.put(await self._placed(rows, entries))
        if tokens:
            state = state.model_copy(update={"tokens": state.tokens + tokens})
            await self._index.save_state(state)
        log.debug("index.kept_up", messages=len(rows), tokens=tokens)

    def _entry(self, row: Message, text: str) -> Indexed:
        vectors: dict[str, Dense | Sparse] = {WORDS: self._lexicon.document(text)} if text else {}
        return Indexed(id=row.id, attempt=row.attempt, vectors=vectors)

    async def _placed(self, rows: Sequence[Message], entries: Sequence[Indexed]) -> list[Indexed]:
        """With the place of each in its thread: one behind the last that is in the index, or was placed just now."""
        placed: dict[str, Indexed] = {}
        last: dict[str, tuple[int, int]] = {}
        for row, entry in sorted(zip(rows, entries, strict=True), key=lambda pair: (pair[0].thread, pair[0].seq)):
            stored = await self._index.last_place(row.thread, row.seq)
            before = -1 if stored is None else stored
            if row.thread in last and last[row.thread][0] < row.seq:
                before = max(before, last[row.thread][1])
            last[row.thread] = (row.seq, before + 1)
            placed[row.id] = entry.model_copy(update={"place": before + 1})
        return list(placed.values())

    async def _embed_all(self, texts: Sequence[str], state: IndexState) -> tuple[list[dict[str, Dense]], int]:
        """The dense vectors of each row by model, and the tokens that it took."""
        found: list[dict[str, Dense]] = [{} for _ in texts]
        total = 0
        for name in filter(None, (state.active, state.filling)):
            embedder = self._embedders(name)
            if embedder is None:  # an old model that cannot be had: what is new has the new vectors
                continue
            vectors, tokens = await self._embed(embedder, texts)
            total += tokens
            for row, dense in zip(found, vectors, strict=True):
                if dense:
                    row[name] = dense
        return found, total

    async def _embed(self, embedder: Embedder, texts: Sequence[str]) -> tuple[list[Dense], int]:
        """The vectors of the pieces of each text; of one that the model refuses, none."""
        try:
            return await _embed_pieces(embedder, texts)
        except ModelRefusedError as error:
            if len(texts) == 1:
                log.warning("index.refused", model=embedder.name, error=str(error))
                return [[]], 0
        alone = [await self._embed(embedder, [text]) for text in texts]
        return [dense for [dense], _ in alone], sum(tokens for _, tokens in alone)

    async def _fill(self, state: IndexState) -> int:
        """Make some vectors of the model that is to be searched; switch when all messages have them."""
        assert state.filling is not None
        rows = await self._index.walk(state.after, FILL_BATCH)
        if not rows:
            await self._switch(state)
            return 1
        embedder = self._embedders(state.filling)
        if embedder is None:
            return 0
        vectors, tokens = await self._embed(embedder, [indexed_text(row) for row in rows])
        pairs = zip(rows, vectors, strict=True)
        name = state.filling
        await self._index.place([_only(row, name, dense) for row, dense in pairs if dense])
        going_on = {"after": rows[-1].id, "filled": state.filled + len(rows), "tokens": state.tokens + tokens}
        await self._index.save_state(state.model_copy(update=going_on))
        log.info("index.filled", model=name, messages=going_on["filled"], of=await self._index.count_done())
        return len(rows)

    async def _switch(self, state: IndexState) -> None:
        log.info("index.switched", model=state.filling, before=state.active)
        switched = {"active": state.filling, "filling": None, "after": None, "filled": 0}
        await self._index.save_state(state.model_copy(update=switched))
        if state.active is not None:
            await self._index.drop_model(state.active)


def _only(row: Message, name: str, dense: Dense) -> Indexed:
    return Indexed(id=row.id, attempt=row.attempt, vectors={name: dense})


async def _embed_pieces(embedder: Embedder, texts: Sequence[str]) -> tuple[list[Dense], int]:
    parts = in_pieces(texts, embedder.longest)
    embedded = await embedder.embed(parts.flat) if parts.flat else None
    vectors = parts.gather(embedded.vectors if embedded else [])
    return [list(found) for found in vectors], embedded.tokens if embedded else 0
