"""Documents into chunks: at headings first, then at paragraphs and sentences, none much larger than an answer needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from domain.pieces import pieces

LONGEST, SHORTEST = 1_000, 100  # characters of a chunk; a shorter one joins the one before it under the same headings
OVERLAP = 100  # characters that a chunk repeats of the one before it where a section is cut
MOST_CHUNKS = 20_000  # of a document

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
LONGEST_HEADING = 200


@dataclass(frozen=True)
class Section:
    """A text under its headings, the outermost first; of a PDF on one page."""

    text: str
    headings: Sequence[str] = ()
    page: int | None = None


def cut(sections: Sequence[Section], longest: int = LONGEST) -> list[Section]:
    """The sections in chunks of at most `longest` characters, in order, none of them blank."""
    found: list[Section] = []
    for section in sections:
        if not section.text.strip():
            continue
        texts = pieces(section.text, longest, most=None, overlap=min(OVERLAP, longest // 4))
        found += [replace(section, text=text) for text in texts]
    return list(_joined(found, longest))


def markdown(text: str) -> list[Section]:
    """The text between headings, in order; what looks like one inside a code block is none."""
    found: list[Section] = []
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    fence: str | None = None

    def close() -> None:
        found.append(Section("\n".join(lines).strip("\n"), tuple(title for _, title in path)))
        lines.clear()

    for line in text.splitlines():
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else None if fence == mark[1] else fence
        level, title = (0, "") if fence or mark else _heading(line, lines)
        if not level:
            lines.append(line)
            continue
        close()
        path = [*(entry for entry in path if entry[0] < level), (level, title[:LONGEST_HEADING])]
    close()
    return [section for section in found if section.text.strip()] or _only_headings(path)


def plain(text: str) -> list[Section]:
    return [Section(text)]


def pages(texts: Sequence[str]) -> list[Section]:
    """Of a PDF, each page a section."""
    return [Section(text, page=number) for number, text in enumerate(texts, start=1)]


def title_of(sections: Sequence[Section], key: str) -> str:
    """What to call a document that has no title: its first heading, else its key's last part."""
    first = next((section.headings[0] for section in sections if section.headings), "")
    return first or key.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _heading(line: str, before: list[str]) -> tuple[int, str]:
    """Level and text, (0, "") if it is none; takes the text of an underlined one off `before`."""
    if found := _HEADING.match(line):
        return len(found[1]), found[2]
    underlined = _UNDERLINE.match(line)
    alone = before and before[-1].strip() and (len(before) == 1 or not before[-2].strip())
    if underlined and alone and not before[-1].lstrip().startswith(("|", "-", "*", ">")):
        return (1 if underlined[1].startswith("=") else 2), before.pop().strip()
    return 0, ""


def _only_headings(path: Sequence[tuple[int, str]]) -> list[Section]:
    """Of a document that has nothing else."""
    return [Section("\n".join(title for _, title in path))] if path else []


def _joined(sections: Sequence[Section], longest: int) -> Iterator[Section]:
    """Short ones with the one before them, where both stand at the same place."""
    held: Section | None = None
    for section in sections:
        if held is not None and _belong(held, section, longest):
            held = replace(held, text=f"{held.text}\n\n{section.text}")
            continue
        if held is not None:
            yield held
        held = section
    if held is not None:
        yield held


def _belong(one: Section, other: Section, longest: int) -> bool:
    short = min(len(one.text), len(other.text)) < SHORTEST
    fit = len(one.text) + len(other.text) + 2 <= longest
    return short and fit and (one.headings, one.page) == (other.headings, other.page)
