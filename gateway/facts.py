"""Facts and working memory: listed, searched, added, forgotten, and what became of one."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from activities.facts_ports import FactMemory
from domain.errors import InputRefusedError, UnavailableError
from domain.facts import Fact, FactFilter, FactStatus, FoundFact, Learned, read_fact
from domain.memory import FactScope, Holder, Notes, NotesChange
from domain.messages import Page
from domain.prompts import MAX_NAME
from gateway.bodies import read_object
from gateway.params import Cursor, Limit
from gateway.threads import ID_PATTERN

EXAMPLE = '{"owner": "ada", "text": "User is allergic to peanuts"}'
NOTES_EXAMPLE = '{"owner": "ada", "agent": "assistant", "content": "..."}'
Equal = Annotated[str | None, Query(description="Only facts of exactly this.", max_length=MAX_NAME)]
Name = Annotated[str, Query(description="Whose it is.", max_length=MAX_NAME)]
FactId = Annotated[str, Path(pattern=ID_PATTERN)]


def facts_of(facts: FactMemory) -> APIRouter:
    routes = APIRouter()

    @routes.get("/api/facts")
    async def list_facts(
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: Equal = None,
        owner: Equal = None,
        agent: Equal = None,
        scope: Annotated[FactScope | None, Query(description="Only facts of this scope.")] = None,
        status: Annotated[FactStatus | None, Query(description="Only those that are so.")] = None,
        q: Annotated[str | None, Query(description="What to search for, of one owner.", max_length=1_000)] = None,
    ) -> Page[Fact] | Page[FoundFact]:
        """The newest first, or with `q` the nearest, of which only those that are current unless `status` says else."""
        where = FactFilter(tenant=tenant, owner=owner, agent=agent, scope=scope, status=status)
        if q is None:
            return await facts.page(where, cursor=cursor, limit=limit)
        if owner is None and scope != "tenant":
            raise InputRefusedError("owner: a search is among the facts of one owner; name it, or scope=tenant")
        where = where.model_copy(update={"tenant": tenant or "", "status": status or "current"})
        return Page[FoundFact](items=await facts.search(q, where, limit))

    @routes.post("/api/facts")
    async def add_fact(request: Request) -> Learned:
        """Remember a fact, unless it is known; see docs/memory.md for the body."""
        return await facts.remember(read_fact(await read_object(request, EXAMPLE)))

    @routes.delete("/api/facts/{fact}")
    async def forget_fact(fact: FactId) -> Fact:
        """Forget a fact: it is no longer recalled, and its history says so."""
        return _there(await facts.forget(fact), fact)

    @routes.get("/api/facts/{fact}/history")
    async def get_history(fact: FactId) -> Page[Fact]:
        """A fact, what it replaced and what replaced it, the oldest first."""
        found = await facts.history(fact)
        _there(found[0] if found else None, fact)
        return Page[Fact](items=found)

    _add_notes(routes, facts)
    return routes


def _add_notes(routes: APIRouter, facts: FactMemory) -> None:
    @routes.get("/api/notes")
    async def get_notes(owner: Name = "", agent: Name = "", tenant: Name = "") -> Notes:
        """The working memory of an owner and agent."""
        return await facts.read_notes(Holder(tenant=tenant, owner=owner, agent=agent))

    @routes.post("/api/notes")
    async def change_notes(request: Request) -> Notes:
        """Change it: `content` as a whole, or one passage by `find` and `replace`; `version` if it must be that one."""
        body = await read_object(request, NOTES_EXAMPLE)
        try:
            holder = Holder.model_validate({name: body.pop(name, "") for name in Holder.model_fields})
            change = NotesChange.model_validate(body)
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise InputRefusedError("; ".join(problems)) from None
        try:
            return await facts.change_notes(holder, change, f"api {uuid4()}")
        except UnavailableError as error:
            raise HTTPException(503, str(error)) from error


def _there(found: Fact | None, fact: str) -> Fact:
    if found is None:
        raise HTTPException(404, f"There is no fact {fact!r}; GET /api/facts lists them.")
    return found
