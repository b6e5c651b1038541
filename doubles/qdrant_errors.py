"""What Qdrant says when it refuses."""

from __future__ import annotations


class QdrantError(Exception):
    """An answer that is no success: a status, and Qdrant's sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def bad_request(sentence: str) -> QdrantError:
    return QdrantError(400, f"Bad request: {sentence}")


def not_found(collection: str) -> QdrantError:
    return QdrantError(404, f"Not found: Collection `{collection}` doesn't exist!")


def not_here(what: str) -> QdrantError:
    """Of the double alone."""
    return QdrantError(501, f"This is a test double of Qdrant, and does not know {what}")


def invalid(said: str) -> QdrantError:
    """Of the body, by what its fields may be."""
    return QdrantError(422, f"Validation error in JSON body: [{said}]")
