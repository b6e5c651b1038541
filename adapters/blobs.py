"""Blobs in a folder: one file each, named by the SHA-256 of its content."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_REF = re.compile(r"[0-9a-f]{64}")


class FolderBlobs:
    """activities.ports.Blobs in a folder, which several workers may share. A blob is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, content: bytes) -> str:
        return await asyncio.to_thread(self._put, content)

    async def get(self, ref: str) -> bytes | None:
        return await asyncio.to_thread(self._get, ref)

    async def delete(self, ref: str, unused_s: float = 0.0) -> bool:
        return await asyncio.to_thread(self._delete, ref, unused_s)

    def _delete(self, ref: str, unused_s: float) -> bool:
        if not _REF.fullmatch(ref):
            return True
        path = self._path(ref)
        try:
            if time.time() - path.stat().st_mtime < unused_s:
                return False
            path.unlink()
        except FileNotFoundError:
            pass
        return True

    def _put(self, content: bytes) -> str:
        ref = hashlib.sha256(content).hexdigest()
        path = self._path(ref)
        try:
            os.utime(path)  # somebody is about to refer to it: it is not to be deleted now
        except FileNotFoundError:
            pass
        else:
            return ref
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another name first, so that a crash leaves no half of it under its own.
        handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        return ref

    def _get(self, ref: str) -> bytes | None:
        if not _REF.fullmatch(ref):
            return None
        try:
            return self._path(ref).read_bytes()
        except FileNotFoundError:
            return None

    def _path(self, ref: str) -> Path:
        return self._folder / ref[:2] / ref
