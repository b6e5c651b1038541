"""The text of documents: plain text, Markdown, PDF.

A PDF is read by a process of its own, which is given so much time and memory and no more: what a file from outside does
to its reader it does to nobody else.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from adapters import pdf_text
from domain.chunking import Section, markdown, pages, plain
from domain.documents import MAX_BYTES
from domain.errors import DocumentUnreadableError

MAX_PAGES = 2_000
MAX_CHARS = 10_000_000  # of a document's text
PDF_TIMEOUT_S = 60.0
PDF_MEMORY_BYTES = 1_500_000_000
PDFS_AT_ONCE = 2
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Documents:
    """activities.ports.DocumentReader."""

    def __init__(self, *, timeout_s: float = PDF_TIMEOUT_S, max_pages: int = MAX_PAGES) -> None:
        self._timeout_s = timeout_s
        self._max_pages = max_pages
        self._turns = asyncio.Semaphore(PDFS_AT_ONCE)

    async def read(self, media: str, content: bytes) -> Sequence[Section]:
        if len(content) > MAX_BYTES:
            raise DocumentUnreadableError(f"it has {len(content)} bytes, and {MAX_BYTES} are the most")
        if media == "application/pdf":
            async with self._turns:
                return pages(await self._pages(content))
        text = _decoded(content)
        if len(text) > MAX_CHARS:
            raise DocumentUnreadableError(f"it has {len(text)} characters, and {MAX_CHARS} are the most")
        return await asyncio.to_thread(markdown if media == "text/markdown" else plain, text)

    async def _pages(self, content: bytes) -> list[str]:
        limits = json.dumps(
            {
                "pages": self._max_pages,
                "chars": MAX_CHARS,
                "memory": PDF_MEMORY_BYTES,
                "seconds": int(self._timeout_s) + 1,
            }
        )
        command = (sys.executable, "-P", str(Path(pdf_text.__file__)), limits)
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env={}
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                out, _ = await child.communicate(content)
        except TimeoutError:
            raise DocumentUnreadableError(f"the PDF could not be read within {self._timeout_s:g} s") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return _answer(out)


def _answer(out: bytes) -> list[str]:
    try:
        answer = json.loads(out)
    except ValueError:
        raise DocumentUnreadableError("the PDF could not be read: it takes too much memory or time") from None
    if "error" in answer:
        raise DocumentUnreadableError(answer["error"])
    found: list[str] = answer["pages"]
    return found


def _decoded(content: bytes) -> str:
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DocumentUnreadableError(
            f"it is not text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8, or say its media"
        ) from None
    if "\x00" in text:
        raise DocumentUnreadableError("it has zero bytes, so it is not text: say its media, or convert it to text")
    return text
