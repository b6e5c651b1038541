"""docs/knowledge.md can be trusted: its example works, and its tables name what there is."""

from __future__ import annotations

import re
from typing import get_args

from domain import chunking, documents
from domain.documents import DocumentInput
from domain.knowledge import STATES, Media
from tests.pages import page, run

PAGE = page("knowledge")


def test_the_agent_of_the_page_can_be_made() -> None:
    [source] = run(PAGE)["AGENT"].knowledge
    assert (source.namespace, source.filters) == ("handbook", {"lang": "en"})


def test_the_tables_name_every_field_and_state() -> None:
    firsts = " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", firsts)) == {*DocumentInput.model_fields, *STATES}


def test_the_limits_are_those_of_the_code() -> None:
    assert (documents.MAX_BYTES, chunking.LONGEST, chunking.OVERLAP) == (20_000_000, 1_000, 100)
    assert chunking.MOST_CHUNKS == 20_000
    assert all(media in PAGE for media in get_args(Media))
