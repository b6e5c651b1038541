"""The embedded store at size: N messages (100,000) of 1,000 owners. How fast they are loaded with their vectors given, how
fast an owner's are recalled while 100 messages a second are written and indexed and 50 answers stream, how late the event
loop is meanwhile, what memory it takes, and how long it takes to open.

Each recall is the product's own: the query embedded, two searches, neighbours, ranking, the rows of the hits.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from activities.indexing import Indexing
from activities.recalling import Recaller
from adapters import qdrant_points as points
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_index import QdrantIndex
from adapters.static_embed import StaticEmbedder
from adapters.streams_memory import MemoryEvents
from bench.ground import figure, samples, say
from domain import ids
from domain.indexing import indexed_text
from domain.messages import Message
from domain.recall import Indexed, IndexState, RecallQuery, Scope
from domain.vectors import WORDS
from runtime import logs

OWNERS, WORDS_A_MESSAGE, VOCABULARY = 1_000, 25, 20_000
BATCH = 500
WRITES_PER_S, STREAMS, DELTAS_PER_S = 100, 50, 20
RECALLS_PER_S = 10.0
LOOK_S = 0.005  # between two looks at how late the loop is
SEED = 7


class Talk:
    """Messages of made-up words, some of which are frequent, as in a language."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(self._random.choices(letters, k=self._random.randint(3, 9))) for _ in range(VOCABULARY)]
        self._weights = [1 / (rank + 10) for rank in range(VOCABULARY)]

    def text(self, words: int = WORDS_A_MESSAGE) -> str:
        return " ".join(self._random.choices(self._words, weights=self._weights, k=words))

    def owner(self) -> str:
        return f"owner-{self._random.randrange(OWNERS)}"


def message(talk: Talk, number: int, owner: str) -> Message:
    """The `number`-th of its thread."""
    thread = f"{owner}-thread"
    return Message(
        id=ids.message_id(thread, f"p{number}", "prompt"),
        thread=thread,
        prompt_id=f"p{number}",
        slot="prompt",
        role="user",
        owner=owner,
        turn=number,
        seq=ids.first_seq(number),
        status="answered",
        text=talk.text(),
        author="Ada",
        index="due",
        created_at=1_700_000_000.0 + number,
        updated_at=1_700_000_000.0 + number,
    )


async def main() -> None:
    wanted, seconds = samples(100_000), float(os.environ.get("SECONDS") or 30)
    logs.setup("WARNING")
    talk, embedder, lexicon = Talk(), StaticEmbedder.load(), WordLexicon()
    with tempfile.TemporaryDirectory() as folder:
        before = psutil.Process().memory_info().rss
        store = EdgeStore(Path(folder))
        await _load(store, talk, embedder, lexicon, wanted)
        rss = (psutil.Process().memory_info().rss - before) / 1e6
        store.close()
        began = time.perf_counter()
        store = EdgeStore(Path(folder))
        opened = time.perf_counter() - began
        try:
            await _under_load(store, talk, embedder, lexicon, wanted // OWNERS, seconds)
        finally:
            store.close()
    figure("store.open", opened, "s")
    figure("store.rss", rss, "MB")


async def _load(store: EdgeStore, talk: Talk, embedder: StaticEmbedder, lexicon: WordLexicon, wanted: int) -> None:
    index = _index(store)
    await index.add_model(embedder.name, embedder.dimensions)
    await index.save_state(IndexState(active=embedder.name))
    spent = 0.0
    for rows in _batches(talk, wanted):
        made = await _made(rows, embedder, lexicon)  # given, so it does not count
        began = time.perf_counter()
        await index.load(rows, made)
        spent += time.perf_counter() - began
    say(
        f"{wanted:,} messages of {OWNERS:,} owners, {WORDS_A_MESSAGE} words each, dense of {embedder.dimensions} and BM25"
    )
    figure("store.load_rate", wanted / spent, "messages/s")


def _batches(talk: Talk, wanted: int) -> Iterator[list[Message]]:
    for first in range(0, wanted, BATCH):
        numbers = range(first, min(first + BATCH, wanted))
        yield [message(talk, number // OWNERS, f"owner-{number % OWNERS}") for number in numbers]


async def _made(rows: Sequence[Message], embedder: StaticEmbedder, lexicon: WordLexicon) -> list[Indexed]:
    texts = [indexed_text(row) for row in rows]
    dense = (await embedder.embed(texts)).vectors
    return [
        Indexed(
            id=row.id,
            attempt=0,
            vectors={embedder.name: [vector], WORDS: lexicon.document(text)},
            place=row.turn or 0,
        )
        for row, text, vector in zip(rows, texts, dense, strict=True)
    ]


async def _under_load(
    store: EdgeStore, talk: Talk, embedder: StaticEmbedder, lexicon: WordLexicon, each: int, seconds: float
) -> None:
    index = _index(store)
    chore = Indexing(index, lexicon, embedder, lambda _: embedder)
    recaller = Recaller(index, lexicon, lambda _: embedder)
    lags: list[float] = []
    written = [0]
    beside = [_watch(lags), _write(store, talk, each, written), _keep(chore)]
    beside += [_stream(store, number) for number in range(STREAMS)]
    tasks = [asyncio.create_task(work) for work in beside]
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        owner, text = talk.owner(), talk.text(6)
        began = time.perf_counter()
        recalled = await recaller.recall(RecallQuery(text=text, scope=Scope(owner=owner), limit=10))
        times.append((time.perf_counter() - began) * 1e3)
        assert all(hit.message.owner == owner for hit in recalled.hits)
        await asyncio.sleep(1 / RECALLS_PER_S)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    if broken := [end for end in ended if end is not None and not isinstance(end, asyncio.CancelledError)]:
        raise SystemExit(f"what ran beside broke: {broken[0]!r}")
    say(
        f"{len(times)} recalls in {seconds:g} s beside {written[0] / seconds:.0f} messages/s written and {STREAMS} streams"
    )
    figure("store.recall_p50", statistics.median(times), "ms")
    figure("store.recall_p95", statistics.quantiles(times, n=20)[-1], "ms")
    figure("loop.lag_p99", statistics.quantiles(lags, n=100)[-1], "ms")


async def _write(store: EdgeStore, talk: Talk, first: int, written: list[int]) -> None:
    """New messages, one by one, that the chore has to index."""
    began = time.perf_counter()
    while True:
        number = written[0]
        await store.insert([message(talk, first + number // OWNERS, f"owner-{number % OWNERS}")])
        written[0] += 1
        await asyncio.sleep(max(0.0, began + written[0] / WRITES_PER_S - time.perf_counter()))


async def _keep(chore: Indexing) -> None:
    """As activities.keeping does."""
    while True:
        worked = await chore.work()
        await asyncio.sleep(0 if worked else 1.0)


async def _stream(store: EdgeStore, number: int) -> None:
    """An answer that comes word by word, is heard by a reader, and is saved once a second."""
    events, thread = MemoryEvents(), f"stream-{number}"
    answer = Message(
        id=ids.message_id(thread, "p", "answer"), thread=thread, prompt_id="p", slot="answer", role="assistant"
    )
    await store.insert([answer])

    async def read() -> None:
        async for _ in events.follow(thread):
            pass

    reading = asyncio.create_task(read())
    text = ""
    try:
        for count in range(10**9):
            text = (text + " word")[-2_000:]
            await events.publish(thread, "message.delta", {"text": " word", "message_id": answer.id, "attempt": 1})
            if count % DELTAS_PER_S == 0:
                await store.amend(answer.id, 1, {"text": text})
            await asyncio.sleep(1 / DELTAS_PER_S)
    finally:
        reading.cancel()


async def _watch(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(LOOK_S)
        lags.append((time.perf_counter() - began - LOOK_S) * 1e3)


def _index(store: EdgeStore) -> QdrantIndex:
    return QdrantIndex(store.collection(points.MESSAGES), store.collection(points.RECORDS))


if __name__ == "__main__":
    asyncio.run(main())
