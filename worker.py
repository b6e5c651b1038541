"""The worker process: it answers the prompts of threads. Any number of them can share a Temporal and a Qdrant server.

`python worker.py` takes everything from the settings in .env.example and stops gracefully at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import structlog

from domain.errors import EverthreadError
from runtime import logs, settings, wiring

log = structlog.get_logger()


async def work(found: settings.Settings) -> None:
    mine = asyncio.current_task()
    assert mine is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, mine.cancel)  # a second one cuts the grace short
    async with wiring.working(found):
        log.info("worker.started", task_queue=found.task_queue, store=wiring.describe_store(found))
        await asyncio.Event().wait()


def main() -> int:
    """Work until told to stop; return the exit status. What goes wrong at the start is one line on stderr."""
    try:
        found = settings.load()
        logs.setup(found.log_level)
        asyncio.run(work(found))
    except (EverthreadError, settings.SettingsError) as error:
        sys.stderr.write(f"everthread worker: {error}\n")
        return 1
    except asyncio.CancelledError:
        log.info("worker.stopped")
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    raise SystemExit(main())
