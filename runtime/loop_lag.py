"""Says so when the event loop stood still: everything in this process, from streams to heartbeats, stood still with it."""

from __future__ import annotations

import asyncio

import structlog

CHECK_EVERY_S = 0.1
LAG_S = 0.25

log = structlog.get_logger()


async def watch_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(CHECK_EVERY_S)
        lag = loop.time() - before - CHECK_EVERY_S
        if lag > LAG_S:
            log.warning("loop.lagged", seconds=round(lag, 3))
