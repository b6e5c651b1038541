"""Facts: what is remembered beside the messages, and the rules by which a fact is new, known, or replaced.

What a fact says never changes. A newer one closes it, or somebody forgets it: both stay, with the times between which they
held. A fact that a newer one names in `supersedes` is superseded, also if a crash came before its own row says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain import fusion, ids
from domain.errors import InputRefusedError
from domain.memory import FactScope, Holder

MAX_FACT_CHARS = 2_000
MAX_REPLACED = 20
# Cosine similarity from which two texts may say the same. High, since what is taken for known is lost: below it "sister" and
# "daughter", "morning" and "evening" are as near as two ways to say one thing, and a model is asked instead.
SAME_MEANING = 0.9
ECHOED_MEANING = 0.5  # likewise, of what a model found where the user did not say it
SUPPORTED = 0.5  # of a fact's words that the user has to have said, for it to be the user's
FactStatus = Literal["current", "superseded", "forgotten"]
FactOrigin = Literal["tool", "extracted", "api"]

_WORD = re.compile(r"[^\W_]+")
_FILLER = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "i",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "of",
        "on",
        "or",
        "our",
        "she",
        "s",
        "so",
        "that",
        "the",
        "their",
        "them",
        "they",
        "this",
        "to",
        "user",
        "users",
        "was",
        "we",
        "were",
        "will",
        "with",
        "you",
        "your",
        "named",
        "called",
        "name",
    ]
)
_NEGATIONS = frozenset(
    [
        "no",
        "not",
        "never",
        "none",
        "cannot",
        "t",
        "dislike",
        "dislikes",
        "disliked",
        "hate",
        "hates",
        "without",
        "nicht",
        "kein",
        "keine",
        "nie",
        "ne",
        "pas",
        "jamais",
    ]
)


class Fact(BaseModel):
    """One thing that is known. Times are seconds since 1970; `valid_to` None: it holds.

    `message`, `thread` and `turn` say where it comes from; of one that came by the API they are empty.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    tenant: str = ""
    owner: str = ""
    agent: str = ""
    scope: FactScope = "owner"
    space: str = ""  # see domain.memory.Holder
    text: str
    digest: str = ""  # of the text, normalised
    message: str = ""
    thread: str = ""
    turn: int | None = None
    confidence: float = 1.0
    valid_from: float = 0.0
    valid_to: float | None = None
    status: FactStatus = "current"
    supersedes: list[str] = Field(default_factory=list)
    superseded_by: str | None = None
    origin: FactOrigin = "api"
    embedded: str = ""  # the model whose vector it has
    created_at: float = 0.0
    updated_at: float = 0.0


class NewFact(BaseModel):
    """A fact to be remembered. `said_at`: when its source was said; `said`: the user's own words there."""

    model_config = ConfigDict(extra="forbid")

    holder: Holder = Field(default_factory=Holder)
    scope: FactScope = "owner"
    text: str = Field(max_length=10 * MAX_FACT_CHARS)
    confidence: float = Field(1.0, ge=0, le=1)
    replaces: list[str] = Field(default_factory=list, max_length=MAX_REPLACED)
    origin: FactOrigin = "api"
    message: str = ""
    thread: str = ""
    turn: int | None = None
    said_at: float | None = None
    said: str = ""

    @property
    def same_from(self) -> float:
        """The similarity from which it says what a known fact says."""
        echo = self.origin == "extracted" and not supported(self.text, self.said)
        return ECHOED_MEANING if echo else SAME_MEANING


class Learned(BaseModel):
    """What became of a new fact. `known` if it was there before, or may not come back; then `fact` is the old one."""

    fact: Fact
    known: bool = False
    replaced: list[str] = Field(default_factory=list)
    near: list[Fact] = Field(default_factory=list)  # current ones that may contradict it


class FactFilter(BaseModel):
    """All that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str | None = None
    owner: str | None = None
    agent: str | None = None
    scope: FactScope | None = None
    status: FactStatus | None = None
    message: str | None = None
    digest: str | None = None
    spaces: Sequence[str] | None = None


class FoundFact(BaseModel):
    """`score` is of 0 to 1: a hit by meaning and by words stands before all that are hits by one of them."""

    fact: Fact
    score: float
    dense: float | None = None  # cosine similarity
    lexical: float | None = None


class AddedFact(BaseModel):
    """A fact as somebody adds it by a door."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field("", max_length=200)
    owner: str = Field("", max_length=200)
    agent: str = Field("", max_length=200)
    scope: FactScope = "owner"
    text: str = Field(max_length=10 * MAX_FACT_CHARS)
    confidence: float = Field(1.0, ge=0, le=1)
    replaces: list[str] = Field(default_factory=list, max_length=MAX_REPLACED)

    @property
    def fact(self) -> NewFact:
        """Raises: InputRefusedError if it is for an agent and names none."""
        if self.scope == "agent" and not self.agent:
            raise InputRefusedError("agent: a fact of scope 'agent' names the agent that it is for")
        holder = Holder(tenant=self.tenant, owner=self.owner, agent=self.agent)
        fields = {"text": self.text, "confidence": self.confidence, "replaces": self.replaces, "scope": self.scope}
        return NewFact.model_validate({"holder": holder} | fields)


def read_fact(body: dict[str, object]) -> NewFact:
    """Raises: InputRefusedError naming the field."""
    try:
        return AddedFact.model_validate(body).fact
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise InputRefusedError("; ".join(problems)) from None


def normalised(text: str) -> str:
    """Raises: InputRefusedError if nothing is left, or too much."""
    clean = " ".join(unicodedata.normalize("NFC", text).split())
    if not _WORD.search(clean):
        raise InputRefusedError("text: a fact is a sentence of at least one word")
    if len(clean) > MAX_FACT_CHARS:
        raise InputRefusedError(f"text: a fact has at most {MAX_FACT_CHARS} characters, not {len(clean)}; say less")
    return clean


def digest_of(text: str) -> str:
    """The same for texts that differ in case, spaces and marks only."""
    return ids.content_digest(" ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold())))


def fact_id(space: str, source: str, digest: str) -> str:
    """The same for the same text from the same source, so that a repetition is the same fact."""
    return ids.record_id("fact", space, source, digest)


def words(text: str) -> set[str]:
    """What a text is about: its words without the small ones, and without endings."""
    found = (word.casefold() for word in _WORD.findall(text))
    return {_stem(word) for word in found if word not in _FILLER}


def adds_nothing(new: str, old: str, cosine: float, least: float = SAME_MEANING) -> bool:
    """Whether a text says what another one says: it means nearly the same, and has no name, number or denial of its own."""
    if digest_of(new) == digest_of(old):
        return True
    marks = _marks(new)
    return cosine >= least and marks <= words(old) and _denies(new) == _denies(old)


def supported(fact: str, said: str) -> bool:
    """Whether the words of a fact are found in what somebody said."""
    wanted = words(fact)
    return bool(wanted) and len(wanted & words(said)) / len(wanted) >= SUPPORTED


def may_return(closed: Fact, new: NewFact, now: float) -> bool:
    """Whether a fact that is closed may be remembered again: only if it was said again after that.

    What is learned by the way never brings back what was forgotten; nor does what the model repeats bring back anything.
    """
    since = closed.valid_to if closed.valid_to is not None else closed.updated_at
    if (new.said_at if new.said_at is not None else now) <= since:
        return False
    if new.origin == "api":
        return True
    return supported(new.text, new.said) and (closed.status == "superseded" or new.origin == "tool")


def fused(dense: Sequence[tuple[Fact, float]], lexical: Sequence[tuple[Fact, float]], limit: int) -> list[FoundFact]:
    """Both lists, best first, as one by rank, of which a hit in both stands before all others."""
    facts = {fact.id: fact for fact, _ in [*dense, *lexical]}
    by_meaning, by_words = ({fact.id: score for fact, score in hits} for hits in (dense, lexical))
    scores = fusion.fused([(list(by_meaning), 1.0), (list(by_words), 1.0)])
    best = sorted(scores, key=lambda found: (-scores[found], found))[:limit]
    return [
        FoundFact(fact=facts[found], score=scores[found], dense=by_meaning.get(found), lexical=by_words.get(found))
        for found in best
    ]


def _marks(text: str) -> set[str]:
    """Names and numbers: what tells two facts of one kind apart."""
    return {
        _stem(word.casefold())
        for word in _WORD.findall(text)
        if word.casefold() not in _FILLER and (word[0].isupper() or word[0].isdigit())
    }


def _denies(text: str) -> bool:
    return sum(word.casefold() in _NEGATIONS for word in _WORD.findall(text)) % 2 == 1


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "es", "ed", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
