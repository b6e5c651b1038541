"""What the thread's workflow and its activities say to each other: ids and decisions, never a transcript.

These models are in histories for ever: fields are only added, with defaults. What equals its default is not sent, since
every byte here is paid for on every turn.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from domain.agent import Effect
from domain.approvals import Gate, Resolution, Terms, WaitingCall
from domain.content import Content
from domain.messages import Usage
from domain.prompts import Mode, Prompt, PromptOptions, Refusal, ReplyTo, ThreadStart
from domain.wire import Wire

MAX_ATTEMPT = 999_999
_EPOCH, _STEP = 10**9, 10**6


def fence(epoch: int, step: int, attempt: int) -> int:
    """The number that orders all who may write a turn's rows.

    A later run of the thread beats every attempt of an earlier one, a later step every attempt of an earlier step.
    """
    return epoch * _EPOCH + step * _STEP + min(attempt, MAX_ATTEMPT)


def closing_fence(epoch: int) -> int:
    """Beats every attempt of every step in the epoch: for the end of a turn that no step could end."""
    return fence(epoch, 999, MAX_ATTEMPT)


def epoch_of(fence: int) -> int:
    return fence // _EPOCH


def attempt_of(fence: int) -> int:
    """The attempt, from 1, within its step."""
    return fence % _STEP


class OpenRequest(Wire):
    v: int = 1
    thread: str
    run_id: str
    start: ThreadStart = Field(default_factory=ThreadStart)


class Opened(Wire):
    """`state` is the thread as the store knows it, see domain.thread.ThreadState; `new`: it had never been opened.

    `refused` is why it is not opened.
    """

    state: dict[str, Any] = Field(default_factory=dict)
    new: bool = False
    refused: str = ""
    unknown: bool = False  # refused since there is no such thread


class StepRequest(Wire):
    """One model call. `prompt` comes with the first step only, `expect` names rows that the step must see.

    `joined`: the ids of prompts that come to the turn with this step.
    """

    v: int = 1
    thread: str
    epoch: int
    prompt_id: str
    turn: int
    branch: int = 0
    step: int = 0
    agent: str
    prompt: Prompt | None = None
    expect: list[str] = Field(default_factory=list)
    joined: list[str] = Field(default_factory=list)


class PlannedCall(Wire):
    """A tool call as the workflow needs to know it; the arguments stay in the store."""

    call_id: str
    tool: str
    effect: Effect = "write"  # the safe side, should it ever be missing
    timeout_s: float = 30.0
    offered: bool = True  # else the model called what it had not been given
    queue: str = ""  # the task queue it runs on, if not the thread's
    gate: Gate | None = None  # why it is not run at once


# stop, length, content_filter …: the model's own words; tool_calls: `plan` comes next;
# step_limit, token_limit, time_limit, loop: why the turn's last call was its last, see domain.budgets;
# interrupted: what came so far is in the row, which `close_turn` ends;
# duplicate, conflict: the prompt's id is taken by an older prompt that said the same, or something else.
Finish = str


class StepResult(Wire):
    message_id: str
    finish: Finish = "stop"
    preview: str = ""
    usage: Usage | None = None
    plan: list[PlannedCall] = Field(default_factory=list)
    terms: Terms | None = None  # of the plan's calls that wait for somebody
    busy_mode: Mode = "queue"  # of prompts that come meanwhile and do not say
    agent: str = ""  # who answers the turn, if another one than was asked


class ToolRequest(Wire):
    v: int = 1
    thread: str
    epoch: int
    prompt_id: str
    turn: int
    branch: int = 0
    step: int = 0
    index: int = 0
    agent: str
    call: PlannedCall
    resolution: Resolution | None = None  # of a call that waited


class ToolResult(Wire):
    message_id: str
    status: Literal["complete", "failed", "interrupted"] = "complete"
    agent: str = ""  # who has the thread from now on, if it was handed over


class Revision(Wire):
    """What a waiting prompt says now."""

    prompt_id: str
    content: Content


class SaveRequest(Wire):
    """Prompts that must wait, or that are too large to travel: saved so that they are seen and cannot be lost.

    Then what was changed of waiting ones, and which were withdrawn.
    """

    v: int = 1
    thread: str
    prompts: list[Prompt]
    places: list[int]
    revisions: list[Revision] = Field(default_factory=list)
    withdrawn: list[str] = Field(default_factory=list)


class SaveResult(Wire):
    """Of the prompts asked for: those whose id an older prompt has, with the same text or with another."""

    duplicates: list[str] = Field(default_factory=list)
    conflicts: list[str] = Field(default_factory=list)


class CloseRequest(Wire):
    """How a turn ended that no model call could end, and what was refused. `calls`: how many tools the step planned."""

    v: int = 1
    thread: str
    epoch: int
    prompt_id: str | None = None
    turn: int = 0
    branch: int = 0
    step: int = 0
    agent: str = ""
    prompt: Prompt | None = None
    status: Literal["failed", "interrupted"] = "failed"
    error: str = ""
    calls: int = 0
    joined: list[str] = Field(default_factory=list)  # prompts that were to come with the step
    replaced_by: str | None = None
    refusals: list[Refusal] = Field(default_factory=list)


class Closed(Wire):
    """The end that the prompt's row has, which an attempt of the last step may have written before it was given up."""

    status: str
    message_id: str | None = None
    preview: str = ""


class FindRequest(Wire):
    """Asks the store what became of a prompt that the thread no longer remembers."""

    v: int = 1
    thread: str
    prompt_id: str


class ReopenRequest(Wire):
    """An ended turn is to go on, after its last step, or to begin again on a new branch. `id` is the wish's own."""

    v: int = 1
    thread: str
    run_id: str
    id: str
    kind: Literal["regenerate", "resume"]
    prompt_id: str
    agent: str | None = None
    options: PromptOptions | None = None


class Reopened(Wire):
    """`waiting` is how the thread goes on with it, see domain.state.Waiting; None: that was done before. `refused`: why not."""

    epoch: int = 0
    waiting: dict[str, Any] | None = None
    refused: str = ""


class DeliverRequest(Wire):
    """Tells whoever the prompt names how it ended."""

    v: int = 1
    thread: str
    prompt_id: str


class DeliverResult(Wire):
    """`none`: the prompt names nobody."""

    status: Literal["delivered", "undeliverable", "none"]


class NotifyRequest(Wire):
    """Tells an address of a call that waits."""

    v: int = 1
    thread: str
    prompt_id: str
    turn: int
    message_id: str  # the call's row
    call: WaitingCall
    why: Literal["asked", "reminder", "escalated"]
    to: ReplyTo


class OperatorRequest(Wire):
    """Who has the thread now; nobody: the agent."""

    v: int = 1
    thread: str
    operator: str = ""
    before: str = ""


class SayRequest(Wire):
    """What an operator says: to the prompt of the turn, or, without one, as a turn of its own."""

    v: int = 1
    thread: str
    epoch: int
    id: str
    by: str
    content: str
    turn: int
    prompt_id: str | None = None
    branch: int = 0
    step: int = 0


class SayResult(Wire):
    message_id: str


class CheckpointRequest(Wire):
    v: int = 1
    thread: str
    epoch: int
    turn: int
    state: dict[str, Any]
