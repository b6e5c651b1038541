"""activities.ports.Lexicon: texts into weights of words, as BM25 has them, of any language."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from py_rust_stemmers import SnowballStemmer  # type: ignore[import-untyped]

from adapters import words
from adapters.stopwords import STOPWORDS
from domain.vectors import Sparse

NONE = "none"
# What Latin letters may be taken for. Other letters say themselves what they are, or are of a language without a stemmer.
LATIN = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "portuguese"),
    *("romanian", "spanish", "swedish", "turkish"),
)
LANGUAGES = (*LATIN, NONE)
_SCRIPTS = (
    ("\u0370", "\u03ff", "greek"),
    ("\u0400", "\u04ff", "russian"),
    ("\u0600", "\u06ff", "arabic"),
    ("\u0b80", "\u0bff", "tamil"),
)

SATURATION = 1.2  # k1: how soon a word that is repeated adds nothing
LENGTH_COUNTS = 0.75  # b: how much a long text must say more than a short one
AVERAGE_WORDS = 40.0  # of a text; a constant, since what is stored must not change with what comes later
_KNOWN = 100_000  # words whose stems are remembered; some 30 MB


class _Term(NamedTuple):
    text: str
    number: int
    stop: bool  # says little


class WordLexicon:
    """The same text has the same weights in any process, for ever: terms are numbered by a hash.

    A document keeps all its words, and a query leaves out those that say little unless it has no others; so a text is
    found by any of its words.
    """

    def __init__(self, language: str = "english", *, average_words: float = AVERAGE_WORDS) -> None:
        """`language` is what Latin letters are taken for; `none` takes all words as they are.

        Raises: ValueError: If there is no stemmer for it.
        """
        if language not in LANGUAGES:
            raise ValueError(f"no language of {', '.join(LANGUAGES)}: {language!r}")
        self._language = language
        self._average_words = average_words
        names = () if language == NONE else (language, *(name for *_, name in _SCRIPTS))
        self._stemmers = {name: SnowballStemmer(name) for name in names}
        self._term = lru_cache(_KNOWN)(self._make_term)

    def terms(self, text: str) -> list[str]:
        """What the text is found by, in order and as often as it is there."""
        return [term.text for term in self._terms(words.split(text))]

    def document(self, text: str) -> Sparse:
        """A word counts the less the more others the text has."""
        split = words.split(text)
        terms = self._terms(split)
        norm = SATURATION * (1 - LENGTH_COUNTS + LENGTH_COUNTS * len(terms) / self._average_words)
        counts = Counter(term.number for term in terms)
        if not text.isascii():
            # A run is found by pairs; a query of one character could not find it by those.
            alone = (self._term(one) for word in split if words.is_run(word) for one in set(words.ideographs(word)))
            counts |= Counter({term.number: 1 for term in alone})
        weights = {number: count * (SATURATION + 1) / (count + norm) for number, count in counts.items()}
        return Sparse([*weights], [*weights.values()])

    def query(self, text: str) -> Sparse:
        """Each word once, and the engine multiplies with how rare it is."""
        terms = self._terms(words.split(text))
        telling = {term.number for term in terms if not term.stop} or {term.number for term in terms}
        return Sparse([*telling], [1.0] * len(telling))

    def _terms(self, split: Iterable[str]) -> list[_Term]:
        terms: list[_Term] = []
        for word in split:
            if words.is_run(word):
                terms += map(self._term, words.pairs(word))
            else:
                terms.append(self._term(word))
        return terms

    def _make_term(self, word: str) -> _Term:
        plain = words.bare(word) or word
        language = self._language_of(plain)
        stemmer = self._stemmers.get(language)
        if language == "russian":
            plain = plain.replace("ё", "е")  # as it is mostly written
        stem = stemmer.stem_word(plain) if stemmer else plain
        text = words.fold(stem or plain)
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=4).digest()
        return _Term(text, int.from_bytes(digest), plain in STOPWORDS.get(language, ()))

    def _language_of(self, word: str) -> str:
        first = word[0]
        if first < "\u0370" or "\u1e00" <= first <= "\u1eff" or self._language == NONE:
            return self._language
        return next((name for least, most, name in _SCRIPTS if least <= first <= most), NONE)
