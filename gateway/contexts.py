"""What models were shown, and what one would be shown: for whoever wonders why it said what it said."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException

from activities.ports import ContextLook, Store
from domain.context_record import ContextRecord, ContextView
from domain.errors import HookError, UnknownAgentError, UnknownThreadError
from domain.prompts import AGENT_PATTERN, MAX_NAME
from gateway.threads import ID_PATTERN

MAX_TEXT = 10_000  # characters


def contexts_of(store: Store, look: ContextLook | None) -> APIRouter:
    routes = APIRouter()

    @routes.get("/api/messages/{message_id}/context")
    async def get_context(message_id: Annotated[str, Path(pattern=ID_PATTERN)]) -> ContextView:
        """What the model was shown for an answer."""
        row = next(iter(await store.get([message_id])), None)
        if row is None:
            raise HTTPException(404, f"There is no message {message_id!r}; GET /api/threads/…/messages lists them.")
        if row.context is None:
            raise HTTPException(
                404, f"Message {message_id!r} has no record of a context; only answers of a model have."
            )
        record = ContextRecord.model_validate(row.context)
        return ContextView(thread=row.thread, message=row.id, agent=row.agent or "", record=record)

    @routes.get("/api/threads/{thread}/context")
    async def look_at(
        thread: Annotated[str, Path(max_length=MAX_NAME)],
        text: Annotated[str, Query(description="What would be said.", min_length=1, max_length=MAX_TEXT)],
        agent: Annotated[str | None, Query(description="Who would answer.", pattern=AGENT_PATTERN)] = None,
    ) -> ContextView:
        """What a model would be shown if this were said now; no model is asked, and nothing is kept."""
        if look is None:
            raise HTTPException(404, "This gateway has no worker beside it that could make a context.")
        try:
            return await look.look(thread, text, agent)
        except UnknownThreadError as error:
            raise HTTPException(404, f"{error}; GET /api/threads lists them.") from error
        except (UnknownAgentError, HookError) as error:
            raise HTTPException(422, str(error)) from error

    return routes
