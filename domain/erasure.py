"""What is to be forgotten, and the receipt that says what was, and what remains where.

A receipt has no content: ids of threads and messages, numbers, and an opaque stand-in for an owner or a tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from domain import ids
from domain.content import valid_unicode
from domain.errors import InputRefusedError
from domain.prompts import Name, PromptId, read_as, read_thread_id
from domain.wire import Wire

MAX_MESSAGES = 1_000
SETTLE_S = 40.0  # longer than any lease of an activity that was lost
NAMED = 20  # threads that a receipt names; of further ones only the number
DELETED = "deleted"  # the status of a tombstone
EXAMPLE = '{"thread": "support-42"}'
MESSAGE_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def _thread_id(value: Any) -> Any:
    try:
        return read_thread_id(valid_unicode(value)) if isinstance(value, str) else value
    except InputRefusedError as error:
        raise ValueError(f"is none: {error}") from None


MessageId = Annotated[str, Field(pattern=MESSAGE_ID, strict=True)]
ThreadId = Annotated[str, BeforeValidator(_thread_id)]
TurnNumber = Annotated[int, Field(ge=1, le=10**9, strict=True)]


class TurnRange(Wire):
    """From the turn `first` to the turn `last`, both of them too."""

    model_config = ConfigDict(extra="forbid")

    first: TurnNumber
    last: TurnNumber

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(
                f"ends with turn {self.last}, before its first, {self.first}; give them the other way round"
            )
        return self


class ErasureRequest(Wire):
    """Exactly one of: some `messages` by their ids, a `thread` (or some `turns` of it), all of an `owner` of a tenant, or
    all of a `tenant`.

    With `before` (seconds since 1970), only whole turns of a thread, an owner or a tenant all of which is older. A message
    that is a turn's prompt stands for its whole turn. An owner without a tenant is one of threads that have none.
    `histories`: Temporal's of deleted threads are deleted too, rather than kept until the namespace's retention.
    `id` makes it idempotent.
    """

    model_config = ConfigDict(extra="forbid")

    id: PromptId | None = None
    messages: Annotated[list[MessageId], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    thread: ThreadId | None = None
    turns: TurnRange | None = None
    owner: Name | None = None
    tenant: Name | None = None
    before: Annotated[float, Field(gt=0, le=10**11, allow_inf_nan=False)] | None = None
    histories: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        person = self.owner is not None or self.tenant is not None
        given = [name for name in ("messages", "thread") if getattr(self, name) is not None]
        given += ["owner" if self.owner is not None else "tenant"] if person else []
        if len(given) != 1:
            which = f"{' and '.join(given)} are given" if given else "nothing is named"
            raise ValueError(f"says what to erase by one of messages, thread, owner or tenant; {which}")
        if self.turns is not None and self.thread is None:
            raise ValueError("has turns, which are of a thread; name the thread")
        if self.before is not None and (self.messages is not None or self.turns is not None):
            raise ValueError("has before, which narrows a thread, an owner or a tenant; leave it out")
        if self.histories and not self.whole_threads:
            raise ValueError("has histories, which are deleted with whole threads only; leave it out")
        return self

    @property
    def whole_threads(self) -> bool:
        """Whether threads are deleted, not only some of their turns."""
        return self.messages is None and self.turns is None and self.before is None

    @property
    def person(self) -> Part | None:
        """Whose is erased; None if it is not a person's or a tenant's."""
        if self.owner is not None:
            return Part(tenant=self.tenant or "", owner=self.owner)
        return Part(tenant=self.tenant) if self.tenant is not None else None

    def subject(self) -> str:
        """What a receipt says of it."""
        if self.messages is not None:
            return f"{len(self.messages)} messages"
        if self.owner is not None:
            what = f"owner {ids.opaque(self.tenant or '', self.owner)}"
        elif self.tenant is not None:
            what = f"tenant {ids.opaque(self.tenant)}"
        else:
            what = f"thread {self.thread}"
        turns = f", turns {self.turns.first} to {self.turns.last}" if self.turns else ""
        return what + turns + (f", older than {self.before:.0f}" if self.before is not None else "")


class Part(BaseModel):
    """Some of what is stored: all that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str | None = None
    owner: str | None = None
    thread: str | None = None
    turn: int | None = None
    messages: Sequence[str] | None = None
    before: float | None = None  # last changed earlier, seconds since 1970
    since: float | None = None  # then, or later


class Remaining(Wire):
    """What is not erased: where it is, how much, and until when; `names` are the first of them."""

    where: str
    what: str
    count: int = 0
    names: list[str] = Field(default_factory=list)
    until: str = ""


class ErasureReceipt(BaseModel):
    """How far an erasure is, and in the end what it did. `verified`: no row counted, and none found by a search, is left."""

    model_config = ConfigDict(extra="ignore")

    id: str
    subject: str = ""
    status: Literal["running", "done", "incomplete"] = "running"
    requested_at: float = 0.0  # seconds since 1970
    ended_at: float | None = None
    threads: int = 0  # deleted
    erased: dict[str, int] = Field(default_factory=dict)  # collection → rows
    left: list[str] = Field(default_factory=list)  # what was not erased, and why
    counted: int | None = None  # rows that are left, by count
    found: int | None = None  # likewise, by search
    verified: bool = False
    remaining: list[Remaining] = Field(default_factory=list)


class Erasing(ErasureReceipt):
    """The receipt while rows are deleted: those that are about to be, which are in its numbers already."""

    of: str = ""  # their collection
    page: list[str] = Field(default_factory=list)
    open_threads: list[str] = Field(default_factory=list)  # threads that live on without some of their turns
    turns: list[tuple[str, int]] = Field(
        default_factory=list
    )  # of messages that stand for their turns: thread and turn


class Forget(Wire):
    """Tells a thread that messages of some turns are erased: it no longer shows these turns.

    `prompt_ids` are those of the turns' prompts, and of what joined them.
    """

    model_config = ConfigDict(extra="forbid")

    prompt_ids: Annotated[list[PromptId], Field(min_length=1, max_length=10 * MAX_MESSAGES)]
    turns: Annotated[list[TurnNumber], Field(max_length=MAX_MESSAGES)] = Field(default_factory=list)


class ForgetReceipt(Wire):
    """`open` are those of the prompts that wait or run, which were not forgotten."""

    open: list[str] = Field(default_factory=list)


class EraseInput(Wire):
    """Start input of the workflow `Erase`. After `settle_s` seconds no attempt that was lost can write any more."""

    v: int = 1
    request: ErasureRequest
    settle_s: float = SETTLE_S
    sweeps: int = 0  # carried by a run that continues another


class EraseStep(Wire):
    """One activity's part of an erasure, from where the last one ended."""

    v: int = 1
    id: str
    request: ErasureRequest
    after: str | None = None


class EraseStepResult(Wire):
    """`after` is where the next one goes on, None at the end; `left`: rows that are still there."""

    after: str | None = None
    left: int = 0
    receipt: ErasureReceipt | None = None


def read_erasure(value: Any, now: float | None = None) -> ErasureRequest:
    """From a JSON value; `now` in seconds since 1970 keeps `before` from lying ahead. Raises: InputRefusedError."""
    request = read_as(ErasureRequest, value, "an erasure", EXAMPLE)
    if now is not None and request.before is not None and request.before > now:
        raise InputRefusedError(
            f"erasure: before {request.before:.0f} lies ahead, it is {now:.0f}; give a time that is past"
        )
    return request


def read_forget(value: Any) -> Forget:
    """Raises: InputRefusedError."""
    return read_as(Forget, value, "what is to be forgotten", '{"prompt_ids": ["p-1"]}')
