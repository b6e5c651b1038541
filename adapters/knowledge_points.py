"""Documents, chunks and slots as Qdrant points: payloads and filters of activities.ports.KnowledgeStore."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapters import qdrant_points as points
from adapters.qdrant_points import Where
from domain.knowledge import Chunk, Document, DocumentFilter, KnowledgeScope, tag, tags

DOCUMENT, CHUNK, SLOT = "document", "chunk", "slot"
CHUNKS, DOCUMENTS = {"kind": CHUNK}, {"kind": DOCUMENT}


def place_of(document: Document) -> dict[str, str]:
    return {"tenant": document.tenant, "namespace": document.namespace, "key": document.key}


def documents_where(where: DocumentFilter) -> Where:
    return Where(equal=DOCUMENTS | where.model_dump(exclude_none=True))


def within(scope: KnowledgeScope) -> Where:
    """Chunks that may be found in a scope: the tenant's, in each case."""
    return Where(
        equal=CHUNKS | {"tenant": scope.tenant, "namespace": scope.namespace, "status": "ready"},
        among_all=[("filters", _wanted(name, value)) for name, value in scope.filters.items()],
    )


def without_vectors(model: str) -> Where:
    return Where(equal=CHUNKS | {"status": "ready"}, unequal={"embedded": [model]})


def _wanted(name: str, value: str | Sequence[str]) -> list[str]:
    return [tag(name, value)] if isinstance(value, str) else [tag(name, one) for one in value]


def document_payload(document: Document) -> dict[str, Any]:
    return _payload(document.model_dump(mode="json"), document.filters) | {"kind": DOCUMENT, "document": document.id}


def chunk_payload(chunk: Chunk) -> dict[str, Any]:
    return _payload(chunk.model_dump(mode="json"), chunk.filters) | {"kind": CHUNK}


def _payload(fields: dict[str, Any], filters: Mapping[str, str]) -> dict[str, Any]:
    return points.payload(fields) | {"filters": tags(filters)}


def document_of(stored: dict[str, Any]) -> Document:
    fields = {name: value for name, value in _fields(stored).items() if name not in {"kind", "document"}}
    return Document.model_validate(fields)


def chunk_of(stored: dict[str, Any]) -> Chunk:
    return Chunk.model_validate({name: value for name, value in _fields(stored).items() if name != "kind"})


def _fields(stored: dict[str, Any]) -> dict[str, Any]:
    return points.fields(stored) | {"filters": dict(json.loads(text) for text in stored.get("filters") or [])}
