"""Knowledge: documents that agents look things up in, cut into chunks, each in a namespace of one tenant.

A namespace holds one version of a document under its key. Another version takes the place of the one that is there once
it is ready, and not before; the same version again is nothing new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from domain import ids

MOST_HITS = 50
LONGEST_QUERY = 10_000  # characters that are searched for; the rest of a longer text is left out
MOST_AROUND = 5  # chunks before or after a hit
LONGEST_KEY, LONGEST_NAME = 500, 100

Media = Literal["text/plain", "text/markdown", "application/pdf"]
# Stored as text, so that a row of a newer release does not stop an older one: pending, ready, replaced, failed.
State = str
STATES = ("pending", "ready", "replaced", "failed")
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]  # of a namespace, or of a filter
Value = Annotated[str, StringConstraints(max_length=200)]


class Document(BaseModel):
    """What is known of one version of a document; its content is a blob, its text is in its chunks.

    `version` tells whether two documents under one key are the same: the content and all that was said of it. `order`
    is later for each version of a key, whatever the clocks say.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    tenant: str = ""
    namespace: str = "default"
    key: str
    version: str = ""
    title: str = ""
    source: str = ""  # a path or an address, for people
    digest: str = ""  # SHA-256 of the content, by which the blob is named
    bytes: int = 0
    media: str = "text/plain"
    importance: float = 1.0
    filters: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    status: State = "pending"
    error: str | None = None  # of one that failed
    chunks: int = 0  # all; known once it is cut
    done: int = 0  # of them are written
    tokens: int = 0  # of all chunks, as the embedding model counted them; 0 if it does not
    tries: int = 0  # that were begun to read it
    callback: str | None = None  # the address that is told of its end
    notice: str | None = None  # due, delivered or undeliverable: what became of that
    notice_tries: int = 0
    notice_error: str | None = None
    notice_at: float = 0.0  # the next try
    order: float = 0.0  # seconds since 1970
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def final(self) -> bool:
        return self.status != "pending"


class Chunk(BaseModel):
    """A piece of a document as it is found. `headings` are those it stands under, the outermost first."""

    model_config = ConfigDict(extra="allow")

    id: str
    document: str
    tenant: str = ""
    namespace: str = "default"
    key: str = ""
    place: int  # from 0
    text: str
    headings: list[str] = Field(default_factory=list)
    page: int | None = None  # of a PDF, from 1
    title: str = ""
    source: str = ""
    importance: float = 1.0
    filters: dict[str, str] = Field(default_factory=dict)
    status: State = "pending"
    embedded: str = ""  # the model whose vectors it has
    order: float = 0.0  # its document's
    created_at: float = 0.0

    @property
    def indexed_text(self) -> str:
        """What it is found by: a chunk is about what its title and headings say, though it does not repeat them."""
        return "\n".join([*dict.fromkeys(filter(None, [self.title, *self.headings])), self.text])


class DocumentFilter(BaseModel):
    """All that is given must hold, the tenant always."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = ""
    namespace: str | None = None
    key: str | None = None
    status: str | None = None


class KnowledgeScope(BaseModel):
    """Where is searched: in one namespace of one tenant always. Of each filter that is named one of the values holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = ""
    namespace: Name = "default"
    filters: Mapping[Name, Value | Sequence[Value]] = Field(default_factory=dict)


class KnowledgeQuery(BaseModel):
    """What to search for. The weights are those of meaning and of words; of 1 : 1, a hit in both stands before all others.

    `least_score` is of the fused score, `least_similarity` of the cosine of the meaning, both 0 to 1.
    `before` and `after` are the chunks of the document that come with a hit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(max_length=1_000_000)
    scope: KnowledgeScope = KnowledgeScope()
    limit: int = Field(10, ge=1, le=MOST_HITS)
    dense: float = Field(1.0, ge=0.0, le=100.0)
    words: float = Field(1.0, ge=0.0, le=100.0)
    least_score: float = Field(0.0, ge=0.0, le=1.0)
    least_similarity: float = Field(0.0, ge=0.0, le=1.0)
    before: int = Field(0, ge=0, le=MOST_AROUND)
    after: int = Field(0, ge=0, le=MOST_AROUND)


class KnowledgeSource(BaseModel):
    """Where an agent looks things up: by itself, with the tool `search_knowledge`, or before each answer, with the prompt.

    `least_similarity` keeps out of the prompt what has little to do with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: Name = "default"
    mode: Literal["tool", "prompt"] = "tool"
    description: str = Field("", max_length=1_000)  # what is in there, for the model
    filters: Mapping[Name, Value | Sequence[Value]] = Field(default_factory=dict)
    limit: int = Field(5, ge=1, le=MOST_HITS)
    least_score: float = Field(0.0, ge=0.0, le=1.0)
    least_similarity: float = Field(0.0, ge=0.0, le=1.0)
    before: int = Field(0, ge=0, le=MOST_AROUND)
    after: int = Field(0, ge=0, le=MOST_AROUND)

    def query(self, text: str, tenant: str) -> KnowledgeQuery:
        scope = KnowledgeScope(tenant=tenant, namespace=self.namespace, filters=self.filters)
        return KnowledgeQuery(
            text=text[:LONGEST_QUERY],
            scope=scope,
            **self.model_dump(include={"limit", "least_score", "least_similarity", "before", "after"}),
        )


class KnowledgeHit(BaseModel):
    """A chunk that was found. `score` is of 0 to 1, comparable within one search."""

    model_config = ConfigDict(frozen=True)

    chunk: Chunk
    score: float
    dense: float | None = None  # cosine similarity to the query, if it was among the nearest
    lexical: float | None = None  # weight of the words in common, likewise
    before: list[str] = Field(default_factory=list)  # the texts of the chunks around it, in order
    after: list[str] = Field(default_factory=list)

    @property
    def passage(self) -> str:
        """The text with what stands around it."""
        return "\n\n".join([*self.before, self.chunk.text, *self.after])

    def citation(self, number: int) -> dict[str, Any]:
        """The source, as it is kept with an answer."""
        chunk = self.chunk
        found: dict[str, Any] = {
            "type": "knowledge",
            "number": number,
            "title": chunk.title,
            "source": chunk.source,
            "page": chunk.page,
            "chunk": chunk.id,
            "document": chunk.document,
            "namespace": chunk.namespace,
            "score": round(self.score, 4),
        }
        if chunk.source.startswith(("http://", "https://")):
            found["url"] = chunk.source
        return {name: value for name, value in found.items() if value not in (None, "")}


class DocumentEnd(BaseModel):
    """What a document's `callback` is told: how its reading ended. The same may be told more than once."""

    type: Literal["document.ended"] = "document.ended"
    id: str
    tenant: str
    namespace: str
    key: str
    title: str
    status: str
    error: str | None
    chunks: int
    tokens: int
    at: float  # seconds since 1970


class KnowledgeFound(BaseModel):
    """Best first. `note` says what was wrong with the search, if something was."""

    hits: list[KnowledgeHit] = Field(default_factory=list)
    note: str = ""
    model: str | None = None  # whose vectors were searched, beside words


def content_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def version_of(document: Document) -> str:
    """20 hex digits."""
    told = document.model_dump(include={"digest", "media", "title", "source", "importance", "filters", "metadata"})
    return ids.content_digest(told)


def document_id(document: Document, after: str) -> str:
    """The same for the same version that comes after the same one: a version may come again after another one."""
    return ids.record_id("document", document.tenant, document.namespace, document.key, document.version, after)


def slot_id(tenant: str, namespace: str, key: str) -> str:
    return ids.record_id("knowledge", tenant, namespace, key)


def chunk_id(document: str, place: int, text: str, headings: Sequence[str]) -> str:
    """Of other text another id, so that what an older release had cut is not taken for the same."""
    return ids.record_id("chunk", document, str(place), ids.content_digest(text, list(headings)))


def tags(filters: Mapping[str, str]) -> list[str]:
    """Filters as they are stored and searched for: each name with its value."""
    return [tag(name, value) for name, value in sorted(filters.items())]


def tag(name: str, value: str) -> str:
    return json.dumps([name, value], ensure_ascii=False, separators=(",", ":"))


def spread(hits: Sequence[KnowledgeHit]) -> list[KnowledgeHit]:
    """Without those whose very text stands before them already: the same page may be there under two keys."""
    first: dict[str, KnowledgeHit] = {}
    for hit in hits:
        first.setdefault(hit.chunk.text, hit)
    return list(first.values())


def place_of(hit: KnowledgeHit) -> str:
    """Where a hit stands, for people and models."""
    chunk = hit.chunk
    page = f"page {chunk.page}" if chunk.page else ""
    return ", ".join(filter(None, [chunk.title or chunk.key, " > ".join(chunk.headings), page, chunk.source]))
