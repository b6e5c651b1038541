"""Long texts in pieces for an embedding model: cut where the meaning is, and put together again without a shift."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeVar

MOST = 32  # pieces of one text

# From the best place to cut to the worst. The cut is behind what matches. Chinese and Japanese put no space behind a stop.
_BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*"),  # of paragraphs
    re.compile(r"\n\s*|[.!?…؟۔।][\"'”’»)\]]*\s+|[。！？｡][」』”’）]*\s*"),  # of sentences and lines
    re.compile(r"\s+|[,;:、，；：]\s*"),  # of words and clauses
)
# So much of a piece must be full before a better border counts more than a fuller piece.
_LEAST_FULL = 0.4
_SPACE = re.compile(r"\s*")
_JOINER = "\u200d"

T = TypeVar("T")


def pieces(text: str, longest: int, *, most: int | None = MOST, overlap: int = 0) -> list[str]:
    """The text in pieces of at most `longest` characters, in order, none of them blank; what is behind `most` is left out.

    Each is as long as it can be, and ends at the end of a paragraph, else of a sentence, else of a word; in a text
    without any it ends where it is full. With `overlap`, a piece begins up to so many characters before the end of the
    one before it, at a word.

    Raises: ValueError: If `longest` is not positive, or `overlap` is not below half of it.
    """
    if longest < 1 or not 0 <= 2 * overlap <= longest:
        raise ValueError(f"pieces of {longest} characters that share {overlap}")
    found: list[str] = []
    start = _skip_space(text, 0)
    while start < len(text) and (most is None or len(found) < most):
        end = _end(text, start, longest)
        found.append(text[start:end].rstrip())
        end = _skip_space(text, end)
        start = end if end >= len(text) else _step_back(text, start, end, overlap)
    return found


@dataclass(frozen=True)
class Pieces:
    """Pieces of several texts, in one list: what a batch of a model is made of."""

    flat: Sequence[str]
    counts: Sequence[int]  # of each text; 0 of a blank one

    def gather(self, results: Sequence[T]) -> list[Sequence[T]]:
        """What belongs to each text, in their order, of one result for each piece; nothing for a blank text.

        Raises: ValueError: If it is not one for each: none is given to another text.
        """
        if len(results) != len(self.flat):
            raise ValueError(f"{len(results)} results for {len(self.flat)} pieces")
        return [results[start:end] for start, end in pairwise(accumulate(self.counts, initial=0))]


def in_pieces(texts: Sequence[str], longest: int, *, most: int | None = MOST, overlap: int = 0) -> Pieces:
    """The texts as `pieces` cuts them."""
    cut = [pieces(text, longest, most=most, overlap=overlap) for text in texts]
    return Pieces([piece for of_text in cut for piece in of_text], [len(of_text) for of_text in cut])


def _end(text: str, start: int, longest: int) -> int:
    """Where the piece that begins at `start` ends."""
    limit = start + longest
    if limit >= len(text):
        return len(text)
    # One more than fits: a border may be just behind, and only its space is too much.
    window = text[start : limit + 1]
    least = int(longest * _LEAST_FULL)
    for border in _BORDERS:
        ends = [_shown_end(match) for match in border.finditer(window)]
        if (end := max((end for end in ends if least < end <= longest), default=0)) > 0:
            return start + end
    return _whole_character(text, start, limit)


def _shown_end(match: re.Match[str]) -> int:
    """Where what is seen of a border ends: the space behind it belongs to no piece."""
    return match.start() + len(match[0].rstrip())


def _whole_character(text: str, start: int, limit: int) -> int:
    """No cut between a letter and its accents, or inside an emoji of several parts, unless it fills the piece."""
    end = limit
    while end > start + 1 and _joins(text, end):
        end -= 1
    return end if end > start + 1 else limit


def _joins(text: str, at: int) -> bool:
    """Whether the character at a place belongs to the one before it: an accent, a vowel sign, a part of an emoji."""
    return (
        unicodedata.category(text[at]).startswith("M")
        or "\U0001f3fb" <= text[at] <= "\U0001f3ff"  # colours of skin
        or _JOINER in {text[at], text[at - 1]}
    )


def _skip_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _step_back(text: str, start: int, end: int, overlap: int) -> int:
    """Where the next piece begins: a word's first character among the last `overlap` ones, else at `end`."""
    if not overlap:
        return end
    words = re.finditer(r"(?<=\s)\S", text[end - overlap - 1 : end])
    first = next((end - overlap - 1 + match.start() for match in words), end)
    return first if first > start else end
