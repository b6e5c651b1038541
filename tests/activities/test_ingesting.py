"""Documents are read in the background: whole or not at all, however often the process is killed."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pypdf
import pytest

from domain.knowledge import DocumentFilter
from tests.library import FakeEmbedder, Killed, Room

BOOK = "\n\n".join(f"# Part {n}\n\nThe {word} apple number {n} is ripe." for n, word in enumerate(["red", "green"]))


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
async def room(tmp_path: Path, embedder: FakeEmbedder) -> AsyncIterator[Room]:
    room = Room(tmp_path, embedder)
    yield room
    room.close()


async def test_a_document_is_read_and_found_with_its_source(room: Room) -> None:
    made = await room.read(BOOK, "fruit/apples.md", source="https://example.org/apples")
    assert (made.status, made.chunks, made.done, made.title) == ("ready", 2, 2, "Part 0")
    assert made.tokens > 0
    [hit, _] = (await room.ask("green apple")).hits
    assert (hit.chunk.text, hit.chunk.headings) == ("The green apple number 1 is ripe.", ["Part 1"])
    cited = hit.citation(1)
    assert (cited["title"], cited["url"], cited["chunk"]) == ("Part 0", "https://example.org/apples", hit.chunk.id)


async def test_a_title_and_headings_are_words_that_a_chunk_is_found_by(room: Room) -> None:
    await room.read("# Holidays\n\nThirty days a year.", title="Handbook")
    for words in ("holidays", "handbook"):
        assert await room.texts(words, dense=0) == ["Thirty days a year."]


async def test_the_same_document_is_not_read_again(room: Room, embedder: FakeEmbedder) -> None:
    first = await room.read(BOOK)
    embedder.texts.clear()
    assert await room.read(BOOK) == first
    assert embedder.texts == []


@pytest.mark.parametrize(
    ("content", "fields", "words"),
    [
        (b"%PDF-1.7 garbage", {}, "the PDF cannot be read"),
        (b"\xff\xfa\x00", {}, "not text in UTF-8"),
        (b"a\x00b", {}, "zero bytes"),
    ],
)
async def test_what_cannot_be_read_fails_in_a_sentence_and_holds_up_no_other(
    room: Room, content: bytes, fields: dict[str, str], words: str
) -> None:
    bad = await room.add(content, "bad", **fields)
    good = await room.add("good words", "good")
    await room.work()
    failed = await room.document(bad.id)
    assert failed.status == "failed"
    assert words in (failed.error or "")
    assert (await room.document(good.id)).status == "ready"


async def test_an_encrypted_pdf_and_one_without_text_fail_with_the_remedy(room: Room) -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    blank, locked = io.BytesIO(), io.BytesIO()
    writer.write(blank)
    writer.encrypt("secret")
    writer.write(locked)
    pictures, secret = await room.read(blank.getvalue(), "a.pdf"), await room.read(locked.getvalue(), "b.pdf")
    assert "recognise its text first" in (pictures.error or "")
    assert "save it without a password" in (secret.error or "")


async def test_a_document_that_failed_keeps_the_version_before_it_in_force(room: Room) -> None:
    await room.read("old words", "k")
    assert (await room.read(b"\xff\xfa\xfb", "k")).status == "failed"
    assert await room.texts("words") == ["old words"]


async def test_content_that_is_gone_fails_with_the_remedy(room: Room, tmp_path: Path) -> None:
    added = await room.add("some words")
    next((tmp_path / "blobs").rglob(added.digest)).unlink()
    await room.work()
    assert (await room.document(added.id)).error == "its content is not kept any longer: add it again"


async def test_without_the_embedding_model_chunks_are_found_by_words_and_get_their_vectors_later(
    room: Room, embedder: FakeEmbedder
) -> None:
    embedder.away = True
    assert (await room.read(BOOK)).status == "ready"
    found = await room.ask("green apple")
    assert found.hits[0].chunk.headings == ["Part 1"]
    assert found.note == "searched by words alone: the embedding model does not answer"
    assert await room.vectors.due() == 2
    embedder.away = False
    assert [await room.vectors.work(), await room.vectors.work(), await room.vectors.due()] == [2, 0, 0]
    found = await room.ask("green apple")
    assert (found.note, found.model) == ("", "fake-64")
    assert found.hits[0].dense is not None


async def test_vectors_of_an_earlier_model_serve_until_there_are_those_of_the_new_one(room: Room) -> None:
    await room.read(BOOK)
    room.older, room.embedder = [FakeEmbedder()], FakeEmbedder("other-512")
    room.live()
    assert await room.vectors.due() == 2
    assert (await room.ask("green apple", words=0)).hits[0].dense is not None  # by the old ones
    assert [await room.vectors.work(), await room.vectors.work(), await room.vectors.due()] == [2, 0, 0]
    [hit, _] = (await room.ask("green apple", words=0)).hits
    assert hit.chunk.headings == ["Part 1"]
    stored = await room.shard.vectors([hit.chunk.id], ["fake-64", "other-512"])
    assert stored[hit.chunk.id].keys() == {"other-512"}


async def test_a_large_document_takes_several_calls_and_shows_its_progress(room: Room) -> None:
    book = "\n\n".join(f"# Part {n}\n\nWords of part {n}." for n in range(1_200))
    added = await room.add(book)
    seen = []
    while await room.chore.work():
        now = await room.document(added.id)
        seen.append((now.status, now.done, now.chunks))
    assert seen == [("pending", 512, 1200), ("pending", 1024, 1200), ("ready", 1200, 1200)]
    assert len(await room.store.chunk_ids(added.id)) == 1_200


async def test_a_pdf_is_cited_by_its_page(room: Room) -> None:
    made = await room.read(pdf("First page about pears", "Second page about plums"), "fruit.pdf")
    assert (made.status, made.media) == ("ready", "application/pdf")
    hit = (await room.ask("plums")).hits[0]
    assert (hit.chunk.page, hit.citation(1)["page"]) == (2, 2)


# --- kill -9


async def test_killed_before_any_write_of_a_first_version_it_is_there_once_and_whole(
    tmp_path: Path, embedder: FakeEmbedder
) -> None:
    await _killed_everywhere(tmp_path, embedder, before=None)


async def test_killed_before_any_write_of_a_new_version_one_of_both_is_found_at_each_moment(
    tmp_path: Path, embedder: FakeEmbedder
) -> None:
    await _killed_everywhere(tmp_path, embedder, before="# Old\n\nAn old apple.")


async def _killed_everywhere(folder: Path, embedder: FakeEmbedder, before: str | None) -> None:
    """Cut the reading of a document before its first write, its second …; it must go on as if nothing had been."""
    room = Room(folder, embedder)
    old = ["An old apple."]
    new = [f"The {word} apple number {n} is ripe." for n, word in enumerate(["red", "green"])]
    cut, tried = 0, 0
    while True:
        tenant = f"tenant-{cut}"
        if before is not None:
            await room.read(before, tenant=tenant)
        await room.add(BOOK, tenant=tenant)
        room.cutting.cut_at = room.cutting.writes + cut
        try:
            await room.work()
            break
        except Killed:
            tried += 1
        shown = sorted(await room.texts("apple", tenant))
        assert shown in ([sorted(new), old] if before else [sorted(new), []])
        room.live()
        await room.work()
        assert sorted(await room.texts("apple", tenant)) == sorted(new)
        states = {
            state: await room.store.count(DocumentFilter(tenant=tenant, status=state)) for state in ("ready", "pending")
        }
        assert states == {"ready": 1, "pending": 0}
        [made] = (await room.store.page(DocumentFilter(tenant=tenant, status="ready"), cursor=None, limit=9)).items
        assert len(await room.store.chunk_ids(made.id)) == made.chunks == made.done == 2
        cut += 1
    assert tried >= 4
    room.close()


def pdf(*texts: str) -> bytes:
    """A PDF with a page for each text."""
    writer = pypdf.PdfWriter()
    for text in texts:
        page = writer.add_blank_page(300, 300)
        font = pypdf.generic.DictionaryObject(
            {
                pypdf.generic.NameObject("/Type"): pypdf.generic.NameObject("/Font"),
                pypdf.generic.NameObject("/Subtype"): pypdf.generic.NameObject("/Type1"),
                pypdf.generic.NameObject("/BaseFont"): pypdf.generic.NameObject("/Helvetica"),
            }
        )
        fonts = pypdf.generic.DictionaryObject({pypdf.generic.NameObject("/F1"): writer._add_object(font)})
        page[pypdf.generic.NameObject("/Resources")] = pypdf.generic.DictionaryObject(
            {pypdf.generic.NameObject("/Font"): fonts}
        )
        stream = pypdf.generic.StreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 150 Td ({text}) Tj ET".encode())
        page[pypdf.generic.NameObject("/Contents")] = writer._add_object(stream)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
