"""What this machine runs: the processes an earlier run left behind, and who holds a port."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

TERM_S = 5.0  # more than the leash's grace would only make the next start slower
KILL_S = 2.0
_POLL_S = 0.02
# The time a process began is computed from the system's clock, which may be set or drift a second between two runs.
SAME_START_S = 2.0
_LOOPBACK = ("127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1")  # noqa: S104


class PidFile:
    """The processes of this run, written down, so that the next one can end what a crash leaves behind.

    For one run at a time: whoever uses a folder's file holds the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, name: str, pid: int) -> None:
        """Does nothing if the process has ended already."""
        with suppress(psutil.Error):
            began = psutil.Process(pid).create_time()
            self._write([*self._read(), {"name": name, "pid": pid, "create_time": began}])

    def remove(self, pid: int) -> None:
        self._write([entry for entry in self._read() if entry["pid"] != pid])

    def end_leftovers(self, term_s: float = TERM_S) -> list[str]:
        """Ends the recorded processes that still run, and their descendants; returns their names.

        A process that merely has the number of a recorded one is not touched. Blocks for as long as that takes, at most
        `term_s` + 2 s.
        """
        found = [(entry["name"], process) for entry in self._read() if (process := _same_as(entry))]
        stubborn = _end(_families(process for _, process in found), signal.SIGTERM, term_s)
        _end(_families(stubborn), signal.SIGKILL, KILL_S)
        self._write([])
        return sorted({name for name, _ in found})

    def _read(self) -> list[dict[str, Any]]:
        try:
            entries = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return []
        return [entry for entry in entries if _is_entry(entry)] if isinstance(entries, list) else []

    def _write(self, entries: list[dict[str, Any]]) -> None:
        """Whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps(entries))
        draft.replace(self._path)


def holder_of(port: int) -> str | None:
    """Who listens on a port of loopback, as "pid 123 (redis-server)"; None if it is free.

    It is "another process" where the system does not tell.
    """
    if _is_free(port):
        return None
    for pid in _listeners(port):
        with suppress(psutil.Error):
            return f"pid {pid} ({psutil.Process(pid).name()})"
    return "another process"


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("pid"), int)
        and isinstance(entry.get("create_time"), float)
    )


def _same_as(entry: dict[str, Any]) -> psutil.Process | None:
    """The recorded process, if it still runs."""
    with suppress(psutil.Error, ValueError):
        process = psutil.Process(entry["pid"])
        same = abs(process.create_time() - entry["create_time"]) <= SAME_START_S
        if same and process.pid != os.getpid() and _runs(process):
            return process
    return None


def _families(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """The processes and all they started."""
    members = set(processes)
    for process in list(members):
        with suppress(psutil.Error):
            members.update(process.children(recursive=True))
    return members


def _end(processes: set[psutil.Process], number: int, timeout_s: float) -> list[psutil.Process]:
    """Those that are left. psutil itself sends nothing to a process that got the number of one that has ended."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)
    until = time.monotonic() + timeout_s
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < until:
        time.sleep(_POLL_S)
    return left


def _runs(process: psutil.Process) -> bool:
    """A zombie does not run: in a container it may stay for ever, if the first process buries nobody."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # A port whose last connections are in TIME_WAIT can be taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _listeners(port: int) -> Iterator[int]:
    for pid, connection in _connections():
        address = connection.laddr
        if pid and connection.status == psutil.CONN_LISTEN and address.port == port and address.ip in _LOOPBACK:
            yield pid


def _connections() -> Iterator[tuple[int | None, Any]]:
    try:
        yield from ((connection.pid, connection) for connection in psutil.net_connections("tcp"))
    except psutil.Error:  # macOS tells it to root only, but everybody of his own processes
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                yield from ((process.pid, connection) for connection in process.net_connections("tcp"))
