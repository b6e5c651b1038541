"""Knowledge over HTTP: documents are handed in, looked at, deleted and searched."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from activities.ports import Blobs, KnowledgeSearch, KnowledgeStore
from domain.documents import EXAMPLE, MAX_BYTES, read_document
from domain.errors import InputRefusedError, UnavailableError
from domain.knowledge import (
    LONGEST_KEY,
    MOST_AROUND,
    MOST_HITS,
    Document,
    DocumentFilter,
    KnowledgeFound,
    KnowledgeQuery,
    KnowledgeScope,
)
from domain.messages import Page
from domain.prompts import MAX_NAME
from gateway.bodies import read_object
from gateway.params import Cursor, Limit

MAX_BODY = MAX_BYTES * 3 // 2  # bytes: base64 takes a third more
OURS = {"order", "version", "notice_at"}
ROUTES = (
    "POST /api/knowledge/{namespace}/documents",
    "/api/knowledge/{namespace}/documents",
    "/api/knowledge/{namespace}/documents/{id}",
    "/api/knowledge/{namespace}/status",
    "/api/knowledge/{namespace}/search",
)
Namespace = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,100}$", description="1 to 100 letters, digits, _ . and -")]
Tenant = Annotated[str, Query(description="Whose it is.", max_length=MAX_NAME)]
Key = Annotated[str | None, Query(description="The document of this key.", max_length=LONGEST_KEY)]
State = Annotated[
    Literal["pending", "ready", "replaced", "failed"] | None, Query(description="Only those that are so.")
]
Weight = Annotated[float, Query(ge=0, le=100)]
Share = Annotated[float, Query(ge=0, le=1)]
Around = Annotated[int, Query(ge=0, le=MOST_AROUND)]


@dataclass(frozen=True)
class Library:
    """What the routes need."""

    store: KnowledgeStore
    search: KnowledgeSearch
    blobs: Blobs


def knowledge_of(library: Library) -> APIRouter:
    routes = APIRouter(prefix="/api/knowledge/{namespace}")
    _reading(routes, library)
    _writing(routes, library)
    return routes


def _writing(routes: APIRouter, library: Library) -> None:
    store = library.store

    @routes.post("/documents", status_code=202)
    async def add(request: Request, namespace: Namespace) -> JSONResponse:
        """Hand a document in; it is read behind the answer. The same again is nothing new, see docs/knowledge.md."""
        given = await read_object(request, EXAMPLE, MAX_BODY)
        document, content = read_document(given, namespace, time.time())
        try:
            await library.blobs.put(content)
            kept, new = await store.add(document)
        except (UnavailableError, OSError) as error:
            raise HTTPException(503, f"the document could not be kept, send it again: {error}") from error
        return JSONResponse(_shown(kept) | {"new": new}, 202 if new else 200)

    @routes.delete("/documents/{document_id}")
    async def delete_one(namespace: Namespace, document_id: str, tenant: Tenant = "") -> dict[str, int]:
        """Delete one version of a document, with its chunks."""
        await store.delete_document(await _one(store, tenant, namespace, document_id))
        return {"deleted": 1}

    @routes.delete("/documents")
    async def delete_key(
        namespace: Namespace, key: Key = None, whole: Annotated[bool, Query(alias="all")] = False, tenant: Tenant = ""
    ) -> dict[str, int]:
        """Delete all versions under a key, or with `all=true` all of the namespace."""
        if (key is None) is not whole:
            raise InputRefusedError("give key=… for one document, or all=true for all of the namespace")
        return {"deleted": await store.delete(DocumentFilter(tenant=tenant, namespace=namespace, key=key))}


def _reading(routes: APIRouter, library: Library) -> None:
    store = library.store

    @routes.get("/documents", response_model_exclude={"items": {"__all__": OURS}})
    async def list_documents(
        namespace: Namespace,
        limit: Limit = 50,
        cursor: Cursor = None,
        status: State = None,
        key: Key = None,
        tenant: Tenant = "",
    ) -> Page[Document]:
        """Documents by when they were added, newest first."""
        where = DocumentFilter(tenant=tenant, namespace=namespace, key=key, status=status)
        return await store.page(where, cursor=cursor, limit=limit)

    @routes.get("/documents/{document_id}", response_model_exclude=OURS)
    async def get_document(namespace: Namespace, document_id: str, tenant: Tenant = "") -> Document:
        """One document: its state, and how many of its chunks are `done`."""
        return await _one(store, tenant, namespace, document_id)

    @routes.get("/status")
    async def get_status(namespace: Namespace, tenant: Tenant = "") -> dict[str, int]:
        """How many documents there are in each state."""
        where = DocumentFilter(tenant=tenant, namespace=namespace)
        states = ("pending", "ready", "replaced", "failed")
        return {state: await store.count(where.model_copy(update={"status": state})) for state in states}

    @routes.get("/search")
    async def search(
        namespace: Namespace,
        q: Annotated[str, Query(min_length=1, max_length=10_000, description="What to search for.")],
        limit: Annotated[int, Query(ge=1, le=MOST_HITS)] = 10,
        filter: Annotated[list[str], Query(description="name=value; one name may have several.")] = [],  # noqa: A002, B006
        dense: Weight = 1.0,
        words: Weight = 1.0,
        least_score: Share = 0.0,
        least_similarity: Share = 0.0,
        before: Around = 0,
        after: Around = 0,
        tenant: Tenant = "",
    ) -> KnowledgeFound:
        """The chunks that fit best, with scores and sources."""
        scope = _scope(tenant, namespace, filter)
        fields = {"limit": limit, "dense": dense, "words": words, "before": before, "after": after}
        fields |= {"least_score": least_score, "least_similarity": least_similarity}
        return await library.search.search(KnowledgeQuery.model_validate({"text": q, "scope": scope} | fields))


async def _one(store: KnowledgeStore, tenant: str, namespace: str, document_id: str) -> Document:
    try:
        document = await store.document(document_id) if len(document_id) == 36 else None
    except ValueError:
        document = None
    if document is None or (document.tenant, document.namespace) != (tenant, namespace):
        raise HTTPException(
            404, f"There is no document {document_id!r} in {namespace!r}; the list of documents names them."
        )
    return document


def _scope(tenant: str, namespace: str, filters: list[str]) -> KnowledgeScope:
    """Raises: InputRefusedError."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputRefusedError(f"filter {text[:60]!r} is no name=value, such as lang=de")
        wanted.setdefault(name, []).append(value)
    try:
        return KnowledgeScope.model_validate({"tenant": tenant, "namespace": namespace, "filters": wanted})
    except ValueError as error:
        raise InputRefusedError(f"filter: a name is 1 to 100 letters, digits, _ . and -: {error}"[:300]) from None


def _shown(document: Document) -> dict[str, Any]:
    return document.model_dump(mode="json", exclude=OURS)
