"""What activities need from the world. Adapters fit these shapes; nothing here connects to anything."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from domain.agent import Agent
from domain.events import Event, EventKind
from domain.listing import ALL_THREADS, ThreadFilter
from domain.mcp import McpServer, ServerResult, ServerTool
from domain.messages import Message, Page, ThreadRecord
from domain.model import Completion, ModelRequest, TextDelta


class Store(Protocol):
    """Messages and records. Every write is an insert that never overwrites, or an update that a fence may refuse.

    Only `get` gives rows whole; all others leave out `raw`, the provider's object, and `mcp`.
    """

    async def insert(self, messages: Sequence[Message]) -> None:
        """Create the rows that do not exist yet; leave those that do as they are."""

    async def get(self, message_ids: Sequence[str]) -> list[Message]:
        """The rows that exist, in the order asked for."""

    async def amend(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        """Change a row if it is pending and no later attempt holds it, and take hold of it; return the row as it is now.

        The caller won if the returned row has its `attempt`. Returns None if there is no such row: an update never
        brings back what was deleted.
        """

    async def reopen(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        """Change a row if it is final and no later attempt holds it, and take hold of it; return the row as it is now.

        `changes` make it pending again. Returns None if there is no such row.
        """

    async def annotate(self, message_id: str, changes: dict[str, Any]) -> None:
        """Change fields of a row, whatever its status, that no turn writes (`delivery`); nothing if there is no such row."""

    async def history(self, thread: str, before_seq: int, limit: int) -> list[Message]:
        """The last `limit` ended rows before a place in the thread, oldest first, with what a context is made of."""

    async def page(self, thread: str, *, cursor: str | None, limit: int, newest_first: bool) -> Page[Message]:
        """Some of a thread's rows in order. Raises: InputRefusedError if the cursor is not one of ours."""

    async def open_prompts(self, thread: str | None, limit: int) -> list[Message]:
        """Prompts accepted but not ended, of one thread or of all, in order."""

    async def recent_prompts(self, thread: str, limit: int) -> list[Message]:
        """The last `limit` prompts of a thread that were not refused, oldest first."""

    async def insert_thread(self, record: ThreadRecord) -> ThreadRecord:
        """Create the record unless it exists; return the one that is there."""

    async def get_thread(self, thread: str) -> ThreadRecord | None: ...

    async def open_epoch(self, thread: str, epoch: int, run_id: str) -> ThreadRecord:
        """Make `epoch + 1` the thread's epoch, held by `run_id`, if it is still `epoch`; return what is there now."""

    async def end_turn(self, thread: str, turn: int, changes: dict[str, Any]) -> None:
        """Change the thread's record if no later turn has ended."""

    async def page_threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None, limit: int
    ) -> Page[ThreadRecord]:
        """Threads by last activity, newest first. Raises: InputRefusedError if the cursor is not one of ours."""

    async def save_checkpoint(self, thread: str, epoch: int, turn: int, state: dict[str, Any]) -> None:
        """Keep the thread's private state unless a later one is kept."""

    async def load_checkpoint(self, thread: str) -> dict[str, Any] | None: ...


class EventLog(Protocol):
    """Live events of threads, see domain.events."""

    async def publish(self, thread: str, kind: EventKind, data: dict[str, Any]) -> None: ...

    def follow(self, thread: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Events as they come, for ever; a `snapshot` first unless `after` can be continued without a gap."""


class ChatModel(Protocol):
    """A chat model behind an OpenAI-compatible endpoint."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[TextDelta | Completion, None]:
        """Text deltas, then exactly one Completion; closing the generator ends the call.

        Raises: ModelUnavailableError if the same call may succeed later; ModelRefusedError if not.
        """


class Catalog(Protocol):
    """The agents a user has defined."""

    @property
    def default(self) -> str:
        """The agent of threads that name none."""

    def agent(self, name: str) -> Agent:
        """Raises: UnknownAgentError if there is none of that name."""

    def names(self) -> list[str]: ...


class ToolServers(Protocol):
    """Servers that speak the Model Context Protocol."""

    async def tools(self, server: McpServer) -> list[ServerTool]:
        """What the server offers now. Raises: ServerAwayError if it cannot be asked, or does not answer in time."""

    async def call(self, server: McpServer, tool: str, arguments: dict[str, Any]) -> ServerResult:
        """What the tool gives; takes as long as it takes, and is given up by cancelling it.

        Raises: ServerAwayError if nothing has happened; ServerLostError if something may have; ToolError with the
        server's own words if it refuses.
        """


class Webhooks(Protocol):
    """Posts to the web addresses of others, signed so that they know who sent it."""

    async def post(self, url: str, message_id: str, body: bytes) -> None:
        """Post JSON; the same `message_id` is the same message.

        Raises: DeliveryFailedError if a later try may do; DeliveryRefusedError if not.
        """
