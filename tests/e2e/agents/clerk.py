"""An agent whose tools are slow on purpose. Each run of one is a line in a file that outlives the worker."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from catalog.tool import tool
from domain.agent import Agent
from domain.tooling import ToolContext

FOLDER = "TEST_LEDGER"  # the environment variable that names where the lines go, and the file `go`


def begin(context: ToolContext[None]) -> Path:
    """Returns the file that lets the tool end."""
    folder = Path(os.environ[FOLDER])
    ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{context.thread} {context.tool} {context.key} {os.getpid()}\n".encode())
    os.close(ledger)
    return folder / "go"


@tool(effect="write")
async def pay(context: ToolContext[None]) -> str:
    """Pay."""
    go = begin(context)
    while not go.exists():
        await asyncio.sleep(0.05)
    return "Paid."


@tool(effect="write")
def pay_in_a_thread(context: ToolContext[None]) -> str:
    """Pay."""
    go = begin(context)
    while not go.exists():
        time.sleep(0.05)
    return "Paid."


@tool(effect="idempotent")
async def put(context: ToolContext[None]) -> str:
    """Put."""
    go = begin(context)
    while not go.exists():
        await asyncio.sleep(0.05)
    return f"Put by {os.getpid()}."


@tool(effect="write", needs_approval=True)
async def refund(context: ToolContext[None]) -> str:
    """Refund."""
    begin(context)
    return "Refunded."


clerk = Agent("clerk", description="Pays and puts.", tools=(pay, pay_in_a_thread, put, refund))
