"""kill -9 of the process that reads documents: the next one goes on, nothing is there twice and nothing is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from domain.knowledge import DocumentFilter
from tests.library import FakeEmbedder, Room
from tests.programs import ROOT, environment

MANY = 60
READER = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.library import FakeEmbedder, Killed, Room

async def main(folder, cut):
    room = Room(Path(folder), FakeEmbedder())
    room.cutting.cut_at = room.cutting.writes + cut
    try:
        await room.work()
    except Killed:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.timeout(120)
async def test_after_kill_9_of_the_reader_every_document_is_there_once(tmp_path: Path) -> None:
    room = Room(tmp_path, FakeEmbedder())
    for number in range(MANY):
        await room.read(f"# Old {number}\n\nold words {number}", f"k{number}.md")
    for number in range(MANY):
        await room.add(f"# New {number}\n\nnew words n{number}x", f"k{number}.md")
    room.close()
    ended = [_read(tmp_path, cut) for cut in (1, 3, 17, 90, 200)]
    assert ended[:3] == [-9, -9, -9]
    assert _read(tmp_path, 10**9) == 0

    room = Room(tmp_path, FakeEmbedder())
    states = {state: await room.store.count(DocumentFilter(status=state)) for state in ("ready", "replaced", "pending")}
    assert states == {"ready": MANY, "replaced": MANY, "pending": 0}
    for number in range(MANY):
        assert await room.texts(f"n{number}x", dense=0) == [f"new words n{number}x"]
    assert await room.texts("old", dense=0) == []
    assert await room.vectors.due() == 0
    room.close()


def _read(folder: Path, cut: int) -> int:
    """A process that reads until it has written so often; returns its status."""
    command = [sys.executable, "-c", READER, str(folder), str(cut)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, timeout=60, check=False).returncode
