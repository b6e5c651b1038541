"""What may be wished of prompts and turns, and what is told of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from domain.approvals import WaitingCall
from domain.content import Content
from domain.prompts import AgentName, Name, PromptId, PromptOptions, read_as
from domain.wire import Wire


class Receipt(Wire):
    """What a sender is told at once: `started`; `queued` behind others; `joining` the running turn; `interrupting` it, to
    come next; or `duplicate` of a known prompt.
    """

    prompt_id: str
    disposition: Literal["started", "queued", "joining", "interrupting", "duplicate"]


class Withdraw(Wire):
    """Take back a prompt that waits."""

    model_config = ConfigDict(extra="forbid")

    prompt_id: PromptId


class Edit(Wire):
    """Say something else with a prompt that waits. Its id goes on to mean what was sent first, and now says this."""

    model_config = ConfigDict(extra="forbid")

    prompt_id: PromptId
    content: Content


class ChangeReceipt(Wire):
    """The store has the change."""

    prompt_id: str
    disposition: Literal["withdrawn", "edited"]


class Again(Wire):
    """Which ended turn is to go on: by its prompt or by its number; without either the last that ended.

    `id` makes it idempotent. `agent` and `options` replace those of the prompt, each as a whole.
    """

    model_config = ConfigDict(extra="forbid")

    id: PromptId | None = None
    prompt_id: PromptId | None = None
    turn: Annotated[int, Field(ge=1, strict=True)] | None = None
    agent: AgentName | None = None
    options: PromptOptions | None = None


class Interrupt(Wire):
    """Stop the turn that runs, or only the one that is named; for any other it does nothing."""

    model_config = ConfigDict(extra="forbid")

    turn: Annotated[int, Field(ge=1, strict=True)] | None = None
    prompt_id: PromptId | None = None
    reason: Name | None = None


class InterruptReceipt(Wire):
    """`interrupting`: the turn is being stopped; `not_running`: it does not run, and nothing was done."""

    disposition: Literal["interrupting", "not_running"]
    turn: int | None = None
    prompt_id: str | None = None


class TurnQuery(Wire):
    """Which turn: by its prompt or by its number; without either the one that runs, else the last that ended."""

    model_config = ConfigDict(extra="forbid")

    prompt_id: PromptId | None = None
    turn: Annotated[int, Field(ge=1, strict=True)] | None = None


class TurnReport(Wire):
    """What became of a prompt so far. `text` is the start of the answer, `message_id` names it whole.

    `status` is waiting, running or unknown, or an end: answered, joined (another's turn, whose answer this is),
    interrupted, withdrawn, failed, refused.
    """

    prompt_id: str
    status: Literal[
        "waiting", "running", "unknown", "answered", "joined", "interrupted", "withdrawn", "failed", "refused"
    ]
    turn: int | None = None
    message_id: str | None = None
    text: str = ""
    error: str | None = None
    calls: list[WaitingCall] = Field(default_factory=list)  # of a running turn: those that somebody has to decide about

    @property
    def ended(self) -> bool:
        return self.status not in ("waiting", "running", "unknown")


def read_interrupt(value: Any) -> Interrupt:
    """From a JSON value; none at all means the turn that runs. Raises: InputRefusedError."""
    return read_as(Interrupt, {} if value is None else value, "an interrupt", '{"turn": 3}')


def read_withdraw(value: Any) -> Withdraw:
    """Raises: InputRefusedError."""
    return read_as(Withdraw, value, "a withdrawal", '{"prompt_id": "p-1"}')


def read_edit(value: Any) -> Edit:
    """Raises: InputRefusedError."""
    return read_as(Edit, value, "an edit", '{"prompt_id": "p-1", "content": "Hello"}')


def read_again(value: Any) -> Again:
    """Which turn is to go on; none at all means the last. Raises: InputRefusedError."""
    return read_as(Again, {} if value is None else value, "a wish", '{"prompt_id": "p-1"}')


def read_turn_query(value: Any) -> TurnQuery:
    """From a JSON value; none at all means the turn that runs. Raises: InputRefusedError."""
    return read_as(TurnQuery, {} if value is None else value, "a turn query", '{"prompt_id": "p-1"}')
