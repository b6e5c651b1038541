"""Documents as they are handed in, and what is wrong with those that are not taken."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from domain.errors import InputRefusedError
from domain.knowledge import LONGEST_KEY, Document, Media, Name, Value, content_digest, version_of
from domain.messages import describe, preview
from domain.prompts import read_as

MAX_BYTES = 20_000_000  # of a document
MAX_FILTERS = 20
MAX_METADATA_BYTES = 10_000  # as JSON
EXAMPLE = '{"key": "handbook.md", "text": "# Handbook …"}'
SUFFIXES: dict[str, Media] = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".pdf": "application/pdf",
}


class DocumentInput(BaseModel):
    """A document as JSON: its content is either a `text`, or `content` in base64."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    content: str | None = None
    media: str | None = None  # told by the content and the key if it is not said
    key: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY)] | None = None
    title: str = Field("", max_length=500)
    source: str = Field("", max_length=2_000)
    importance: float = Field(1.0, ge=0.0, le=1.0)
    filters: dict[Name, Value] = Field(default_factory=dict, max_length=MAX_FILTERS)
    metadata: dict[str, Any] = Field(default_factory=dict)
    callback: Annotated[str, Field(pattern=r"^https?://[\x21-\x7e]+$", max_length=2000)] | None = None
    tenant: str = Field("", max_length=200)


def read_document(value: Any, namespace: str, now: float) -> tuple[Document, bytes]:
    """A document that is not kept yet, without an id, and its content. Raises: InputRefusedError."""
    given = read_as(DocumentInput, value, "a document", EXAMPLE)
    content = _content(given)
    if not content.strip():
        raise InputRefusedError("document: it has no content; give a text, or content in base64")
    if len(content) > MAX_BYTES:
        raise InputRefusedError(
            f"document: it has {len(content)} bytes, and {MAX_BYTES} are the most; split it and add the parts"
        )
    if len(str(given.metadata)) > MAX_METADATA_BYTES:
        raise InputRefusedError(
            f"document: metadata has more than {MAX_METADATA_BYTES} characters; leave some of it out"
        )
    digest = content_digest(content)
    document = Document(
        id="",
        version="",
        namespace=namespace,
        key=given.key or digest,  # without a key, the same content is the same document
        digest=digest,
        bytes=len(content),
        media=_media(given, content),
        created_at=now,
        updated_at=now,
        **given.model_dump(include={"tenant", "title", "source", "importance", "filters", "metadata", "callback"}),
    )
    return document.model_copy(update={"version": version_of(document)}), content


def media_of(name: str) -> Media | None:
    """By the end of a file's name; None if it is none that we read."""
    return next((media for suffix, media in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def _content(given: DocumentInput) -> bytes:
    if (given.text is None) is (given.content is None):
        raise InputRefusedError("document: give either text or content (base64), one of the two")
    if given.text is not None:
        return given.text.encode("utf-8", "replace")
    try:
        return base64.b64decode(given.content or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputRefusedError(f"document: content {describe(given.content)} is no base64: {error}") from None


def _media(given: DocumentInput, content: bytes) -> str:
    found = given.media or ("application/pdf" if content.startswith(b"%PDF-") else None)
    found = found or media_of(given.key or "") or media_of(given.source) or "text/plain"
    if found not in get_args(Media):
        known = ", ".join(get_args(Media))
        raise InputRefusedError(f"document: media {preview(ascii(found), 60)} is not read; the kinds are {known}")
    if found == "application/pdf" and given.text is not None:
        raise InputRefusedError("document: media application/pdf is not a text; give content in base64")
    return found
