"""What was said, found by what it is about; and how far the index of it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from activities.ports import MessageIndex, Recalls
from domain.errors import InputRefusedError
from domain.prompts import MAX_NAME
from domain.recall import LONGEST_QUERY, MOST_AROUND, MOST_HITS, IndexStatus, Recalled, RecallQuery, Role, Scope
from gateway.params import HIDDEN

Name = Annotated[str | None, Query(max_length=MAX_NAME)]
Around = Annotated[int, Query(ge=0, le=MOST_AROUND, description="Turns beside each hit that are given too.")]
Time = Annotated[float | None, Query(ge=0, description="Seconds since 1970.")]
UNSCOPED = "owner, thread: name one of them: a search is of one owner's messages, or of one thread's"


def memory_of(recalls: Recalls | None, index: MessageIndex | None) -> APIRouter:
    routes = APIRouter()

    @routes.get("/api/memory/search", response_model_exclude={"hits": {"__all__": {"message": HIDDEN}}})
    async def search(
        text: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY, description="What to search for.")],
        owner: Name = None,
        thread: Name = None,
        tenant: Annotated[str, Query(max_length=MAX_NAME)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_HITS)] = 10,
        least_score: Annotated[float, Query(ge=0, le=1, description="Of 0 to 1, the best hit having 1.")] = 0.0,
        role: Annotated[list[Role] | None, Query(description="Only what they said.")] = None,
        agent: Annotated[list[str] | None, Query(description="Only what these agents said or were asked.")] = None,
        after: Time = None,
        before: Time = None,
    ) -> Recalled:
        """Messages that the text reminds of, best first, with their scores."""
        if recalls is None:
            raise HTTPException(404, "This gateway has no memory beside it that could be searched.")
        if owner is None and thread is None:
            raise InputRefusedError(UNSCOPED)
        scope = Scope(
            tenant=tenant,
            owner=owner,
            thread=thread,
            roles=role or [],
            agents=agent or [],
            after=after,
            before=before,
        )
        return await recalls.recall(RecallQuery(text=text, scope=scope, limit=limit, least_score=least_score))

    @routes.get("/api/memory")
    async def status() -> IndexStatus:
        """How much is in the index, how much is due, and which vectors are searched."""
        if index is None:
            raise HTTPException(404, "This gateway has no memory beside it.")
        state = await index.state()
        return IndexStatus(done=await index.count_done(), due=await index.count_due(), state=state)

    return routes
