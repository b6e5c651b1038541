"""Memory over an embedded store, for tests."""

from __future__ import annotations

from activities.memory import Memory
from activities.ports import Embedder
from adapters import qdrant_points as points
from adapters.lexicon import WordLexicon
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_index import QdrantIndex
from domain import ids
from domain.messages import Message


def index_of(store: EdgeStore) -> QdrantIndex:
    return QdrantIndex(store.collection(points.MESSAGES), store.collection(points.RECORDS))


def memory_of(store: EdgeStore, embedder: Embedder | None = None, **older: Embedder) -> Memory:
    """`older` are embedders by the names of their vectors."""
    return Memory(index_of(store), WordLexicon(), embedder, older)


def said(text: str, *, thread: str = "t", turn: int = 0, owner: str = "ada", **fields: object) -> Message:
    """An answered prompt, as it is stored."""
    row = Message(
        id=ids.message_id(thread, f"p{turn}", "prompt"),
        thread=thread,
        prompt_id=f"p{turn}",
        slot="prompt",
        role="user",
        status="answered",
        owner=owner,
        turn=turn,
        seq=ids.first_seq(turn),
        text=text,
        index="due",
        created_at=1_700_000_000.0 + turn,
        updated_at=1_700_000_000.0 + turn,
    )
    return row.model_copy(update=fields)
