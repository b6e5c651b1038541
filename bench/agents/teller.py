"""The agent of `make chaos`: it looks, it pays, and it vouches, which somebody has to approve. Each payment and each vouching
is a line in a file that outlives the worker.
"""

from __future__ import annotations

import asyncio
import os

from temporalio import activity

from catalog.tool import tool
from domain.agent import Agent
from domain.tooling import ToolContext

LEDGER = "BENCH_LEDGER"  # the environment variable that names the file
VOUCHED = "vouched"
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
    _note(f"{info.workflow_id} {info.workflow_run_id} {info.activity_id}")
    await asyncio.sleep(PAY_S)
    return "Paid."


@tool(effect="write", needs_approval=True)
async def vouch(context: ToolContext[None]) -> str:
    """Vouch for somebody. Two lines of one call are a vouching that was made twice."""
    _note(f"thread/{context.thread} {VOUCHED} {context.key}")
    await asyncio.sleep(PAY_S)
    return "Vouched."


def _note(line: str) -> None:
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(ledger, f"{line}\n".encode())
    finally:
        os.close(ledger)


teller = Agent(name="teller", instructions="You look, you pay and you vouch.", tools=(look, pay, vouch))
