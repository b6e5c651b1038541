"""Agents and tools for tests, in the place of a user's catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from catalog.agent_tool import agent_tool
from catalog.tool import outside_tool, tool
from domain.agent import Agent, Tool
from domain.routing import RouteInfo


class Workbench:
    """Tools that remember how often they ran. `hold` waits until `release`."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, Any]] = []
        self.routed: list[RouteInfo] = []
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    def agents(self) -> list[Agent]:
        tools = self.tools()
        return [
            Agent("assistant", instructions="Be brief."),
            Agent("poet", instructions="Rhyme."),
            Agent("pushy", instructions="The last word counts.", busy_mode="interrupt"),
            Agent("helper", instructions="Use tools.", tools=tools),
            Agent("hasty", instructions="Two steps.", tools=tools, max_steps=2),
            Agent("cashier", instructions="Ask first.", tools=(*tools, *self.gated())),
            *self._who_ask(),
        ]

    def route(self, info: RouteInfo) -> str | None:
        """To the agent whose name the prompt begins with, if it is followed by a colon."""
        self.routed.append(info)
        if info.prompt.startswith("fail:"):
            raise LookupError("no map")
        name, _, rest = info.prompt.partition(":")
        return name if rest else None

    def _who_ask(self) -> list[Agent]:
        """Agents that ask others; `mirror` asks itself."""
        asks = [agent_tool(name, description=f"Asks {name}.") for name in ("poet", "helper", "mirror")]
        notes = [
            agent_tool(name, description="Takes notes.", name=f"note_{name}", thread="notes")
            for name in ("poet", "assistant")
        ]
        quick = agent_tool("poet", description="In no time.", name="ask_quickly", timeout_s=0.5)
        return [
            Agent("lead", instructions="Ask others.", tools=(*asks, *notes, quick)),
            Agent("router", instructions="You route.", route=self.route),
            Agent("desk", instructions="You are the desk.", tools=self.tools()[:3], handoffs=("poet", "cash.ier")),
            Agent("cash.ier", "You cash.", "Takes money.", tools=self.tools()[3:4], handoffs=("desk",)),
            Agent("mirror", instructions="Ask yourself.", tools=(asks[2],)),
        ]

    def tools(self) -> tuple[Tool, ...]:
        functions: list[tuple[Callable[..., Any], dict[str, Any]]] = [
            (self._look, {"effect": "read", "name": "look"}),
            (self._sync, {"effect": "read", "name": "sync"}),
            (self._hold, {"effect": "read", "name": "hold"}),
            (self._pay, {"effect": "write", "name": "pay"}),
            (self._put, {"effect": "idempotent", "name": "put"}),
            (self._fail, {"effect": "read", "name": "fail"}),
            (self._exit, {"effect": "read", "name": "exit"}),
            (self._flood, {"effect": "read", "name": "flood"}),
            (self._sleep, {"effect": "read", "name": "sleep", "timeout_s": 0.1}),
        ]
        return tuple(tool(**options)(function) for function, options in functions)

    def gated(self) -> tuple[Tool, ...]:
        """Tools whose calls wait for somebody."""
        return (
            tool(name="refund", needs_approval=True)(self._refund),
            tool(name="spend", needs_approval=lambda arguments: arguments["amount"] > 100)(self._spend),
            outside_tool("measure", "Let somebody measure something.", {"type": "object", "properties": {}}),
        )

    async def _refund(self, amount: int) -> str:
        """Give money back."""
        self.ran.append(("refund", amount))
        return f"Refunded {amount}."

    async def _spend(self, amount: int) -> str:
        """Spend money."""
        self.ran.append(("spend", amount))
        return f"Spent {amount}."

    async def _look(self, what: str = "around") -> str:
        """Look at something."""
        self.ran.append(("look", what))
        return f"I see {what}."

    def _sync(self, number: int) -> dict[str, int]:
        """Work in a thread of its own."""
        self.ran.append(("sync", number))
        return {"number": number}

    async def _hold(self) -> str:
        """Wait for the test."""
        self.ran.append(("hold", None))
        await self._released.wait()
        return "Released."

    async def _pay(self, amount: int) -> str:
        """Pay somebody."""
        self.ran.append(("pay", amount))
        return f"Paid {amount}."

    async def _put(self, value: str = "x") -> str:
        """Put a value."""
        self.ran.append(("put", value))
        return f"Put {value}."

    async def _fail(self) -> str:
        """Fail."""
        self.ran.append(("fail", None))
        raise LookupError("the drawer is empty\ud83d")

    def _exit(self) -> str:
        """End the program, as command line libraries like to do."""
        raise SystemExit(2)

    async def _flood(self, size: int = 5_000_000) -> str:
        """Say too much: so many characters."""
        return "x" * size

    async def _sleep(self) -> str:
        """Take too long."""
        self.ran.append(("sleep", None))
        await asyncio.sleep(60)
        return "never"
