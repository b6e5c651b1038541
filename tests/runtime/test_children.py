"""Child processes: what holds them, what becomes of what a crash leaves behind, who has a port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from runtime.children import LONGEST_LOG, Child, ChildError, PidFile, holder_of

ROOT = Path(__file__).parents[2]
IN_TIME = 10.0  # seconds, on a busy machine

# A child with a child of its own; it says which.
FAMILY = ["sh", "-c", "sleep 1000 & echo READY $!; wait"]
# It and its child take no notice of SIGTERM.
STUBBORN = ["sh", "-c", "trap '' TERM; sleep 1000 & echo READY $!; while :; do wait; done"]

# Starts a child on a leash, and beside it one that inherits whatever is not kept from it; says their pids; waits.
PARENT = """
import asyncio, json, subprocess, sys
from pathlib import Path
from runtime.children import Child, PidFile

async def main(folder, *command):
    pids = PidFile(folder / "pids.json")
    child = await Child.start("family", command, log_path=folder / "log", ready="READY ", timeout_s=20, pids=pids, grace_s=0.5)
    other = subprocess.Popen(["sleep", "1000"])
    print(json.dumps([child.leash_pid, child.pid, int(child.url), other.pid]), flush=True)
    await child.wait()

asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + IN_TIME
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@asynccontextmanager
async def parent(folder: Path, command: list[str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    """A parent process; the pids of its leash, child, grandchild and of a child without a leash."""
    program = [sys.executable, "-c", PARENT, str(folder), *command]
    process = await asyncio.create_subprocess_exec(*program, stdin=DEVNULL, stdout=PIPE, cwd=ROOT)
    assert process.stdout is not None
    pids: list[int] = []
    try:
        pids = json.loads(await asyncio.wait_for(process.stdout.readline(), IN_TIME))
        yield process, pids
    finally:
        for pid in (process.pid, *pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.communicate()


@asynccontextmanager
async def started(folder: Path, command: list[str], **options: Any) -> AsyncIterator[Child]:
    given: dict[str, Any] = {"log_path": folder / "child.log", "timeout_s": IN_TIME} | options
    child = await Child.start("it", command, **given)
    try:
        yield child
    finally:
        await child.stop(0.2)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("command", [FAMILY, STUBBORN], ids=["willing", "stubborn"])
async def test_kill_9_of_the_parent_alone_ends_its_children_and_theirs(tmp_path: Path, command: list[str]) -> None:
    async with parent(tmp_path, command) as (process, [leash, child, grandchild, unleashed]):
        assert all(map(runs, (leash, child, grandchild, unleashed)))
        process.kill()
        await until(lambda: not any(map(runs, (leash, child, grandchild))))
        assert runs(unleashed)


async def test_a_signal_to_the_parents_group_leaves_the_end_of_the_children_to_the_parent(tmp_path: Path) -> None:
    """Ctrl-C in a terminal goes to the whole foreground group."""
    async with parent(tmp_path, FAMILY) as (_, [leash, child, grandchild, _]):
        assert os.getpgid(leash) == leash
        assert os.getpgid(child) == os.getpgid(grandchild) == child
        os.kill(leash, signal.SIGINT)
        os.kill(leash, signal.SIGTERM)
        await until(lambda: not any(map(runs, (leash, child, grandchild))))


async def test_the_leash_ignores_ctrl_c(tmp_path: Path) -> None:
    async with started(tmp_path, FAMILY, ready="READY ") as child:
        os.kill(child.leash_pid, signal.SIGINT)
        os.kill(child.leash_pid, signal.SIGINT)
        assert await child.stop(1) == 128 + signal.SIGTERM  # and not of the interrupt


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 128 + 9)])
async def test_a_child_that_ends_by_itself_tells_its_status(tmp_path: Path, script: str, status: int) -> None:
    async with started(tmp_path, ["sh", "-c", script]) as child:
        assert await asyncio.wait_for(child.wait(), IN_TIME) == status


async def test_what_a_child_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    async with started(tmp_path, ["sh", "-c", "sleep 1000 & echo READY $!; exit 0"], ready="READY ") as child:
        assert await asyncio.wait_for(child.wait(), IN_TIME) == 0
        assert not runs(int(child.url))


async def test_stopping_ends_the_whole_family_after_the_grace_at_the_latest(tmp_path: Path) -> None:
    pids = PidFile(tmp_path / "pids.json")
    async with started(tmp_path, STUBBORN, ready="READY ", pids=pids) as child:
        began = time.monotonic()
        assert await child.stop(0.3) == 128 + signal.SIGKILL
        assert 0.3 <= time.monotonic() - began < 2
        assert not any(map(runs, (child.pid, child.leash_pid, int(child.url))))
        assert await child.stop(0.3) == 128 + signal.SIGKILL
    assert json.loads((tmp_path / "pids.json").read_text()) == []


async def test_a_stuck_leash_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.children._MARGIN_S", 0.1)
    async with started(tmp_path, FAMILY, ready="READY ") as child:
        os.kill(child.leash_pid, signal.SIGSTOP)
        await child.stop(0.1)
        await until(lambda: not any(map(runs, (child.pid, child.leash_pid, int(child.url)))))


async def test_the_line_that_says_ready_is_kept_and_all_output_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    log.parent.mkdir()
    log.write_text("READY of an earlier run\n")
    script = "echo starting; echo trouble >&2; echo 'READY http://here'; echo later; sleep 1000"
    async with started(tmp_path, ["sh", "-c", script], ready="READY ", log_path=log) as child:
        assert child.url == "http://here"
        await until(lambda: log.read_text().endswith("later\n"))
        assert {"READY of an earlier run", "starting", "trouble"} <= set(log.read_text().splitlines())


async def test_a_child_can_be_asked_whether_it_is_ready(tmp_path: Path) -> None:
    answers = iter([False, False, True])

    async def ready() -> bool:
        return next(answers)

    async with started(tmp_path, ["sleep", "1000"], ready=ready) as child:
        assert runs(child.pid)
    assert list(answers) == []


async def test_a_log_that_grew_too_long_is_emptied_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.touch()
    os.truncate(log, LONGEST_LOG + 1)
    async with started(tmp_path, ["sh", "-c", "echo READY; sleep 1000"], ready="READY"):
        assert log.read_text() == "READY\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["sh", "-c", "echo one; echo 'port is taken' >&2; exit 4"], "it ended with status 4: one port is taken"),
        (["sh", "-c", "exit 4"], "it ended with status 4 and said nothing"),
        (["no-such-program"], "it ended with status 127: no-such-program: No such file or directory"),
        (["sh", "-c", "yes 'much to say' | head -n 9999; exit 4"], "it ended with status 4: …"),
    ],
)
async def test_a_child_that_dies_at_the_start_is_one_sentence(tmp_path: Path, command: list[str], says: str) -> None:
    (tmp_path / "child.log").write_text("of an earlier run\n")
    with pytest.raises(ChildError) as caught:
        async with started(tmp_path, command, ready="READY", pids=PidFile(tmp_path / "pids.json")):
            pass
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


async def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    script = "echo $$; sleep 1000"
    with pytest.raises(ChildError, match=r"it was not ready within 0\.3 s: \d+$") as caught:
        async with started(tmp_path, ["sh", "-c", script], ready="READY", timeout_s=0.3):
            pass
    assert not runs(int(str(caught.value).rpartition(" ")[2]))


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    command = ["sh", "-c", "echo $$; sleep 1000"]
    start = asyncio.ensure_future(Child.start("it", command, log_path=log, ready="READY", timeout_s=60))
    await until(lambda: log.exists() and log.read_text().endswith("\n"))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not runs(int(log.read_text()))


async def test_what_an_earlier_run_left_is_ended_with_its_children(tmp_path: Path) -> None:
    """Parent and leash both got kill -9, so that nothing ended the child."""
    async with parent(tmp_path, STUBBORN) as (process, [leash, child, grandchild, unleashed]):
        process.kill()
        os.kill(leash, signal.SIGKILL)
        await until(lambda: not runs(leash))
        assert runs(child)
        assert runs(grandchild)
        pids = PidFile(tmp_path / "pids.json")
        assert await asyncio.to_thread(pids.end_leftovers, term_s=0.2) == ["family"]
        assert not any(map(runs, (child, grandchild)))
        assert runs(unleashed)
        assert pids.end_leftovers() == []


def test_a_process_that_merely_has_the_number_of_a_recorded_one_is_not_touched(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "pids.json"
    PidFile(path).add("it", sleeper.pid)
    [entry] = json.loads(path.read_text())
    path.write_text(json.dumps([entry | {"create_time": entry["create_time"] - 60}]))
    assert PidFile(path).end_leftovers() == []
    assert runs(sleeper.pid)


def test_the_same_process_is_known_though_the_clock_was_corrected(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "pids.json"
    PidFile(path).add("it", sleeper.pid)
    [entry] = json.loads(path.read_text())
    path.write_text(json.dumps([entry | {"create_time": entry["create_time"] - 1}]))
    assert PidFile(path).end_leftovers() == ["it"]
    assert not runs(sleeper.pid)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[1]", '[{"pid": "1"}]', '[{"name": "x", "pid": -1, "create_time": 1.0}]']
)
def test_a_file_of_pids_that_is_damaged_is_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pids.json"
    path.write_text(text)
    assert PidFile(path).end_leftovers() == []


async def test_the_holder_of_a_port_is_named(tmp_path: Path) -> None:
    script = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
        "print('READY', s.getsockname()[1], flush=True); time.sleep(1000)"
    )
    async with started(tmp_path, [sys.executable, "-c", script], ready="READY ") as child:
        holder = holder_of(int(child.url))
        assert holder == f"pid {child.pid} ({psutil.Process(child.pid).name()})"


def test_a_port_whose_holder_the_system_does_not_tell_is_held_by_another_process() -> None:
    """Taken but not listened on: the connection table does not have it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert holder_of(taken.getsockname()[1]) == "another process"


def test_a_port_whose_last_connection_has_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = server.accept()
            connection.close()  # first, so that this side is the one in TIME_WAIT
            assert client.recv(1) == b""
    assert holder_of(port) is None
