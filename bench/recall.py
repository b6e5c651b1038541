"""Evidence recall on conversations in LoCoMo's format: DATA=folder. Through the product's own store, index and recall.

For each question: which part of the messages that hold its answer is among the first 5, 10, 25, 50 recalled, and among
those that fit into 1,000 and 2,000 tokens. Beside it, over the same store, plain BM25 and plain dense search.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from activities.indexing import Indexing
from activities.recalling import Recaller
from adapters import qdrant_points as points
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_index import QdrantIndex
from adapters.static_embed import StaticEmbedder
from bench.locomo import CATEGORIES, TENANT, Conversation, Question, load
from domain.recall import RecallQuery, Scope
from domain.vectors import WORDS
from runtime import logs

SIZES = (5, 10, 25, 50)
BUDGETS = (1_000, 2_000)  # tokens
CHARS_PER_TOKEN, TOKENS_PER_MESSAGE = 4, 8


@dataclass(frozen=True)
class Asked:
    """A question, and the ids of messages that a search gave for it, best first."""

    conversation: Conversation
    question: Question
    found: list[str]

    def at(self, size: int) -> float:
        return _share(self.question.evidence, set(self.found[:size]))

    def near(self, size: int) -> float:
        """The same if a hit's neighbours count as found."""
        order = [row.id for row in self.conversation.rows]
        places = {row_id: place for place, row_id in enumerate(order)}
        hits = [places[row_id] for row_id in self.found[:size]]
        seen = {order[near] for place in hits for near in (place - 1, place, place + 1) if 0 <= near < len(order)}
        return _share(self.question.evidence, seen)

    def within(self, tokens: int) -> float:
        texts = {row.id: row.text for row in self.conversation.rows}
        fitting: set[str] = set()
        for row_id in self.found:
            tokens -= len(texts[row_id]) // CHARS_PER_TOKEN + TOKENS_PER_MESSAGE
            if tokens < 0:
                break
            fitting.add(row_id)
        return _share(self.question.evidence, fitting)


def _share(wanted: Sequence[str], found: set[str]) -> float:
    return 100.0 * sum(one in found for one in wanted) / len(wanted)


async def main() -> None:
    folder = os.environ.get("DATA")
    if not folder:
        raise SystemExit("DATA is not set: DATA=<folder of conversations in LoCoMo's format> make bench-recall")
    logs.setup("WARNING")
    conversations = load(Path(folder))
    with tempfile.TemporaryDirectory() as kept:
        store = EdgeStore(Path(kept))
        try:
            await _measure(store, conversations)
        finally:
            store.close()


async def _measure(store: EdgeStore, conversations: Sequence[Conversation]) -> None:
    index = QdrantIndex(store.collection(points.MESSAGES), store.collection(points.RECORDS))
    lexicon, embedder = WordLexicon(), StaticEmbedder.load()
    messages = [row for conversation in conversations for row in conversation.rows]
    began = time.perf_counter()
    await store.insert(messages)
    chore = Indexing(index, lexicon, embedder, lambda _: embedder)
    while await chore.work():
        pass
    took = time.perf_counter() - began
    print(f"{len(conversations)} conversations, {len(messages)} messages stored and indexed in {took:.1f} s")

    recaller = Recaller(index, lexicon, lambda _: embedder)
    times: list[float] = []
    asked, by_words, by_meaning = [], [], []
    for conversation in conversations:
        scope = Scope(tenant=TENANT, owner=conversation.name)
        for question in conversation.questions:
            started = time.perf_counter()
            recalled = await recaller.recall(RecallQuery(text=question.text, scope=scope, limit=SIZES[-1]))
            times.append((time.perf_counter() - started) * 1e3)
            asked.append(Asked(conversation, question, [hit.message.id for hit in recalled.hits]))
            found = await index.search(WORDS, lexicon.query(question.text), scope, SIZES[-1])
            by_words.append(Asked(conversation, question, [one.id for one in found]))
            vector = (await embedder.embed([question.text])).vectors[0]
            found = await index.search(embedder.name, [vector], scope, SIZES[-1])
            by_meaning.append(Asked(conversation, question, [one.id for one in found]))
    _report(asked, by_words, by_meaning, times)


def _report(
    asked: Sequence[Asked], by_words: Sequence[Asked], by_meaning: Sequence[Asked], times: Sequence[float]
) -> None:
    _table("recall", asked)
    _table("words alone (BM25)", by_words)
    _table("meaning alone (dense)", by_meaning)
    for size in SIZES:
        _figure(f"recall.r{size}", _mean(asked, partial(Asked.at, size=size)))
    _figure("recall.r10_neighbours", _mean(asked, lambda one: one.near(10)))
    multi_hop = [one for one in asked if one.question.category == 1]
    _figure("recall.r10_multihop_neighbours", _mean(multi_hop, lambda one: one.near(10)))
    for budget in BUDGETS:
        _figure(f"recall.tokens{budget}", _mean(asked, partial(Asked.within, tokens=budget)))
    _figure("recall.bm25_r10", _mean(by_words, lambda one: one.at(10)))
    _figure("recall.dense_r10", _mean(by_meaning, lambda one: one.at(10)))
    print(f"figure recall.query_p50 {statistics.median(times):.2f} ms")
    print(f"figure recall.query_p95 {statistics.quantiles(times, n=20)[-1]:.2f} ms")


def _table(name: str, asked: Sequence[Asked]) -> None:
    """Evidence found, in percent, of all questions and by category; `±1`: a hit's neighbours count as found."""
    heads = [f"r{size}" for size in SIZES] + [f"r{size}±1" for size in SIZES[:3]]
    print(f"\n{name:24s}{'n':>5s}" + "".join(f"{head:>8s}" for head in heads))
    groups = [("all", asked)] + [(c, [a for a in asked if a.conversation.name == c]) for c in _names(asked)]
    groups += [(label, [a for a in asked if a.question.category == number]) for number, label in CATEGORIES.items()]
    for label, some in groups:
        values = [_mean(some, partial(Asked.at, size=size)) for size in SIZES]
        values += [_mean(some, partial(Asked.near, size=size)) for size in SIZES[:3]]
        print(f"  {label:22s}{len(some):5d}" + "".join(f"{value:8.1f}" for value in values))


def _names(asked: Iterable[Asked]) -> list[str]:
    return list(dict.fromkeys(one.conversation.name for one in asked))


def _mean(asked: Sequence[Asked], value: Callable[[Asked], float]) -> float:
    return statistics.fmean(map(value, asked)) if asked else float("nan")


def _figure(name: str, value: float) -> None:
    print(f"figure {name} {value:.1f} %")


if __name__ == "__main__":
    asyncio.run(main())
