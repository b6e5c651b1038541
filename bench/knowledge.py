"""An import of 1,000 documents by the command line, killed and begun again, and what a search costs then."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from statistics import median, quantiles
from typing import Any, cast

from activities.ports import Store
from adapters import embedders
from bench.ground import figure, samples, say
from client.threads import Threads
from domain.knowledge import DocumentFilter
from gateway.app import make_app
from gateway.knowledge import Library
from runtime.server import serve
from tests.library import Room
from tests.ports import free_port
from tests.programs import ROOT, environment

WORDS = [
    "river",
    "stone",
    "apple",
    "harbour",
    "ledger",
    "window",
    "copper",
    "garden",
    "signal",
    "lantern",
    "meadow",
    "paper",
    "engine",
    "winter",
    "salt",
]
QUERIES = 200


async def main() -> None:
    documents = samples(1_000)
    embedder = await embedders.open_bundled()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, "docs"), documents)
        room, port = Room(Path(folder, "library"), embedder), free_port()
        library = Library(room.store, room.search, room.blobs)
        app = make_app(cast("Store", None), cast("Threads", None), _health, "bench", library=library)
        async with serve(app, "127.0.0.1", port):
            lags: list[float] = []
            tasks = [asyncio.create_task(_read(room)), asyncio.create_task(_lag(lags))]
            await _import(room, port, Path(folder, "docs"), documents, lags)
            await _search(room)
            for task in tasks:
                task.cancel()
        room.close()
    await embedder.close()


async def _import(room: Room, port: int, docs: Path, documents: int, lags: list[float]) -> None:
    began = time.perf_counter()
    process = await _cli(port, docs)
    while await room.store.count(DocumentFilter()) < documents // 3:  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0.05)
    process.kill()
    await process.wait()
    process = await _cli(port, docs)
    out, err = await process.communicate()
    took = time.perf_counter() - began
    say(f"{documents} documents, killed after a third; then: {' / '.join(out.decode().splitlines())}")
    say(err.decode().strip())
    ready = await room.store.count(DocumentFilter(status="ready"))
    figure("knowledge.ready", ready)
    figure("knowledge.import", took, "s")
    figure("knowledge.documents_per_s", documents / took)
    figure("knowledge.loop_lag_p99", quantiles(lags, n=100)[-1] * 1_000, "ms")
    figure("knowledge.loop_lag_max", max(lags) * 1_000, "ms")


async def _search(room: Room) -> None:
    chance, took = random.Random(1), []
    for _ in range(QUERIES):
        began = time.perf_counter()
        await room.ask(" ".join(chance.sample(WORDS, 4)), before=1, after=1)
        took.append(time.perf_counter() - began)
    figure("knowledge.search_p50", median(took) * 1_000, "ms")
    figure("knowledge.search_p95", quantiles(took, n=20)[-1] * 1_000, "ms")


async def _cli(port: int, docs: Path) -> asyncio.subprocess.Process:
    command = [sys.executable, str(ROOT / "cli.py"), "knowledge", "import", str(docs)]
    settings = environment(EVERTHREAD_PORT=str(port))
    return await asyncio.create_subprocess_exec(*command, env=settings, stdout=PIPE, stderr=PIPE)


async def _read(room: Room) -> None:
    while True:
        if not await room.chore.work():
            await asyncio.sleep(0.05)


async def _lag(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        lags.append(max(0.0, time.perf_counter() - began - 0.01))


async def _health() -> dict[str, Any]:
    return {"status": "ok"}


def _write(folder: Path, documents: int) -> None:
    folder.mkdir()
    chance = random.Random(0)
    for number in range(documents):
        sections = (f"## Part {n}\n\n" + " ".join(chance.choices(WORDS, k=90)) + "." for n in range(4))
        (folder / f"{number:05}.md").write_text(f"# Note {number}\n\n" + "\n\n".join(sections))


if __name__ == "__main__":
    asyncio.run(main())
