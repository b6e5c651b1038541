"""Blobs in a folder: whole or not at all, and once for the same content."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from adapters.blobs import FolderBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"", b"x" * 3_000_000, "ä\U0001f600\x00".encode(), b"\xff\xfe"])
async def test_what_is_kept_comes_back_whole(blobs: FolderBlobs, content: bytes) -> None:
    ref = await blobs.put(content)
    assert ref == hashlib.sha256(content).hexdigest()
    assert await blobs.get(ref) == content


async def test_the_same_content_is_kept_once_however_many_keep_it(blobs: FolderBlobs, tmp_path: Path) -> None:
    refs = await asyncio.gather(*(blobs.put(b"same") for _ in range(50)))
    assert len(set(refs)) == 1
    assert [path.read_bytes() for path in files(tmp_path)] == [b"same"], "and nothing half done is left behind"


@pytest.mark.parametrize("ref", ["", "nothing", "0" * 64, "../../etc/passwd", "/etc/passwd", "A" * 64, "0" * 64 + "\n"])
async def test_a_name_of_nothing_gives_nothing(blobs: FolderBlobs, ref: str) -> None:
    assert await blobs.get(ref) is None


async def test_a_write_that_fails_leaves_nothing_behind(
    blobs: FolderBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.blobs.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        await blobs.put(b"content")
    assert files(tmp_path) == []
