"""Knowledge over a gateway that runs: documents are imported, listed, deleted, searched."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from client.gateway import MOST, Gateway
from domain.documents import MAX_BYTES, media_of
from domain.errors import InputRefusedError
from domain.knowledge import Document, KnowledgeFound
from domain.messages import Page

UPLOAD_S = 120.0


class Counts(BaseModel):
    """Documents by their state."""

    pending: int = 0
    ready: int = 0
    replaced: int = 0
    failed: int = 0


class Deleted(BaseModel):
    deleted: int


@dataclass(frozen=True)
class File:
    """A file to be imported. `key` is its path below what was named, with / on every system."""

    path: Path
    key: str


@dataclass(frozen=True)
class Terms:
    """What is said of all documents of an import."""

    importance: float = 1.0
    filters: dict[str, str] = field(default_factory=dict)
    callback: str | None = None


class Shelf:
    """One namespace of one tenant."""

    def __init__(self, gateway: Gateway, namespace: str, tenant: str = "") -> None:
        self._gateway = gateway
        self._path = f"/api/knowledge/{quote(namespace, safe='')}"
        self._tenant = tenant

    async def known(self) -> dict[str, Document]:
        """What is there or on its way, by key."""
        found: dict[str, Document] = {}
        for status in ("ready", "pending"):  # what waits is newer
            cursor: str | None = None
            while True:
                page = await self.documents(status, cursor=cursor)
                found |= {document.key: document for document in reversed(page.items)}
                if (cursor := page.next) is None:
                    break
        return found

    async def documents(
        self, status: str | None = None, *, key: str | None = None, cursor: str | None = None, limit: int = MOST
    ) -> Page[Document]:
        """Newest first. Raises: InputRefusedError; UnavailableError."""
        wanted = self._wanted(status=status, key=key, cursor=cursor, limit=min(limit, MOST))
        return await self._gateway.ask(Page[Document], "GET", f"{self._path}/documents", wanted)

    async def add(self, file: File, content: bytes, terms: Terms) -> Document:
        body = {
            "key": file.key,
            "source": file.key,
            "content": base64.b64encode(content).decode(),
            "media": media_of(file.key),
            "importance": terms.importance,
            "filters": terms.filters,
            "callback": terms.callback,
            "tenant": self._tenant,
        }
        path = f"{self._path}/documents"
        return await self._gateway.ask(Document, "POST", path, {}, body, timeout_s=UPLOAD_S)

    async def status(self) -> Counts:
        return await self._gateway.ask(Counts, "GET", f"{self._path}/status", self._wanted())

    async def delete(self, key: str | None) -> int:
        """By key, or all."""
        wanted = self._wanted(key=key, all=None if key is not None else "true")
        return (await self._gateway.ask(Deleted, "DELETE", f"{self._path}/documents", wanted)).deleted

    async def search(self, text: str, *, limit: int, filters: Sequence[str], **fields: Any) -> KnowledgeFound:
        wanted = self._wanted(q=text, limit=limit, filter=list(filters) or None, **fields)
        return await self._gateway.ask(KnowledgeFound, "GET", f"{self._path}/search", wanted)

    def _wanted(self, **fields: Any) -> dict[str, Any]:
        return {"tenant": self._tenant or None} | fields


def files_of(paths: Sequence[Path]) -> tuple[list[File], int]:
    """The files to be read below the paths, in order, and how many are of no kind that is read.

    Raises: InputRefusedError if a path is not there, or is a file of no such kind.
    """
    found: dict[str, File] = {}
    others = 0
    for path in paths:
        if not path.exists():
            raise InputRefusedError(f"{path} is not there; name files or folders")
        if path.is_file() and media_of(path.name) is None:
            raise InputRefusedError(f"{path} is of no kind that is read; those are .txt, .md and .pdf")
        for file in _below(path):
            if media_of(file.path.name) is None:
                others += 1
            else:
                found[file.key] = file
    return [found[key] for key in sorted(found)], others


def is_there(known: Document | None, content: bytes, terms: Terms) -> bool:
    """Whether the import would bring nothing new, without sending it."""
    if known is None:
        return False
    said = (known.importance, known.filters) == (terms.importance, terms.filters)
    return said and known.digest == hashlib.sha256(content).hexdigest()


def content_of(file: File) -> bytes:
    """Raises: InputRefusedError, OSError."""
    size = file.path.stat().st_size
    if size > MAX_BYTES:
        raise InputRefusedError(f"{file.key} has {size:,} bytes, and {MAX_BYTES:,} are the most: split it")
    return file.path.read_bytes()


def _below(path: Path) -> Iterator[File]:
    if path.is_file():
        yield File(path, path.name)
        return
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                file = Path(folder, name)
                yield File(file, file.relative_to(path).as_posix())
