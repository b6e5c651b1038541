"""How the words of a text are told apart, whatever it is written in."""

from __future__ import annotations

import re
import unicodedata

# Written without spaces, or, as Korean, with endings that hang on the words: found by two characters at a time.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs and accents that are letters' parts, but no letters to Python.
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_LETTERS = rf"(?:[^\W_{_UNSPACED}]|[{_MARKS}])+"

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u055a\u201b\u0060\u00b4", "'"))
_WORDS_OF_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_WORDS = re.compile(rf"{_LETTERS}(?:'{_LETTERS})*|[{_UNSPACED}]+")
_RUN = re.compile(rf"[{_UNSPACED}]+")
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
# Points and strokes that may as well be left out: of Russian, Hebrew, Arabic, and what makes Arabic words longer.
_LEFT_OUT = re.compile(
    "[\u0300\u0301\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]"
)

_ACCENTS = re.compile("[\u0300-\u036f]")
_NOT_ACCENTS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ħ": "h", "ŧ": "t"}
)

# "we'll", "John's"; and what French and Italian put before a word: "l'avion", "qu'elle", "dell'arte".
_ENDING = re.compile(r"'(?:s|d|m|ll|re|ve)$")
_ELISION = re.compile(r"^(?:[cdjlmnst]|qu|lorsqu|puisqu|jusqu|un|all|dall|dell|nell|sull|coll|quell)'(?=..)")


def split(text: str) -> list[str]:
    """The words in order, in small letters; a run of a script without spaces is one word, see `is_run`."""
    if text.isascii():
        return _WORDS_OF_ASCII.findall(text.lower().replace("`", "'"))
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    return _WORDS.findall(_LEFT_OUT.sub("", plain))


def is_run(word: str) -> bool:
    return word > "\u0dff" and _RUN.fullmatch(word) is not None


def pairs(run: str) -> list[str]:
    """Each two characters that stand together; the character itself of a run of one."""
    return [run[at : at + 2] for at in range(max(len(run) - 1, 1))]


def ideographs(run: str) -> list[str]:
    """The characters that are words by themselves."""
    return _IDEOGRAPH.findall(run)


def bare(word: str) -> str:
    """Without what an apostrophe ties to a word: "John's" is "john", "l'avion" is "avion", "don't" is "dont"."""
    if "'" not in word:
        return word
    return _ELISION.sub("", _ENDING.sub("", word)).replace("'", "")


def fold(word: str) -> str:
    """Without accents: people leave them out when they search. Letters of other scripts stay what they are."""
    if word.isascii() or word[0] > "\u03ff":  # behind Latin and Greek
        return word
    return _ACCENTS.sub("", unicodedata.normalize("NFD", word.translate(_NOT_ACCENTS)))
