"""`cli.py dev`: the whole system on this machine. Worker, gateway and chat share one event loop and one store; Temporal
and the local model are children that end with this process, however it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from fastapi import FastAPI
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from catalog.live import LiveCatalog
from client.reading import ThreadReader
from client.threads import Threads
from domain.errors import EverthreadError, SetupError
from domain.messages import preview
from domain.prompts import ThreadStart, read_thread_id
from gateway.app import Health, make_app
from gateway.filter import run_filter, standard_input
from gateway.knowledge import Library
from gateway.mcp_door import McpDoor
from runtime import banner, local, logs, wiring
from runtime.children import ChildError
from runtime.folder import FolderBusyError
from runtime.loop_lag import watch_lag
from runtime.model_choice import ModelChoice
from runtime.server import serve
from runtime.settings import Settings, SettingsError, load

VERSION = "0.1.0"
OWNER = "local"  # whoever sits at this machine
DOOR = "chat"
DEMO_AGENT = "timekeeper"  # it has a tool
UNENDED_SHOWN, UNENDED_KEPT = 5, 1_000
HEALTH_TIMEOUT = timedelta(seconds=5)

log = structlog.get_logger()


@dataclass(frozen=True)
class Options:
    """What the command line asks for. `serve`: no chat, run until told to stop."""

    thread: str | None = None
    new: bool = False
    agent: str | None = None
    serve: bool = False
    demo: bool = False
    timeout_s: float = 600.0


class SignalledError(Exception):
    """A signal came before the end of the input."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"stopped by {number.name} before the end of the input; what was sent is kept")
        self.status = 128 + number


def main(options: Options) -> int:
    """Run until the chat ends or a signal comes; return the exit status. What goes wrong is one line on stderr."""
    try:
        asyncio.run(_run(options, load()))
    except (EverthreadError, ChildError, FolderBusyError, SettingsError) as error:
        sys.stderr.write(f"everthread: {error}\n")
        return 1
    except SignalledError as error:
        sys.stderr.write(f"everthread: {error}\n")
        return error.status
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; say nothing more
        return 141
    return 0


async def _run(options: Options, settings: Settings) -> None:
    thread = read_thread_id(options.thread) if options.thread is not None else None
    registry = wiring.open_catalog(settings, options.agent or (DEMO_AGENT if options.demo else None))
    try:
        logs.setup(settings.log_level, settings.data_dir / "logs" / "everthread.log")
    except OSError as error:
        raise SetupError(f"EVERTHREAD_DATA_DIR: {settings.data_dir} cannot be used: {error}") from error
    async with AsyncExitStack() as stack:
        machine = await stack.enter_async_context(local.start(settings, demo=options.demo, say=_say))
        model, choice = await wiring.open_model(settings, machine.model)
        stack.push_async_callback(model.close)
        client = await wiring.connect(settings, machine.temporal)
        opened = wiring.open_ports(settings, model, choice, registry, demo=options.demo)
        ports = await stack.enter_async_context(opened)
        threads = Threads(client, settings.task_queue, registry.default)
        worker = await stack.enter_async_context(wiring.make_worker_of(settings, client, ports))
        await wiring.keep_memory(client, settings.task_queue)
        door = McpDoor(threads, ThreadReader(ports.store, ports.events), registry, owner=OWNER, version=VERSION)
        stack.push_async_callback(door.close)
        app = _app(ports, threads, _health(client, worker, registry), door)
        try:
            await stack.enter_async_context(serve(app, settings.host, settings.port))
        except OSError as error:
            raise SetupError(f"EVERTHREAD_PORT: {settings.port} cannot be used: {error.strerror}") from error
        stack.callback(asyncio.ensure_future(watch_lag()).cancel)
        system = _System(options, settings, choice, threads, ports, machine)
        await system.go_on_with_unended()
        stopped_by = await _until_stopped(system.talk(thread), machine, system.ctrl_c)
        if stopped_by is not None and system.is_filter:
            raise SignalledError(stopped_by)


def _app(ports: wiring.Ports, threads: Threads, health: Health, door: McpDoor) -> FastAPI:
    """The gateway over all that was opened."""
    memory, knowledge, notebook = ports.memory, ports.knowledge, ports.notebook
    return make_app(
        *(ports.store, threads, health, VERSION, ports.blobs),
        doors=[door.route],
        contexts=wiring.make_looks(ports),
        facts=notebook.facts if notebook else None,
        recalls=memory.recaller if memory else None,
        index=memory.index if memory else None,
        library=Library(knowledge.store, knowledge.search, knowledge.blobs) if knowledge else None,
    )


@dataclass
class _System:
    """Everything that runs, for whoever talks."""

    options: Options
    settings: Settings
    choice: ModelChoice
    threads: Threads
    ports: wiring.Ports
    machine: local.Machine
    stop_answer: Callable[[], bool] | None = None  # once a chat is open

    def ctrl_c(self) -> bool:
        """Whether it stopped an answer, and the program goes on."""
        return self.stop_answer is not None and self.stop_answer()

    async def go_on_with_unended(self) -> None:
        """Say which turns were cut off, and make sure that each is gone on with."""
        unended = await self.ports.store.open_prompts(None, UNENDED_KEPT)
        if not unended:
            return
        _say(f"Going on with {len(unended)} cut-off turn{'s' if len(unended) > 1 else ''}:")
        for row in unended[:UNENDED_SHOWN]:
            _say(f"  {row.thread}: {preview(row.text, 60)}")
        if len(unended) > UNENDED_SHOWN:
            _say(f"  and {len(unended) - UNENDED_SHOWN} more")
        threads = dict.fromkeys(row.thread for row in unended)
        for problem in await asyncio.gather(*map(self.threads.ensure_running, threads), return_exceptions=True):
            if problem is not None:
                _say(f"  {problem}")

    @property
    def is_filter(self) -> bool:
        return not (self.options.serve or (sys.stdin.isatty() and sys.stdout.isatty()))

    async def talk(self, thread: str | None) -> None:
        if self.options.serve:
            _say(banner.banner(self._facts(None)))
            await asyncio.Event().wait()
        elif self.is_filter:
            await self._filter(thread or _new_thread())
        else:
            await self._chat(thread or await self._last_thread() or _new_thread())

    async def _chat(self, thread: str) -> None:
        facts = self._facts(thread)
        sys.stdout.write(f"\n{banner.banner(facts)}\n{banner.things_to_try(facts, thread)}\n")
        await self.threads.ensure_running(thread, self._start())  # so that all three things work at once
        from gateway.chat import Chat  # slow to load, and most starts of a service chat with nobody

        chat = Chat(self.threads, self._reader(), thread=thread, start=self._start())
        self.stop_answer = chat.stop_answer
        await chat.run()

    async def _filter(self, thread: str) -> None:
        _say(banner.banner(self._facts(thread)))
        await run_filter(
            standard_input(),
            sys.stdout,
            self.threads,
            self._reader(),
            thread=thread,
            start=self._start(),
            timeout_s=self.options.timeout_s,
            say=_say,
        )

    def _reader(self) -> ThreadReader:
        return ThreadReader(self.ports.store, self.ports.events)

    async def _last_thread(self) -> str | None:
        if self.options.new:
            return None
        page = await self.ports.store.page_threads(cursor=None, limit=20)
        agent = self.ports.catalog.default
        mine = (r.thread for r in page.items if r.metadata.get("door") == DOOR and r.agent == agent)
        return next(mine, None)

    def _start(self) -> ThreadStart:
        door = "pipe" if self.is_filter else DOOR
        return ThreadStart(agent=self.ports.catalog.default, owner=OWNER, metadata={"door": door})

    def _facts(self, thread: str | None) -> banner.Facts:
        settings = self.settings
        return banner.Facts(
            version=VERSION,
            temporal=self.machine.temporal,
            namespace=settings.temporal_namespace,
            ui=self.machine.ui,
            gateway=f"http://{settings.host}:{settings.port}",
            store=wiring.describe_store(settings),
            model=self.choice.name or "",
            model_reason=self.choice.reason,
            embedding=wiring.describe_embedding(self.ports),
            agent=self.ports.catalog.default,
            agents=self.ports.catalog.names(),
            thread=thread,
            pid=os.getpid(),
            temporal_binary=str(local.temporal_binary()),
            logs=str(settings.data_dir / "logs"),
        )


def _health(client: Client, worker: Worker, found: LiveCatalog) -> Any:
    async def health() -> dict[str, Any]:
        try:
            reachable = await client.service_client.check_health(timeout=HEALTH_TIMEOUT)
        except RPCError:
            reachable = False
        parts = {"temporal": reachable, "worker": worker.is_running}
        broken = {"catalog": dict(found.problems)} if found.problems else {}  # the last good versions answer
        return {"status": "ok" if all(parts.values()) else "down", "version": VERSION} | parts | broken

    return health


async def _until_stopped(
    talk: Coroutine[Any, Any, None], machine: local.Machine, ctrl_c: Callable[[], bool]
) -> signal.Signals | None:
    """Until the talk ends, a signal comes, which is returned, or a child is lost. Raises: ChildError if it was a child."""
    loop = asyncio.get_running_loop()
    signalled: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not signalled.done() and not (number is signal.SIGINT and ctrl_c()):
            signalled.set_result(number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    talking = asyncio.create_task(talk)
    lost = asyncio.create_task(machine.child_ended())
    tasks = (talking, signalled, lost)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            await talking
        elif lost.done():
            raise ChildError(f"{lost.result()} ended by itself; its log is in {machine.logs}")
        else:
            return signalled.result()
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _new_thread() -> str:
    return f"{DOOR}-{uuid.uuid4().hex[:8]}"


def _say(text: str) -> None:
    """For people: standard output is the filter's."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
