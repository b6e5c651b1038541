"""What the gateway's routes have in common."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

HIDDEN = {"raw", "mcp", "context", "result", "digest", "attempt"}  # the provider's object and our own bookkeeping

Limit = Annotated[int, Query(ge=1, le=200, description="How many to give at the most.")]
Cursor = Annotated[str | None, Query(description="The `next` of the page before.", max_length=20_000)]
