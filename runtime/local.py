"""What runs beside us on this machine: Temporal's dev server and the local model, as children; the ports, the folder."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.children import Child, ChildError, PidFile, holder_of
from runtime.folder import lock_folder
from runtime.model_choice import ModelChoice, choose_model
from runtime.settings import Settings

START_S = 60.0
LOOPBACK = "127.0.0.1"
ROOT = Path(__file__).parent.parent  # where our modules are

# Delays under a second are kept, tenants get their share, and a thread is woken when something has happened, not up to 50 ms
# later: by default a shard looks for what is to be done 20 times a second at most (see docs/temporal.md).
DYNAMIC_CONFIG = (
    'history.timerProcessorMaxTimeShift="10ms"',
    "history.transferProcessorMaxPollRPS=500",
    "matching.enableFairness=true",
)


@dataclass(frozen=True)
class Machine:
    """Addresses of what runs; `ui` is None if Temporal is not ours."""

    temporal: str
    ui: str | None
    model: ModelChoice
    children: Sequence[Child]
    logs: Path

    async def child_ended(self) -> str:
        """The name of the first child that ends by itself."""
        if not self.children:
            await asyncio.Event().wait()
        waits = {asyncio.create_task(child.wait()): child.name for child in self.children}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[done.pop()]
        finally:
            for wait in waits:
                wait.cancel()


@asynccontextmanager
async def start(settings: Settings, *, demo: bool, say: Callable[[str], None]) -> AsyncIterator[Machine]:
    """Run the children while entered. Raises: FolderBusyError, ChildError with the remedy in one line."""
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_folder(settings.data_dir))
        pids = PidFile(settings.data_dir / "pids.json")
        if ended := await asyncio.to_thread(pids.end_leftovers):
            say(f"Ended what an earlier run left behind: {', '.join(ended)}")
        _check_ports(settings)
        choice = choose_model(settings, demo=demo)
        starts = [] if settings.temporal_address else [_start_temporal(settings, pids)]
        if choice.base_url is None:
            starts.append(_start_model(settings, choice, pids))
        say(
            "Starting Temporal"
            + (f" and {'the demo' if demo else 'the local model'} …" if choice.base_url is None else " …")
        )
        children = await asyncio.gather(*starts, return_exceptions=True)
        running = [child for child in children if isinstance(child, Child)]
        for child in running:
            stack.push_async_callback(child.stop)
        for failed in children:
            if isinstance(failed, BaseException):
                raise failed
        if choice.base_url is None:
            choice = replace(choice, base_url=running[-1].url)
        ui = None if settings.temporal_address else f"http://{LOOPBACK}:{settings.temporal_ui_port}"
        yield Machine(
            settings.temporal_address or f"{LOOPBACK}:{settings.temporal_port}",
            ui,
            choice,
            running,
            settings.data_dir / "logs",
        )


def temporal_binary() -> Path:
    """The `temporal` command that is installed beside Python."""
    return Path(sys.executable).parent / "temporal"


def _check_ports(settings: Settings) -> None:
    wanted = {"EVERTHREAD_PORT": settings.port}
    if settings.temporal_address is None:
        wanted |= {
            "EVERTHREAD_TEMPORAL_PORT": settings.temporal_port,
            "EVERTHREAD_TEMPORAL_UI_PORT": settings.temporal_ui_port,
        }
    for variable, port in wanted.items():
        if holder := holder_of(port):
            raise ChildError(f"port {port} is in use by {holder}: stop it, or set {variable} to a free port")


async def _start_temporal(settings: Settings, pids: PidFile) -> Child:
    state = settings.data_dir / "temporal.db"
    command = [str(temporal_binary()), "server", "start-dev", "--ip", LOOPBACK, "--port", str(settings.temporal_port)]
    command += ["--ui-port", str(settings.temporal_ui_port), "--ui-disable-news-fetch", "--log-level", "warn"]
    command += [
        "--db-filename",
        str(state),
        "--sqlite-pragma",
        "journal_mode=wal",
        "--sqlite-pragma",
        "synchronous=normal",
    ]
    if settings.temporal_namespace != "default":
        command += ["--namespace", settings.temporal_namespace]
    for value in DYNAMIC_CONFIG:
        command += ["--dynamic-config-value", value]

    async def listens() -> bool:
        return await _listens(settings.temporal_port)

    return await Child.start(
        "temporal", command, log_path=_log(settings, "temporal"), pids=pids, ready=listens, timeout_s=START_S
    )


async def _start_model(settings: Settings, choice: ModelChoice, pids: PidFile) -> Child:
    module = "doubles.scripted_model" if choice.kind == "demo" else "adapters.local_model"
    command = [sys.executable, "-m", module, "--port", "0"] + (["--demo"] if choice.kind == "demo" else [])
    return await Child.start(
        "model", command, log_path=_log(settings, "model"), pids=pids, ready="READY ", timeout_s=START_S, cwd=ROOT
    )


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _log(settings: Settings, name: str) -> Path:
    return settings.data_dir / "logs" / f"{name}.log"
