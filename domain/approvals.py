"""Calls that are not run at once: somebody has to approve them first, or somebody else gives their result.

A decision is bound to one call and to a digest of its arguments, so that it cannot be taken for another. It is made once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from domain import ids
from domain.content import valid_unicode
from domain.messages import preview
from domain.prompts import Metadata, Name, PromptId, ReplyTo, measure, read_as
from domain.wire import Wire, json_size

MAX_REASON = 1_000  # characters
MAX_RESULT_BYTES = 32_000  # as JSON
MAX_DECISION_BYTES = 40_000  # whole, as JSON
LONGEST_S = 366 * 86_400.0
SHOWN_ARGUMENTS, SHOWN_OF_STEP = 300, 6_000  # characters, of a call and of all calls of a step

GateKind = Literal["approval", "result"]
Decided = Literal["approve", "deny", "result", "error"]
Default = Literal["approve", "deny"]


@dataclass(frozen=True)
class ApprovalPolicy:
    """Which calls of an agent need an approval, and what happens while nobody decides.

    Patterns are of tools' names (`*`, `send_*`): of `require` those need one whatever the tool says, of `allow` none
    does; `require` comes first. Seconds count from when the call began to wait: after `remind_s` whoever `notify` names is
    told again, after `escalate_s` whoever `escalate_to` names is told too, and after `deadline_s` the call is decided as
    `default` says. Without a deadline it waits for ever. Calls of tools that others run wait by the same seconds; at the
    deadline they fail.
    """

    require: Sequence[str] = ()
    allow: Sequence[str] = ()
    deadline_s: float | None = None
    remind_s: float | None = None
    escalate_s: float | None = None
    default: Default = "deny"
    notify: ReplyTo | None = None
    escalate_to: ReplyTo | None = None

    def __post_init__(self) -> None:
        for name in ("deadline_s", "remind_s", "escalate_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= LONGEST_S:
                raise ValueError(f"approvals: {name} must be over 0 and at most {LONGEST_S:g}, not {value}")
        for needed, by in (("escalate_to", "escalate_s"), ("notify", "remind_s")):
            if getattr(self, by) is not None and getattr(self, needed) is None:
                raise ValueError(f"approvals: {by} tells nobody without {needed}; say whom")
        if self.default not in ("approve", "deny"):
            raise ValueError(f"approvals: default must be approve or deny, not {self.default!r}")

    @property
    def terms(self) -> Terms:
        return Terms(**{name: getattr(self, name) for name in Terms.model_fields})

    def asks(self, tool: str, *, wanted: bool) -> bool:
        """Whether a call of the tool needs an approval; `wanted` is what the tool says itself."""
        if any(fnmatchcase(tool, pattern) for pattern in self.require):
            return True
        return wanted and not any(fnmatchcase(tool, pattern) for pattern in self.allow)


class Terms(Wire):
    """What happens while nobody decides about the calls of a step; see ApprovalPolicy."""

    deadline_s: float | None = None
    remind_s: float | None = None
    escalate_s: float | None = None
    default: Default = "deny"
    notify: ReplyTo | None = None
    escalate_to: ReplyTo | None = None


class Gate(Wire):
    """Why a planned call is not run at once."""

    kind: GateKind = "approval"
    digest: str
    arguments: str = ""  # their start, for whoever decides


def gate_of(kind: GateKind, tool: str, arguments: str, calls: int = 1) -> Gate:
    """`calls`: how many the step has, which share what can be shown."""
    chars = min(SHOWN_ARGUMENTS, SHOWN_OF_STEP // calls)
    return Gate(kind=kind, digest=call_digest(tool, arguments), arguments=preview(arguments, chars))


def call_digest(tool: str, arguments: str) -> str:
    """20 hex digits that stand for a tool and the arguments of a call, however their JSON is written."""
    try:
        return ids.content_digest(tool, json.loads(arguments or "{}"))
    except (ValueError, RecursionError):
        return ids.content_digest(tool, arguments)


def _result(value: Any) -> Any:
    if (size := measure(value)) > MAX_RESULT_BYTES:
        raise ValueError(f"has about {size} bytes, more than {MAX_RESULT_BYTES}; keep large data elsewhere")
    return value


class Resolution(Wire):
    """What becomes of a call that waits.

    `approve` it, with other `arguments` if some are given, or `deny` it, for a `reason` that the model reads; of a call
    that somebody else runs give the `result`, any JSON, or say that there is none: `error`, with the `reason`. `digest` is
    that of the call as it was shown: an approval needs it. `by` is who decided. The same `id` again is the same decision; another one under it is refused.
    """

    model_config = ConfigDict(extra="forbid")

    id: PromptId | None = None
    call_id: Annotated[str, BeforeValidator(valid_unicode), Field(min_length=1, max_length=200)]
    decision: Decided
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")] | None = None
    by: Name | None = None
    reason: Annotated[str, BeforeValidator(valid_unicode), Field(max_length=MAX_REASON)] | None = None
    arguments: Metadata | None = None
    result: Annotated[Any, BeforeValidator(_result)] = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.decision == "approve" and self.digest is None:
            raise ValueError("approve needs the digest of the call, which says which arguments are meant; see status")
        if self.decision == "error" and not (self.reason or "").strip():
            raise ValueError("error needs a reason, which the model reads")
        if self.arguments is not None and self.decision != "approve":
            raise ValueError("arguments go with approve: they are what is approved instead")
        if self.result is not None and self.decision != "result":
            raise ValueError("a result goes with the decision result")
        if (size := json_size(self)) > MAX_DECISION_BYTES:
            raise ValueError(f"has {size} bytes, more than {MAX_DECISION_BYTES}; keep large data elsewhere")
        return self

    def sentence(self) -> str:
        """What the model, or a person who comes too late, is told of the call."""
        what = {
            "approve": "was approved",
            "deny": "was denied",
            "result": "was answered",
            "error": "ended with an error",
        }
        by = f" by {self.by}" if self.by else ""
        return f"{what[self.decision]}{by}" + (f": {self.reason}" if self.reason else "")


class ResolveReceipt(Wire):
    """The decision is taken, and the turn goes on once all that it waits for is there."""

    call_id: str
    decision: Decided
    turn: int
    left: int = 0  # calls of the turn that still wait


class WaitingCall(Wire):
    """A call that waits. `since` and `deadline` are seconds since 1970; `arguments` is their start, as JSON text."""

    call_id: str
    tool: str
    kind: GateKind = "approval"
    digest: str
    arguments: str = ""
    since: float
    deadline: float | None = None


def read_resolution(value: Any) -> Resolution:
    """Raises: InputRefusedError."""
    example = '{"call_id": "call_1", "decision": "approve", "digest": "…"}'
    return read_as(Resolution, value, "a resolution", example)
