"""Documents at the door: what is wrong is said with the field, the rule and the remedy."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from domain import documents
from domain.documents import read_document
from domain.errors import InputRefusedError
from domain.knowledge import content_digest


def test_a_document_without_a_key_is_known_by_its_content() -> None:
    made, content = read_document({"text": "words"}, "n", 1.0)
    assert (made.key, made.digest, content) == (content_digest(b"words"), content_digest(b"words"), b"words")


@pytest.mark.parametrize(
    ("given", "media"),
    [
        ({"text": "x", "key": "a.md"}, "text/markdown"),
        ({"text": "x", "source": "https://example.org/a.markdown"}, "text/markdown"),
        ({"text": "x", "key": "a.TXT"}, "text/plain"),
        ({"content": base64.b64encode(b"%PDF-1.7").decode()}, "application/pdf"),
        ({"text": "x"}, "text/plain"),
        ({"text": "x", "key": "a.md", "media": "text/plain"}, "text/plain"),
    ],
)
def test_the_kind_is_told_by_the_content_and_the_name(given: dict[str, Any], media: str) -> None:
    assert read_document(given, "n", 1.0)[0].media == media


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "a document is a JSON object such as"),
        ({}, "give either text or content"),
        ({"text": "a", "content": "YQ=="}, "one of the two"),
        ({"text": " \n"}, "it has no content"),
        ({"content": "???"}, "no base64"),
        ({"text": "a", "media": "image/png"}, "media 'image/png' is not read; the kinds are text/plain"),
        ({"text": "a", "media": "application/pdf"}, "give content in base64"),
        ({"text": "a", "importance": 2}, "importance"),
        ({"text": "a", "filters": {"a b": "c"}}, "filters"),
        ({"text": "a", "filters": {str(n): "c" for n in range(21)}}, "filters"),
        ({"text": "a", "callback": "ftp://x"}, "callback"),
        ({"text": "a", "key": ""}, "key"),
        ({"text": "a", "txt": "b"}, "'txt' is not a field; the fields are text, content"),
        ({"text": "a", "metadata": {"a": "b" * 20_000}}, "metadata has more than"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises(InputRefusedError, match=re.escape(words)):
        read_document(given, "n", 1.0)


def test_a_document_that_is_too_large_is_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    with pytest.raises(InputRefusedError, match="it has 11 bytes, and 10 are the most"):
        read_document({"text": "x" * 11}, "n", 1.0)
