"""Lists over a gateway that runs, for programs that have no store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from domain import ids
from domain.context_record import ContextView
from domain.errors import InputRefusedError, UnavailableError
from domain.facts import Fact, FactFilter, FoundFact, Learned
from domain.listing import ALL_THREADS, CallFilter, ThreadFilter
from domain.memory import Notes
from domain.messages import Message, Page, ThreadRecord
from domain.recall import IndexStatus, Recalled

TIMEOUT_S = 10.0
MOST = 200  # items a page

P = TypeVar("P", bound=BaseModel)


class Gateway:
    """The gateway at a base address, such as http://127.0.0.1:8800."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None = None, limit: int = MOST
    ) -> Page[ThreadRecord]:
        """Some threads by last activity, newest first, at most 200. Raises: InputRefusedError; UnavailableError."""
        wanted = {"cursor": cursor, "limit": min(limit, MOST)} | where.model_dump()
        return await self._get(Page[ThreadRecord], "/api/threads", wanted)

    async def messages(
        self, thread: str, *, cursor: str | None = None, limit: int = MOST, newest_first: bool = False
    ) -> Page[Message]:
        """Some of a thread's messages in order, at most 200. Raises: InputRefusedError; UnavailableError."""
        wanted = {"cursor": cursor, "limit": min(limit, MOST), "order": "desc" if newest_first else "asc"}
        return await self._get(Page[Message], f"/api/threads/{quote(thread, safe='')}/messages", wanted)

    async def answer_to(self, thread: str, prompt_id: str) -> Message | None:
        """The row of the last answer to one of the last prompts. Raises: InputRefusedError; UnavailableError."""
        rows = {row.id: row for row in (await self.messages(thread, newest_first=True)).items}
        prompt = rows.get(ids.message_id(thread, prompt_id, "prompt"))
        if prompt is not None and prompt.joins is not None:
            prompt = rows.get(ids.message_id(thread, prompt.joins, "prompt"))
        return rows.get(prompt.answer or "") if prompt is not None else None

    async def calls(self, where: CallFilter, *, cursor: str | None = None, limit: int = MOST) -> Page[Message]:
        """Some of the calls that wait for somebody, the oldest first, at most 200. Raises: as `messages`."""
        wanted = {"cursor": cursor, "limit": min(limit, MOST)} | where.model_dump()
        return await self._get(Page[Message], "/api/calls", wanted)

    async def facts(self, where: FactFilter, *, cursor: str | None = None, limit: int = MOST) -> Page[Fact]:
        """Some facts, the newest first, at most 200. Raises: as `messages`."""
        wanted = {"cursor": cursor, "limit": min(limit, MOST)} | _asked(where)
        return await self._get(Page[Fact], "/api/facts", wanted)

    async def search_facts(self, text: str, where: FactFilter, *, limit: int = 10) -> Page[FoundFact]:
        """The nearest, best first. Raises: as `messages`."""
        return await self._get(Page[FoundFact], "/api/facts", {"q": text, "limit": min(limit, MOST)} | _asked(where))

    async def add_fact(self, fields: dict[str, Any]) -> Learned:
        """See domain.facts.AddedFact. Raises: as `messages`."""
        return await self.ask(Learned, "POST", "/api/facts", {}, fields)

    async def forget_fact(self, fact: str) -> Fact:
        """Raises: as `messages`."""
        return await self.ask(Fact, "DELETE", f"/api/facts/{quote(fact, safe='')}", {})

    async def fact_history(self, fact: str) -> Page[Fact]:
        """Raises: as `messages`."""
        return await self._get(Page[Fact], f"/api/facts/{quote(fact, safe='')}/history", {})

    async def notes(self, whose: dict[str, str]) -> Notes:
        """The working memory of a tenant, owner and agent. Raises: as `messages`."""
        return await self._get(Notes, "/api/notes", whose)

    async def write_notes(self, fields: dict[str, Any]) -> Notes:
        """Whose it is, and a domain.memory.NotesChange. Raises: as `messages`."""
        return await self.ask(Notes, "POST", "/api/notes", {}, fields)

    async def context(self, message_id: str) -> ContextView:
        """What the model was shown for an answer. Raises: as `messages`."""
        return await self._get(ContextView, f"/api/messages/{quote(message_id, safe='')}/context", {})

    async def look(self, thread: str, text: str, agent: str | None = None) -> ContextView:
        """What a model would be shown if the text were said on the thread now. Raises: as `messages`."""
        wanted = {"text": text, "agent": agent}
        return await self._get(ContextView, f"/api/threads/{quote(thread, safe='')}/context", wanted)

    async def search(self, wanted: dict[str, Any]) -> Recalled:
        """What a text reminds of, see domain.recall. Raises: as `messages`."""
        return await self._get(Recalled, "/api/memory/search", wanted)

    async def index_status(self) -> IndexStatus:
        """How far the index is. Raises: as `messages`."""
        return await self._get(IndexStatus, "/api/memory", {})

    async def _get(self, kind: type[P], path: str, wanted: dict[str, Any]) -> P:
        return await self.ask(kind, "GET", path, wanted)

    async def ask(
        self,
        kind: type[P],
        method: str,
        path: str,
        wanted: Mapping[str, Any],
        body: Any = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> P:
        """What a route answers; `body` is sent as JSON. Raises: InputRefusedError; UnavailableError."""
        import httpx2  # slow to load, and most commands need none of it

        query = {name: value for name, value in wanted.items() if value is not None}
        sent = {"json": body} if body is not None else {}
        verify = self.url.startswith("https:")  # else the certificates would be read for nothing, at each call
        try:
            async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=timeout_s, verify=verify) as http:
                response = await http.request(method, path, params=query, **sent)
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"no gateway answers at {self.url}: start it with `make run`, or see EVERTHREAD_HOST and EVERTHREAD_PORT"
            ) from error
        if response.headers.get("content-type") == "application/problem+json" and response.status_code < 500:
            raise InputRefusedError(str(response.json().get("detail")))
        try:
            response.raise_for_status()
            return kind.model_validate_json(response.content)
        except (httpx2.HTTPStatusError, ValidationError) as error:
            raise UnavailableError(
                f"what runs at {self.url} does not answer as our gateway does: {response.status_code}; "
                "see EVERTHREAD_HOST and EVERTHREAD_PORT"
            ) from error


def _asked(where: FactFilter) -> dict[str, Any]:
    return where.model_dump(include={"tenant", "owner", "agent", "scope", "status"})
