"""Drives `cli.py dev` as a user does: starts it, talks to it, reads what it says, and kills it in several ways."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from client.threads import Threads
from domain.prompts import ThreadStart, read_prompt
from runtime import temporal
from tests.programs import ROOT, environment

START_S = 30.0
ANSWER_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Ended:
    """A program that ran to its end."""

    status: int
    out: str
    err: str


@dataclass
class Everthread:
    """One data folder with its ports, and the lives of `cli.py dev` in it, one at a time."""

    folder: Path
    model_url: str | None = None
    settings: dict[str, str] = field(default_factory=dict)  # further environment
    started_at: float = 0.0  # of this life, in seconds since 1970
    lives: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.port, self.temporal_port, self.ui_port = free_ports(3)
        self.data = self.folder / "data"
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: Process | None = None

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            "EVERTHREAD_DATA_DIR": str(self.data),
            "EVERTHREAD_PORT": str(self.port),
            "EVERTHREAD_TEMPORAL_PORT": str(self.temporal_port),
            "EVERTHREAD_TEMPORAL_UI_PORT": str(self.ui_port),
        }
        model = {"OPENAI_BASE_URL": self.model_url} if self.model_url else {}
        return environment(**ours | model | self.settings)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def command(self, *options: str) -> list[str]:
        return [sys.executable, str(ROOT / "cli.py"), "dev", *options]

    # --- lives

    async def run(self, *options: str, typed: str | bytes = "", **settings: str) -> Ended:
        """One life as a filter, from its start to its end."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*options),
            stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=self.folder, env=self.environment | settings,
        )  # fmt: skip
        self._process = process
        out, err = await process.communicate(typed.encode() if isinstance(typed, str) else typed)
        return Ended(await process.wait(), out.decode(), err.decode())

    async def launch(self, *options: str) -> None:
        """Begin a life of `dev --serve`, ready or not."""
        self.lives += 1
        self.started_at = time.time()
        with (self.folder / f"err-{self.lives}").open("wb") as err:
            self._process = await asyncio.create_subprocess_exec(
                *self.command("--serve", *options),
                stdin=asyncio.subprocess.DEVNULL, stdout=err, stderr=err, cwd=self.folder, env=self.environment,
            )  # fmt: skip

    async def start(self, *options: str) -> None:
        """A life of `dev --serve`, up and ready."""
        await self.launch(*options)
        await self.ready()

    async def ready(self) -> None:
        """Raises: TimeoutError; AssertionError with what it said if it ends instead."""

        async def healthy() -> bool:
            assert self.running, f"ended with {self._process and self._process.returncode}: {self.said()}"
            with suppress(httpx.HTTPError):
                return (await self.get("/api/health")).status_code == 200
            return False

        await until(healthy, START_S, "ready")

    async def wait(self, timeout_s: float) -> int:
        """The status this life ended with; -n if signal n ended it."""
        assert self._process is not None, "it was not started"
        return await asyncio.wait_for(self._process.wait(), timeout_s)

    def said(self) -> str:
        """What this life of `dev --serve` has written for people."""
        return (self.folder / f"err-{self.lives}").read_text()

    # --- ends

    def family(self) -> list[psutil.Process]:
        """The program and all it has started."""
        return family_of(self.pid)

    async def kill9_tree(self) -> None:
        """The program and all it has started, at once."""
        await kill9(self.family())
        await self.wait(5.0)

    async def kill9_parent_only(self) -> list[psutil.Process]:
        """Returns what it had started."""
        family = self.family()
        self.send(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()
        return family[1:]

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    async def stop(self) -> int:
        """End it as an operator does. Returns its status."""
        with suppress(ProcessLookupError):
            self.send(signal.SIGTERM)
        return await self.wait(15.0)

    # --- talk

    async def threads(self) -> Threads:
        client = await temporal.connect(f"127.0.0.1:{self.temporal_port}", "default")
        return Threads(client, "everthread", "assistant")

    async def signal(self, thread: str, content: str, prompt_id: str | None = None, agent: str | None = None) -> None:
        """Send a prompt as another service does, starting the thread if need be."""
        prompt = read_prompt({"content": content} | ({"id": prompt_id} if prompt_id else {}))
        await (await self.threads()).signal(thread, prompt, ThreadStart(agent=agent))

    async def submit(self, thread: str, content: str, prompt_id: str | None = None, agent: str | None = None) -> str:
        """Send a prompt by update. Returns its id."""
        prompt = read_prompt({"content": content} | ({"id": prompt_id} if prompt_id else {}))
        return (await (await self.threads()).submit(thread, prompt, ThreadStart(agent=agent))).prompt_id

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            return await http.get(self.url + path, headers=headers)

    async def messages(self, thread: str) -> list[dict[str, Any]]:
        """All of the thread's messages, oldest first, read page by page; none if there is no such thread."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await self.get(f"/api/threads/{thread}/messages?limit=200{cursor}")
            if answer.status_code == 404:
                return []
            page = answer.raise_for_status().json()
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    async def answered(self, thread: str, prompts: int = 1, timeout_s: float = ANSWER_S) -> list[dict[str, Any]]:
        """The thread's messages once so many prompts of it are answered and none is open."""
        rows: list[dict[str, Any]] = []

        async def all_answered() -> bool:
            rows[:] = await self.messages(thread)
            statuses = [row["status"] for row in rows if row["role"] == "user"]
            return len(statuses) >= prompts and set(statuses) == {"answered"}

        await until(all_answered, timeout_s, f"{prompts} answered in {thread}", lambda: rows)
        return rows

    # --- what it recorded

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind in the logs of all lives, but for one that a kill has cut."""
        found = []
        for path in sorted((self.data / "logs").glob("everthread*.log")):
            for line in path.read_text().splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
        return [line for line in found if line["event"] == event]

    def finished(self, message_id: str) -> list[dict[str, Any]]:
        """The final transitions of a message, over all lives."""
        return [line for line in self.log("message.finished") if line["message_id"] == message_id]


async def until(
    holds: Callable[[], Awaitable[bool]], timeout_s: float, what: str, state: Callable[[], object] | None = None
) -> None:
    """Polls. Raises: TimeoutError saying what did not come to hold, and the state things were left in."""
    deadline = time.monotonic() + timeout_s
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}" + (f"; instead: {state()}" if state else ""))
        await asyncio.sleep(_POLL_S)


def family_of(pid: int) -> list[psutil.Process]:
    """The process and all it has started; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


async def kill9(processes: list[psutil.Process]) -> None:
    """All of them at once. Returns when they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    await until_gone(processes, 5.0)


async def until_gone(processes: list[psutil.Process], timeout_s: float) -> None:
    """Raises: TimeoutError naming what is left."""
    left = list(processes)

    async def gone() -> bool:
        left[:] = [process for process in processes if alive(process)]
        return not left

    await until(gone, timeout_s, "all processes gone", lambda: left)


def alive(process: psutil.Process) -> bool:
    """A zombie is not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def free_ports(count: int) -> list[int]:
    """Free ports below the range that outgoing connections are given, so that they stay free over a restart."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)
