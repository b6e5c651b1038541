"""The tools of an agent's MCP servers. A turn keeps the list that it began with, whatever the servers or a deploy say later.

The list is recorded on the answer of the turn's first step, and with each call what is needed to run it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from activities.ports import EventLog, Store, ToolServers
from activities.results import READ_RESULT
from activities.step import Step
from domain import ids
from domain.agent import Agent, Tool
from domain.errors import ServerAwayError, ServerLostError, ToolError
from domain.mcp import ListedTool, Listing, McpServer, ServerResult, ServerTool, listed
from domain.messages import Message, mend_text, preview
from domain.steps import ToolRequest

REASON_CHARS = 300

log = structlog.get_logger()


class NoServers:
    """activities.ports.ToolServers of a process that reaches none."""

    async def tools(self, server: McpServer) -> list[ServerTool]:
        raise ServerAwayError(f"this process reaches no MCP servers, so not {server.name!r}")

    async def call(self, server: McpServer, *_: Any) -> ServerResult:
        raise ServerAwayError(f"this process reaches no MCP servers, so not {server.name!r}")


class ServedTools:
    """What agents have of their servers, over the ports it is given."""

    def __init__(self, store: Store, events: EventLog, servers: ToolServers) -> None:
        self._store = store
        self._events = events
        self._servers = servers

    async def equip(self, step: Step, running: Sequence[Message]) -> None:
        """Give the step's agent its servers' tools: those that the turn was offered, else those that they offer now.

        A server that is away is done without.
        """
        agent = step.agent
        if not agent.mcp:
            return
        step.listing = _recorded(running, step.request.agent)
        if step.listing is None:
            step.listing = await self._list(step, agent)
            step.listed_now = True
        tools = [self._tool(agent, tool) for tool in step.listing.tools]
        step.agent = replace(agent, tools=(*agent.tools, *tools))

    async def recorded(self, agent: Agent, request: ToolRequest) -> Tool | None:
        """The tool as it was offered to the answer that called it; None if it is none of a server's."""
        if not agent.mcp and agent.tool(request.call.tool) is not None:
            return None
        place = {"branch": request.branch, "step": request.step}
        answers = await self._store.get([ids.message_id(request.thread, request.prompt_id, "answer", **place)])
        tools = (Listing.model_validate(row.mcp).tool(request.call.tool) for row in answers if row.mcp)
        return next((self._tool(agent, tool) for tool in tools if tool), None)

    async def _list(self, step: Step, agent: Agent) -> Listing:
        answers = await asyncio.gather(*(self._ask(server) for server in agent.mcp))
        listing, taken = Listing(), {READ_RESULT, *(tool.name for tool in agent.tools)}
        for server, answer in zip(agent.mcp, answers, strict=True):
            if isinstance(answer, str):
                listing.away[server.name] = answer
                await self._tell_away(step, server, answer)
                continue
            tools = listed(server, answer, taken)
            taken |= {tool.name for tool in tools}
            listing.tools += tools
        return listing

    async def _ask(self, server: McpServer) -> list[ServerTool] | str:
        try:
            return await self._servers.tools(server)
        except ServerAwayError as error:
            return preview(str(error), REASON_CHARS)

    async def _tell_away(self, step: Step, server: McpServer, reason: str) -> None:
        log.warning("server.missed", server=server.name, agent=step.agent.name, error=reason)
        data = {"turn": step.request.turn, "server": server.name, "error": reason}
        await self._events.publish(step.request.thread, "server.away", data)

    def _tool(self, agent: Agent, tool: ListedTool) -> Tool:
        server = next((server for server in agent.mcp if server.name == tool.server), None)

        async def call(**arguments: Any) -> str:
            if server is None:
                raise ToolError(f"The server of this tool, {tool.server!r}, is no longer there.")
            return await self._call(server, tool, arguments)

        return Tool(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            parse=_parse,
            function=call,
            effect=tool.effect,
            timeout_s=tool.timeout_s,
            needs_approval=tool.approve,
        )

    async def _call(self, server: McpServer, tool: ListedTool, arguments: dict[str, Any]) -> str:
        """Raises: ToolError in words for the model."""
        try:
            result = await self._servers.call(server, tool.tool, arguments)
        except ServerAwayError as error:
            raise ToolError(f"The server of this tool cannot be reached, so nothing was done: {error}") from error
        except ServerLostError as error:
            unknown = " The outcome is unknown: it may have happened." if tool.effect == "write" else ""
            raise ToolError(f"The server of this tool was lost during the call: {error}.{unknown}") from error
        if result.failed:
            raise ToolError(result.text or "The tool failed and does not say why.")
        return result.text


def _recorded(running: Sequence[Message], agent: str) -> Listing | None:
    """What the turn was offered before; of an agent of its own, since a turn may be handed on to another."""
    for row in running:
        if row.mcp and row.agent == agent and row.mcp.get("whole", True):
            return Listing.model_validate(row.mcp)
    return None


def _parse(text: str) -> dict[str, Any]:
    """The arguments; whether they fit is the server's to say. Raises: ValueError."""
    try:
        values = json.loads(mend_text(text).strip() or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"arguments: Invalid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError("arguments: Input should be an object")  # noqa: TRY004 - as every fault of the arguments
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
