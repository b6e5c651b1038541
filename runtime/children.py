"""Child processes that end with this one, each held by a leash of its own, see runtime.leash."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from runtime import leash
from runtime.processes import PidFile, holder_of

__all__ = ["Child", "ChildError", "PidFile", "holder_of"]

LONGEST_LOG = 20 * 2**20  # bytes; a longer one is emptied at the next start
LAST_WORDS = 400  # characters of the log in an error
_POLL_S = 0.05
_MARGIN_S = 2.0  # for the leash itself to end

Ready = str | Callable[[], Awaitable[bool]]


class ChildError(Exception):
    """A child did not start; the text ends with the last it said."""


@dataclass
class Child:
    """A running child. Its output is in its log."""

    name: str
    pid: int  # of the command; 0 if it could not be started
    leash_pid: int
    log_path: Path
    url: str = ""  # what followed the prefix in the line that said it was ready
    _process: Process = field(repr=False, kw_only=True)
    _rope: int = field(repr=False, kw_only=True)  # the end of the leash that nobody else holds
    _pids: PidFile | None = field(repr=False, kw_only=True)
    _log_start: int = field(repr=False, kw_only=True)

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log_path: Path,
        timeout_s: float,
        ready: Ready | None = None,
        pids: PidFile | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        grace_s: float = leash.GRACE_S,
    ) -> Self:
        """Returns once the child is ready: it printed a line that starts with `ready`, or `ready()` is true.

        Without `ready` it returns once the child runs.
        Raises: ChildError: If it ends before, or takes longer than `timeout_s`.
        """
        child = await cls._launch(name, command, log_path, pids, env, cwd, grace_s)
        try:
            await child.until_ready(ready or _runs, timeout_s)
        except BaseException:
            await child.stop(min(grace_s, 1.0))
            raise
        return child

    async def wait(self) -> int:
        """The status it ended with; 128 + n if signal n ended it."""
        return await self._process.wait()

    async def stop(self, grace_s: float = leash.GRACE_S) -> int:
        """SIGTERM to the child and all it started, SIGKILL after the grace. May be called again, and after its end."""
        if self._rope >= 0:
            rope, self._rope = self._rope, -1
            with suppress(OSError):  # it has ended, so nobody reads
                os.write(rope, f"{grace_s}\n".encode())
            os.close(rope)
        try:
            async with asyncio.timeout(grace_s + _MARGIN_S):
                await self.wait()
        except TimeoutError:  # the leash is stopped or stuck
            self._kill()
        status = await self.wait()
        self._forget()
        return status

    @classmethod
    async def _launch(
        cls,
        name: str,
        command: Sequence[str],
        log_path: Path,
        pids: PidFile | None,
        env: Mapping[str, str] | None,
        cwd: Path | None,
        grace_s: float,
    ) -> Self:
        held, rope = os.pipe()
        report, told = os.pipe()
        options = ["--grace", str(grace_s), "--report", str(told)]
        with _open_log(log_path) as log:
            log_start = log.tell()
            # Neither our packages nor anybody's site: it starts in 20 ms, and from any folder.
            program = [sys.executable, "-I", "-S", leash.__file__, *options, "--", *command]
            try:
                process = await asyncio.create_subprocess_exec(
                    *program,
                    stdin=held, stdout=log, stderr=log, pass_fds=(told,), env=env, cwd=cwd, start_new_session=True,
                )  # fmt: skip
            except BaseException:
                os.close(rope)
                os.close(report)
                raise
            finally:
                os.close(held)
                os.close(told)
        pid = await asyncio.to_thread(_read_pid, report)
        if pids and pid:
            pids.add(name, process.pid)
            pids.add(name, pid)
        return cls(name, pid, process.pid, log_path, _process=process, _rope=rope, _pids=pids, _log_start=log_start)

    async def until_ready(self, ready: Ready, timeout_s: float) -> None:
        """Raises: ChildError: If it ends before, or takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._is_ready(ready):
                    if self._process.returncode is not None:
                        raise ChildError(
                            f"{self.name} ended with status {self._process.returncode}{self._last_words()}"
                        )
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ChildError(f"{self.name} was not ready within {timeout_s:g} s{self._last_words()}") from None

    async def _is_ready(self, ready: Ready) -> bool:
        if not isinstance(ready, str):
            return await ready()
        for line in self._said().splitlines(keepends=True):
            if line.startswith(ready) and line.endswith("\n"):
                self.url = line.removeprefix(ready).strip()
                return True
        return False

    def _said(self) -> str:
        """What it wrote to the log since it was started."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def _last_words(self) -> str:
        words = " ".join("".join(c if c.isprintable() else " " for c in self._said()).split())
        said = words if len(words) <= LAST_WORDS else f"…{words[-LAST_WORDS:]}"
        return f": {said}" if said else f" and said nothing (log: {self.log_path})"

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            if self.pid:  # 0 would be our own group
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            self._process.kill()

    def _forget(self) -> None:
        if self._pids:
            self._pids.remove(self.leash_pid)
            self._pids.remove(self.pid)


async def _runs() -> bool:
    return True


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    too_long = path.exists() and path.stat().st_size > LONGEST_LOG
    if too_long:
        path.write_bytes(b"")
    return path.open("ab")


def _read_pid(report: int) -> int:
    """The pid that the leash reports, 0 if it cannot start the command."""
    with os.fdopen(report, "rb") as file:
        return int(file.readline() or 0)
