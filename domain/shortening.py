"""Texts that are too long to be shown whole: their two ends, and between them what is left out."""

from __future__ import annotations

import unicodedata

from domain.tokens import Count

LONGEST_CLUSTER = 64  # characters that are read as one: a base with its marks, a family of joined faces
_JOINER = "\u200d"
_FLAGS, _TONES = range(0x1F1E6, 0x1F200), range(0x1F3FB, 0x1F400)


def shorten(text: str, most: int, count: Count, reference: str) -> str:
    """The text if it takes at most `most` tokens, else its ends around a mark; `reference` says where all of it is.

    The mark itself may lead a very small `most` to be passed by some tokens.
    """
    if len(text) * 4 <= most or (tokens := count(text)) <= most:  # no tokenizer takes more than one for a byte
        return text
    share = most / tokens
    while True:
        half = int(len(text) * share / 2)
        start, end = boundary(text, half), boundary(text, len(text) - half)
        left_out = f"[… {end - start:,} characters left out here; the whole is {reference} …]"
        shown = f"{text[:start]}\n{left_out}\n{text[end:]}" if half else left_out
        if not half or count(shown) <= most:
            return shown
        share *= 0.85


def boundary(text: str, at: int) -> int:
    """The nearest place at or before `at` where what is read as one character begins."""
    for place in range(at, max(at - LONGEST_CLUSTER, 0), -1):
        if place >= len(text) or _begins(text, place):
            return place
    return max(at - LONGEST_CLUSTER, 0)


def _begins(text: str, place: int) -> bool:
    here, before = text[place], text[place - 1]
    if _JOINER in (before, here) or unicodedata.category(here) in ("Mn", "Mc", "Me"):
        return False
    if (before, here) == ("\r", "\n") or 0xDC00 <= ord(here) < 0xE000 or ord(here) in _TONES:
        return False
    return not (ord(here) in _FLAGS and _flags_before(text, place) % 2)


def _flags_before(text: str, place: int) -> int:
    """Letters of flags, of which two make one, in front of a place."""
    front = text[max(place - LONGEST_CLUSTER, 0) : place]
    return len(front) - len(front.rstrip("".join(map(chr, _FLAGS))))
