"""The data folder belongs to one process at a time. The lock ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class FolderBusyError(Exception):
    """Another process uses the folder; the text names it and the remedy."""


def lock_folder(folder: Path) -> IO[str]:
    """Hold the folder for as long as the returned file is open. Raises: FolderBusyError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise FolderBusyError(
            f"{folder} is in use by another Everthread{f' (pid {holder})' if holder else ''}: "
            "stop that one, or set EVERTHREAD_DATA_DIR to another folder"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
