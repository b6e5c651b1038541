"""Our agents as tools of other programs: what the Model Context Protocol offers at /mcp. Only loaded when somebody asks."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from activities.ports import Catalog
from client.reading import ThreadReader
from client.threads import Threads
from domain.errors import EverthreadError, HookError, UnknownAgentError
from domain.messages import Message, ThreadRecord
from domain.prompts import ThreadStart, read_prompt, read_thread_id
from domain.wishes import TurnReport

DOOR = "mcp"
PROGRESS_S = 5.0
LONGEST_WAIT_S = 3_600.0
CALLS_TOLD = 5
TEXT_CHARS = 8_000  # of a message in a page
NAMESPACE = uuid.UUID("6f1d0f0e-6a2b-4a6e-9a0c-9a6f5a7e1c55")
NOT_ANSWERED = ("failed", "refused", "withdrawn", "unknown")


class AgentEntry(BaseModel):
    name: str
    description: str


class Agents(BaseModel):
    agents: list[AgentEntry]
    default: str


class Answer(BaseModel):
    """`status` is answered, interrupted, joined (to a turn that was running), or running: then ask again, or read later."""

    thread: str
    prompt_id: str
    status: str
    text: str = ""
    hint: str | None = None


class Entry(BaseModel):
    role: str
    text: str
    status: str
    turn: int | None
    at: str
    who: str | None = None
    tool: str | None = None
    error: str | None = None


class ThreadPage(BaseModel):
    thread: str
    agent: str
    messages: list[Entry]
    next: str | None = Field(None, description="The cursor of the messages before these, if there are any.")


class Desk:
    """What the tools do, for an owner."""

    def __init__(self, threads: Threads, reader: ThreadReader, catalog: Catalog, owner: str) -> None:
        self._threads = threads
        self._reader = reader
        self._catalog = catalog
        self._owner = owner

    async def list_agents(self) -> Agents:
        """List the agents that can be asked, and which answers if none is named."""
        entries = [await self._entry(name) for name in self._catalog.names()]
        return Agents(agents=entries, default=self._catalog.default)

    async def _entry(self, name: str) -> AgentEntry:
        try:
            agent = await self._catalog.agent(name)
        except HookError:  # it is made for somebody, and nobody asks yet
            return AgentEntry(name=name, description="")
        return AgentEntry(name=name, description=agent.description)

    def _check(self, agent: str) -> None:
        """Raises: UnknownAgentError."""
        if agent not in (names := self._catalog.names()):
            raise UnknownAgentError(f"there is no agent {agent!r}; the agents are: {', '.join(names)}")

    async def ask_agent(
        self,
        context: Context,
        prompt: Annotated[str, Field(description="What to say.")],
        agent: Annotated[str | None, Field(description="Who is to answer, see list_agents.")] = None,
        thread: Annotated[
            str | None, Field(description="The thread to go on with, from an earlier answer; a new one without it.")
        ] = None,
        timeout_s: Annotated[
            float, Field(gt=0, le=LONGEST_WAIT_S, description="Seconds to wait; the agent works on after that.")
        ] = 120.0,
        prompt_id: Annotated[
            str | None, Field(description="An id of your own: the same prompt under the same id is answered once.")
        ] = None,
    ) -> Answer:
        """Ask an agent and wait for its answer. It remembers what was said on its thread.

        If the answer is not there in time the status is `running`: call again with the same prompt, thread and prompt_id
        to wait on, or look with read_thread.
        """
        prompt_id = prompt_id or str(uuid.uuid4())
        with in_words():
            if agent is not None:
                self._check(agent)
            wanted = read_prompt({"id": prompt_id, "content": prompt, "agent": agent, "must_exist": thread is not None})
            thread = read_thread_id(thread if thread is not None else _thread_of(prompt_id, prompt, agent))
            start = ThreadStart(agent=agent, owner=self._owner, metadata={"door": DOOR})
            await self._threads.submit(thread, wanted, start)
        report = await self._end(context, thread, prompt_id, timeout_s)
        if report is None:
            return _running(thread, prompt_id, await self._reader.waiting_calls(thread))
        return _answer(thread, prompt_id, report)

    async def read_thread(
        self,
        thread: Annotated[str, Field(description="The thread's id.")],
        limit: Annotated[int, Field(ge=1, le=200, description="How many messages at the most.")] = 20,
        cursor: Annotated[str | None, Field(description="The `next` of the page before.")] = None,
    ) -> ThreadPage:
        """Read what was said on a thread, with the calls of tools: its last messages, oldest first."""
        with in_words():
            record = await self._reader.thread(read_thread_id(thread))
            if record is None:
                raise ToolError(f"There is no thread {thread!r}.")
            page = await self._reader.messages(thread, cursor=cursor, limit=limit, newest_first=True)
        return _page(record, page.items[::-1], page.next)

    async def _end(self, context: Context, thread: str, prompt_id: str, timeout_s: float) -> TurnReport | None:
        """How the prompt ended; None if it has not in time. Tells meanwhile that something is being done."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ending = asyncio.create_task(self._reader.end(thread, prompt_id))
        try:
            while (left := began + timeout_s - loop.time()) > 0:
                await asyncio.wait({ending}, timeout=min(PROGRESS_S, left))
                if ending.done():
                    return ending.result()
                await context.report_progress(loop.time() - began, timeout_s, "The agent works on it.")
            return None
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)


def make_server(desk: Desk, version: str) -> MCPServer:
    """The server of the tools of a desk."""
    server = MCPServer(
        "everthread",
        title="Everthread",
        version=version,
        instructions="Durable agents: ask one with ask_agent; it goes on even if this connection is lost.",
        subscriptions=False,
    )
    reads, asks = ToolAnnotations(read_only_hint=True), ToolAnnotations(read_only_hint=False, idempotent_hint=False)
    server.add_tool(desk.list_agents, annotations=reads)
    server.add_tool(desk.ask_agent, annotations=asks)
    server.add_tool(desk.read_thread, annotations=reads)
    return server


@contextmanager
def in_words() -> Iterator[None]:
    """Raises: ToolError, which the caller's model reads, for every error of ours."""
    try:
        yield
    except EverthreadError as error:
        raise ToolError(str(error)) from error


def _thread_of(*call: str | None) -> str:
    """The same for the same call, so that one that is repeated after a loss goes to the same thread."""
    return f"{DOOR}-{uuid.uuid5(NAMESPACE, json.dumps(call))}"


def _running(thread: str, prompt_id: str, waiting: list[Message]) -> Answer:
    """`waiting` are calls that somebody must decide about: who asked may know whom to tell."""
    hint = f"Call ask_agent again with thread {thread!r}, prompt_id {prompt_id!r} and the same prompt to wait on."
    if waiting:
        calls = ", ".join(f"{row.name} ({row.call_id})" for row in waiting[:CALLS_TOLD])
        hint = f"It waits until somebody decides about what it wants to do: {calls}. {hint}"
    return Answer(thread=thread, prompt_id=prompt_id, status="running", hint=hint)


def _answer(thread: str, prompt_id: str, report: TurnReport) -> Answer:
    if report.status in NOT_ANSWERED:
        raise ToolError(f"The prompt was not answered ({report.status}): {report.error or 'no reason is known'}")
    return Answer(thread=thread, prompt_id=prompt_id, status=report.status, text=report.text or "")


def _page(record: ThreadRecord, rows: list[Message], cursor: str | None) -> ThreadPage:
    return ThreadPage(thread=record.thread, agent=record.agent, messages=[_entry(row) for row in rows], next=cursor)


def _entry(row: Message) -> Entry:
    text = row.text if len(row.text) <= TEXT_CHARS else f"{row.text[:TEXT_CHARS]}\n[cut: {len(row.text)} characters]"
    return Entry(
        role=row.role,
        text=text,
        status=row.status,
        turn=row.turn,
        at=datetime.fromtimestamp(row.created_at, UTC).isoformat(timespec="seconds"),
        who=row.author if row.role == "user" else row.agent,
        tool=row.name,
        error=row.error,
    )
