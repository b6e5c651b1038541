"""Search over documents: what counts, what is left out, and whose it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.library import FakeEmbedder, Room


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path, FakeEmbedder())
    yield room
    room.close()


async def test_two_tenants_with_the_same_words_find_only_their_own(room: Room) -> None:
    for tenant in ("acme", "umbrella"):
        await room.read("The launch code is in the safe.", tenant=tenant, title=tenant)
    for tenant in ("acme", "umbrella"):
        hits = (await room.ask("launch code", tenant, before=5, after=5)).hits
        assert [(hit.chunk.tenant, hit.chunk.title) for hit in hits] == [(tenant, tenant)]
    assert await room.texts("launch code") == []


async def test_what_matters_less_stands_behind_its_equal(room: Room) -> None:
    await room.read("Ripe apples from the garden", "low", importance=0.0, title="t")
    await room.read("Ripe apples from the market", "high", importance=1.0, title="t")
    assert await room.texts("ripe apples") == ["Ripe apples from the market", "Ripe apples from the garden"]
    low = (await room.ask("garden apples")).hits[0]
    assert low.chunk.text == "Ripe apples from the garden"


async def test_filters_and_thresholds_leave_out_what_does_not_fit(room: Room) -> None:
    await room.read("Apples are ripe", "de", filters={"lang": "de"})
    await room.read("Apples are red", "en", filters={"lang": "en"})
    await room.read("Trains are late and nobody knows of fruit", "other")
    assert await room.texts("apples", filters={"lang": "en"}) == ["Apples are red"]
    assert await room.texts("apples", filters={"lang": ["de"]}) == ["Apples are ripe"]
    assert len(await room.texts("apples are", least_similarity=0.5)) == 2
    assert await room.texts("apples are", limit=1, least_score=0.99) != []
    assert await room.texts("zebra", least_similarity=0.5) == []


async def test_the_chunks_around_a_hit_come_with_it(room: Room) -> None:
    await room.read("# A\n\nFirst of all.\n\n# B\n\nSecond thing.\n\n# C\n\nThird thing.")
    [hit] = (await room.ask("second", dense=0, before=1, after=1)).hits
    assert (hit.before, hit.after) == (["First of all."], ["Third thing."])
    assert hit.passage == "First of all.\n\nSecond thing.\n\nThird thing."


async def test_the_same_page_under_two_keys_is_shown_once(room: Room) -> None:
    for key in ("one", "two"):
        await room.read("Words that are the same.", key)
    assert await room.texts("same words") == ["Words that are the same."]


async def test_weights_choose_between_meaning_and_words(room: Room) -> None:
    await room.read("Words.")
    [by_words] = (await room.ask("words", dense=0)).hits
    [by_meaning] = (await room.ask("words.", words=0)).hits
    assert (by_words.dense, by_meaning.lexical) == (None, None)
    assert by_words.lexical is not None
    assert by_meaning.dense is not None
    assert (await room.ask("words", dense=0, words=0)).hits == []


@pytest.mark.parametrize("text", ["", "  ", "\x00", "the", "😀", "x" * 50_000])
async def test_a_question_of_whatever_kind_breaks_nothing(room: Room, text: str) -> None:
    await room.read("Words.")
    await room.ask(text)
