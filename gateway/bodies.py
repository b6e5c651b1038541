"""What is posted to the gateway, read with care: a page of another site may post to loopback too, but not JSON."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from domain.errors import InputRefusedError

MAX_BODY = 100_000  # bytes, unless more is said


async def read_object(request: Request, example: str, most_bytes: int = MAX_BODY) -> dict[str, Any]:
    """A JSON object. Raises: HTTPException; InputRefusedError with an example of it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # what a page of another site may post unasked is not JSON
        raise HTTPException(415, f"content-type is {kind or 'missing'}; send application/json")
    size = 0
    chunks = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise HTTPException(413, f"the body has more than {most_bytes} bytes; keep large data elsewhere")
        chunks.append(chunk)
    try:
        value = from_json(b"".join(chunks))
    except ValueError as error:
        raise InputRefusedError(f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputRefusedError(f"the body is a JSON object such as {example}")
    return value
