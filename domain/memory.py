"""What an agent keeps beyond its threads: facts, and a small document that it writes for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from domain import ids
from domain.errors import InputRefusedError

FactScope = Literal["owner", "tenant", "agent"]
MAX_NOTES_CHARS = 4_000
KEPT_WRITERS = 20


@dataclass(frozen=True)
class Memory:
    """What of it an agent has.

    - `facts`: the tools `remember`, `recall` and `forget`, and in each context the facts nearest to the prompt, of which
      there are at most `shown_facts` and `facts_tokens`.
    - `scope`: whose the facts are that it writes: the thread's owner's, for all agents; the tenant's, for all owners; or the
      owner's for this agent alone. It reads all three.
    - `extract`: facts are also learned from each turn in the background, by `model` (None: the agent's own).
    - `working`: a document of at most 4,000 characters per owner and agent, which it always sees and may edit.
    """

    facts: bool = True
    scope: FactScope = "owner"
    extract: bool = False
    model: str | None = None
    working: bool = False
    shown_facts: int = 10
    facts_tokens: int = 500

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(f"memory: {problem}")

    def _problems(self) -> Iterator[str]:
        if self.scope not in get_args(FactScope):
            yield f"scope must be one of {', '.join(get_args(FactScope))}, not {self.scope!r}"
        if not 0 <= self.shown_facts <= 100:
            yield f"shown_facts must be 0 to 100, not {self.shown_facts}"
        if not 0 <= self.facts_tokens <= 10_000:
            yield f"facts_tokens must be 0 to 10000, not {self.facts_tokens}"


class Holder(BaseModel):
    """Whose memory is meant: of which tenant, owner and agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field("", max_length=200)
    owner: str = Field("", max_length=200)
    agent: str = Field("", max_length=200)

    def space(self, scope: FactScope) -> str:
        """The id of what belongs together: facts of one space are shared, those of two never meet."""
        owner = "" if scope == "tenant" else self.owner
        agent = self.agent if scope == "agent" else ""
        return ids.record_id("space", scope, self.tenant, owner, agent)

    @property
    def visible(self) -> list[str]:
        """The spaces that a thread of this owner and agent may see."""
        return [self.space(scope) for scope in get_args(FactScope)]


class Notes(BaseModel):
    """Working memory as it is. `writers` are the keys of the last changes, so that a repeated one is known."""

    model_config = ConfigDict(extra="allow")

    text: str = ""
    version: int = 0
    writers: list[str] = Field(default_factory=list)
    updated_at: float = 0.0


class NotesChange(BaseModel):
    """Replace the whole, or the one place where `find` stands. `version` is what was seen, if that matters."""

    model_config = ConfigDict(extra="forbid")

    content: str | None = Field(None, description="The whole document, in the place of what is there.")
    find: str | None = Field(None, min_length=1, description="A passage that the document has exactly once.")
    replace: str | None = Field(None, description="What stands there instead; empty to remove it.")
    version: int | None = Field(None, ge=0, description="The version that you saw, as the document's heading says it.")

    def applied(self, notes: Notes) -> str:
        """The text after the change. Raises: InputRefusedError in words that a model can act on."""
        if self.version is not None and self.version != notes.version:
            raise InputRefusedError(
                f"version: the document was changed meanwhile and is version {notes.version} now. It says:\n{notes.text}"
            )
        if (self.content is None) is (self.find is None):
            raise InputRefusedError("give either content, the whole document, or find and replace")
        text = self._replaced(notes.text) if self.content is None else self.content
        if len(text) > MAX_NOTES_CHARS:
            raise InputRefusedError(
                f"the document would have {len(text)} characters; at most {MAX_NOTES_CHARS}: leave out what matters least"
            )
        return text

    def _replaced(self, text: str) -> str:
        assert self.find is not None
        if (count := text.count(self.find)) != 1:
            raise InputRefusedError(f"find: the document has this passage {count} times, not once. It says:\n{text}")
        return text.replace(self.find, self.replace or "")
