"""`cli.py knowledge`, as a user runs it: an import shows how far it is, and goes on after it was killed."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from activities.ports import Store
from client.threads import Threads
from domain.knowledge import DocumentFilter
from gateway.app import make_app
from gateway.knowledge import Library
from runtime.server import serve
from tests.client.wedging import CLI, Said
from tests.gateways import health
from tests.library import FakeEmbedder, Room
from tests.ports import free_port
from tests.programs import environment

MANY = 200


class Desk:
    """The command line in front of a gateway whose documents are read as they come."""

    def __init__(self, room: Room, port: int) -> None:
        self.room, self.port = room, port

    async def begin(self, *arguments: object) -> Process:
        command = [sys.executable, str(CLI), "knowledge", *map(str, arguments)]
        settings = environment(EVERTHREAD_PORT=str(self.port), TERM="dumb", COLUMNS="200")
        return await asyncio.create_subprocess_exec(*command, env=settings, stdout=PIPE, stderr=PIPE)

    async def run(self, *arguments: object) -> Said:
        process = await self.begin(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), 50)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> None:
        async with asyncio.timeout(30):
            while not await condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def reading(room: Room) -> AsyncIterator[None]:
    async def read() -> None:
        while True:
            if not await room.chore.work():
                await asyncio.sleep(0.05)

    task = asyncio.create_task(read())
    yield
    task.cancel()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    room, port = Room(tmp_path / "library", FakeEmbedder()), free_port()
    library = Library(room.store, room.search, room.blobs)
    app = make_app(cast("Store", None), cast("Threads", None), health, "test", library=library)
    async with serve(app, "127.0.0.1", port), reading(room):
        yield Desk(room, port)
    room.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.md").write_text("# Apples\n\nThey are ripe.")
    (folder / "inner" / "b.txt").write_text("Trains are late.")
    (folder / "c.png").write_bytes(b"x")
    (folder / ".hidden.md").write_text("hidden")
    return folder


async def test_a_folder_is_imported_listed_searched_and_deleted(desk: Desk, folder: Path) -> None:
    said = await desk.run("import", folder)
    assert (said.status, said.out) == (0, "2 sent, 0 there already, 0 refused\n2 ready\n")
    assert "1 files of other kinds are left out" in said.err
    listed = await desk.run("list")
    assert {line.split("  ")[2] for line in listed.out.splitlines()} == {"a.md", "inner/b.txt"}
    found = await desk.run("search", "ripe apples", "--limit", "1")
    assert (found.status, found.out.splitlines()[1]) == (0, "  They are ripe.")
    assert (await desk.run("status")).out == "2 ready\n"
    assert (await desk.run("delete", "a.md")).out == "deleted 1\n"
    gone = await desk.run("delete", "a.md")
    assert (gone.status, gone.out) == (1, "deleted 0\n")


async def test_what_is_there_already_is_not_sent_and_what_changed_replaces_it(desk: Desk, folder: Path) -> None:
    await desk.run("import", folder)
    (folder / "a.md").write_text("# Apples\n\nThey are gone.")
    said = await desk.run("import", folder)
    assert said.out == "1 sent, 1 there already, 0 refused\n2 ready, 1 replaced\n"
    assert await desk.room.texts("apples they", limit=1) == ["They are gone."]


async def test_what_cannot_be_read_is_told_by_name(desk: Desk, folder: Path) -> None:
    (folder / "bad.txt").write_bytes(b"\xff\xfa\xfb")
    (folder / "empty.md").write_text("")
    said = await desk.run("import", folder)
    assert said.status == 1
    assert "empty.md: document: it has no content" in said.err
    assert "bad.txt  failed: it is not text in UTF-8" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "nowhere"], "nowhere is not there; name files or folders"),
        (["import", str(CLI)], "of no kind that is read"),
        (["import", ".", "--filter", "de"], "is no name=value"),
        (["delete"], "name a key, or say --all"),
    ],
)
async def test_a_command_that_cannot_be_done_says_what_to_do(desk: Desk, arguments: list[str], words: str) -> None:
    said = await desk.run(*arguments)
    assert said.status == 2
    assert words in said.err


async def test_an_import_of_many_shows_its_progress_and_goes_on_after_kill_9(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number:04}.md").write_text(f"# Note {number}\n\nThe secret word of note {number} is w{number}x.")
    process = await desk.begin("import", folder)

    async def some() -> bool:
        return await desk.room.store.count(DocumentFilter()) >= 20

    await desk.until(some)
    process.kill()
    await process.wait()
    assert await desk.room.store.count(DocumentFilter()) < MANY

    said = await desk.run("import", folder)
    assert said.status == 0, said.err
    sent, known = (int(part.split()[0]) for part in said.out.split(",")[:2])
    assert sent + known == MANY
    assert known >= 20
    assert f"sent 100 of {MANY} documents" in said.err
    assert said.out.splitlines()[1] == f"{MANY} ready"
    assert (await desk.room.store.count(DocumentFilter())) == MANY
    assert await desk.room.texts("w137x", dense=0) == ["The secret word of note 137 is w137x."]
