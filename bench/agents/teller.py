"""The agent of `make chaos`: it looks, and it pays. Each payment is a line in a file that outlives the worker."""

from __future__ import annotations

import asyncio
import os

from temporalio import activity

from catalog.tool import tool
from domain.agent import Agent

LEDGER = "BENCH_LEDGER"  # the environment variable that names the file
LOOK_S, PAY_S = 0.3, 0.5


@tool(effect="read")
async def look() -> str:
    """Look around."""
    await asyncio.sleep(LOOK_S)
    return "Nothing to see."


@tool(effect="write")
async def pay() -> str:
    """Pay somebody. Two lines of one activity are a payment that was made twice."""
    info = activity.info()
    line = f"{info.workflow_id} {info.workflow_run_id} {info.activity_id}\n"
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)
    await asyncio.sleep(PAY_S)
    return "Paid."


teller = Agent(name="teller", instructions="You look and you pay.", tools=(look, pay))
