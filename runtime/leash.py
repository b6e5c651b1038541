"""Runs a command that cannot outlive the process that started it, even if that one gets kill -9.

    python -m runtime.leash [--grace 5] [--report FD] [--rope FD] -- COMMAND [ARGUMENT …]

Standard input is the leash: a pipe whose other end only the parent holds, so that the end of the parent, whatever its cause,
is the end of the input. Then, or at SIGTERM, the command and all it started get SIGTERM, and SIGKILL after the grace. The
parent may write another number of seconds before it lets go. What leaves the command's session (setsid) is not held.
With `--rope` an inherited file is the leash instead, and standard input is the command's.

Exits with the status of the command, 128 + n if signal n ended it. Standard library only, and quick to start.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

GRACE_S = 5.0
CANNOT_START = 127
_POLL_S = 0.02
_INPUT = 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _read(arguments)
    leash = _Leash(options.grace, options.rope)
    try:
        # Its own session: Ctrl-C in the terminal does not reach it, and one signal reaches all of it.
        given = subprocess.DEVNULL if options.rope == _INPUT else None
        process = subprocess.Popen(options.command, stdin=given, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{options.command[0]}: {error.strerror}\n")
        return CANNOT_START
    if options.report is not None:
        os.write(options.report, f"{process.pid}\n".encode())
        os.close(options.report)
    leash.hold(process)
    end_group(process, leash.grace_s)
    status = process.returncode
    return 128 - status if status < 0 else status


def end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ends the process and its group, and what is left of the group if the process has ended by itself."""
    until = time.monotonic() + grace_s
    present = _signal_group(process, signal.SIGTERM)
    while present and time.monotonic() < until:
        time.sleep(_POLL_S)
        process.poll()  # or it stays in the group as a zombie
        present = _signal_group(process, 0) and not _all_dead(process.pid)
    if present:
        _signal_group(process, signal.SIGKILL)
    process.wait()


class _Leash:
    def __init__(self, grace_s: float, rope: int) -> None:
        self.grace_s = grace_s
        self._rope = rope
        self._let_go = False
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # A handler, since the command would inherit an ignored signal.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)

    def hold(self, process: subprocess.Popen[bytes]) -> None:
        """Until the command has ended, the parent has, or SIGTERM comes."""
        while process.poll() is None and not self._let_go:
            ready, _, _ = select.select([self._rope, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
            if self._rope in ready:
                self._listen()

    def _listen(self) -> None:
        said = os.read(self._rope, 4096)
        self._let_go = self._let_go or not said
        with suppress(ValueError):
            self.grace_s = float(said)

    def _on_term(self, *_: object) -> None:
        self._let_go = True


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runtime.leash", description="Run a command that ends with its parent.")
    parser.add_argument("--grace", type=float, default=GRACE_S, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--report", type=int, metavar="FD", help="an inherited file to write the command's pid to")
    parser.add_argument("--rope", type=int, metavar="FD", default=_INPUT, help="an inherited file that is the leash")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """False if nothing of the group is left. macOS answers so with a refusal if all of it are zombies."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _all_dead(group: int) -> bool:
    """Only zombies are left: in a container they may stay for ever, if the first process buries nobody. Linux tells."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = path.read_bytes().rpartition(b")")[2].split()
            states += [state] if int(its_group) == group else []
    return bool(states) and set(states) <= {b"Z", b"X"}


if __name__ == "__main__":
    sys.exit(main())
