"""What a thread remembers of prompts and turns. Parts of domain.thread.ThreadState, and carried with it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from domain.approvals import Decided, Resolution, Terms
from domain.content import Content
from domain.prompts import Prompt
from domain.steps import PlannedCall

INLINE_PROMPT_BYTES = 32_000  # a larger prompt travels by its id


class Kept(BaseModel):
    """Part of the state. Fields of a newer release are kept, in case it comes back."""

    model_config = ConfigDict(extra="allow")


class Waiting(Kept):
    """A prompt that waits, or a turn that is opened again. `prompt` is None once it is saved and too large, or one too
    many, to be carried.
    """

    id: str
    digest: str
    place: int  # order of arrival
    agent: str | None = None
    preview: str = ""
    size: int = 0
    prompt: Prompt | None = None
    saved: bool = False
    revision: Content | None = None  # what it says now, until that is saved
    replies: bool = False  # somebody is to be told how it ended
    turn: int | None = None  # of a turn that is opened again: its number, its branch, and the step it goes on with
    branch: int = 0
    step: int = 0

    @property
    def in_store(self) -> bool:
        """Whether the store has what it says."""
        return self.saved and self.revision is None

    @property
    def can_start(self) -> bool:
        return self.revision is None and (self.saved or self.size <= INLINE_PROMPT_BYTES)


class Gated(Kept):
    """A call of the running step that is not run before something is decided about it."""

    index: int  # of the call in the plan
    since: float  # seconds since 1970
    told: list[str] = Field(default_factory=list)  # what somebody was told of it: asked, reminder, escalated
    resolution: Resolution | None = None


class Resolved(Kept):
    """What was decided about a call, once it has ended; see domain.approvals.Resolution."""

    id: str | None = None
    turn: int
    decision: Decided | None = None  # None: nothing was, when its turn ended
    sentence: str

    def is_of(self, wanted: Resolution) -> bool:
        """Whether this is what became of the very decision."""
        return wanted.id is not None and wanted.id == self.id


class Running(Kept):
    """The turn that runs and how far it got: the next model call is `step`."""

    prompt_id: str
    digest: str
    turn: int
    branch: int = 0
    step: int = 0
    agent: str
    preview: str = ""
    prompt: Prompt | None = None  # until the first step has saved it
    expect: list[str] = Field(default_factory=list)
    calls: int = 0  # tools that the step planned, while they run
    plan: list[PlannedCall] = Field(default_factory=list)  # the same, while one of them waits for somebody
    terms: Terms | None = None  # what happens while nobody decides
    gated: list[Gated] = Field(default_factory=list)  # those of the plan that do or did
    done: dict[int, str] = Field(default_factory=dict)  # of the plan: index → the result's id
    over: bool = False  # the model has stopped: the next step is only for prompts that join it
    handed_over: str = ""  # to this agent, by a tool of the step
    stop: str | None = None  # why it is being interrupted
    replaced_by: str | None = None  # the prompt that takes its place
    said: str = ""  # the start of what its last model call said, and where that is
    message_id: str | None = None
    replies: bool = False
    joined: dict[str, bool] = Field(default_factory=dict)  # prompts that came to it → whether to tell their senders
    joining: list[str] = Field(default_factory=list)  # those of them that come with the next step

    def stopped(self) -> bool:
        return self.stop is not None


class Said(Kept):
    """What an operator said, until the store has it."""

    id: str
    content: str
    by: str
    prompt_id: str | None = None  # that it is said to


class Shown(Kept):
    """A turn as the details page of the thread shows it."""

    turn: int
    prompt: str
    answer: str
    status: str
