"""What a prompt says: a text, or parts of several kinds in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict

from domain.messages import describe
from domain.wire import Wire, json_size

MAX_PROMPT_BYTES = 1_000_000  # as JSON; the server takes no payload over 2 MiB
MAX_PARTS = 100
_IMAGE = re.compile(r"https?://\S+|data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]+")


class Part(Wire):
    """A text, or an image by its address (https:, http: or data:image/…;base64,…)."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "image"]
    text: str = ""
    url: str = ""


def text_of(content: str | Sequence[Part]) -> str:
    """What can be read of it, and searched."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content if part.type == "text")


def parts_of(content: str | Sequence[Part]) -> list[dict[str, Any]] | None:
    """As a message has them; None if it is just text."""
    return None if isinstance(content, str) else [part.model_dump() for part in content]


def valid_unicode(text: Any) -> Any:
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"has half a surrogate pair at position {error.start}; send whole characters") from None
    return text


def _read(value: Any) -> Any:
    if isinstance(value, list):
        value = [_part(part, f"part {number}") for number, part in enumerate(value, 1)]
        if not 1 <= len(value) <= MAX_PARTS:
            raise ValueError(f"has {len(value)} parts; send 1 to {MAX_PARTS}")
        if not any(part.url or part.text.strip() for part in value):
            raise ValueError("is empty; send some text")
    elif not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - what pydantic takes for a refusal
            'is a text or a list of parts such as {"type": "text", "text": "Hello"}, not ' + describe(value)
        )
    elif not valid_unicode(value).strip():
        raise ValueError("is empty; send some text")
    if (size := json_size(value)) > MAX_PROMPT_BYTES:
        raise ValueError(f"has {size} bytes as JSON, more than {MAX_PROMPT_BYTES}; send it in parts")
    return value


def _part(value: Any, name: str) -> Part:
    """Raises: ValueError, which names the part."""
    if isinstance(value, Part):
        return value
    kind = value.get("type") if isinstance(value, dict) else None
    field = {"text": "text", "image": "url"}.get(kind) if isinstance(kind, str) else None
    if field is None or set(value) != {"type", field} or not isinstance(value[field], str):
        forms = '{"type": "text", "text": "…"} or {"type": "image", "url": "…"}'
        raise ValueError(f"{name} is not of the form {forms}")
    try:
        valid_unicode(value[field])
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    if kind == "image" and not _IMAGE.fullmatch(value[field]):
        raise ValueError(f"{name}: an image's url begins with https:, http: or data:image/…;base64,")
    return Part.model_validate(value)


Content = Annotated[str | list[Part], BeforeValidator(_read)]
