"""The stored message: our own neutral form, plus the provider's object kept whole."""

from __future__ import annotations

from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from domain.delegation import Child, Parent

PREVIEW_CHARS = 300
SKETCHED = 8  # fields of an object
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\ufffd")
_TERMINAL = {code: None for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}

T = TypeVar("T")

# What is stored is read as text, so that a row of a newer release does not stop an older one.
Role = str  # user, assistant, tool
# `pending` is open: the prompt waits or its turn runs, the answer streams, the tool runs. All others are final:
# answered (a prompt), complete (an answer, a result), joined (a prompt that came to another's turn), interrupted,
# withdrawn, failed, refused, denied (a call).
Status = str


class ToolCall(BaseModel):
    """A call as the model wrote it; `arguments` is its JSON text, which may be invalid."""

    model_config = ConfigDict(extra="allow")

    call_id: str
    name: str
    arguments: str


class Usage(BaseModel):
    """Tokens, as the provider counted them."""

    model_config = ConfigDict(extra="allow")

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Message(BaseModel):
    """One row of a conversation: a prompt, an answer of the model, or a tool's result.

    Single writer: the attempt that holds the row. A row is inserted once; while it is `pending` it may be changed by an
    attempt whose `attempt` number is not lower than the row's; once final it is never changed by a turn again.
    Fields that a newer release wrote are kept.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    thread: str
    prompt_id: str
    slot: str
    role: Role
    tenant: str = ""
    owner: str = ""
    turn: int | None = None  # None: a prompt that waits
    branch: int = 0
    step: int = 0
    seq: int = 0  # place in the thread, see domain.ids.seq
    status: Status = "pending"
    attempt: int = 0  # fence, see domain.steps.fence
    text: str = ""
    tool_calls: list[ToolCall] = Field(default_factory=list)
    call_id: str | None = None  # of a tool's result
    name: str | None = None  # of the tool
    said: list[str] = Field(default_factory=list)  # of a result: the ids of the messages that the tool saved meanwhile
    failures: int = 0  # of a result: how often the tool has failed and is tried again
    blob: dict[str, Any] | None = None  # of a result too long for the model, kept whole elsewhere: {ref, chars}
    output: str | None = None  # of a result whose text was made for the model: the result itself, as JSON
    author: str | None = None
    agent: str | None = None
    model: str | None = None
    finish: str | None = None
    error: str | None = None
    error_type: str | None = None  # of an answer that failed: the name of the error, where that is told
    reasoning: str | None = None  # of an answer: what the model thought before it
    sources: list[dict[str, Any]] | None = None  # of an answer: what it is drawn from, {url, title, …}
    object: Any = None  # of an answer that was to be one: the value that `text` is the JSON of
    repair: dict[str, Any] | None = None  # of such an answer: what was wrong with the first try, {error, text}
    usage: Usage | None = None
    index: str | None = None  # of prompts and answers, for search: due (to be indexed), done, skipped (not to be found)
    place: int | None = None  # among the messages of its thread that are in the index
    tokens: int | None = None  # of its text, as the embedding model counted them
    digest: str | None = None  # of a prompt: tells another text under the same id
    answer: str | None = None  # of a prompt that has ended: the id of its last answer
    refers_to: str | None = None  # of a refusal: the prompt id it was about
    joined: list[str] = Field(default_factory=list)  # of an answer: the ids of the prompts' rows that came to it
    joins: str | None = None  # of a prompt that joined a turn: the id of that turn's prompt
    reopened_by: str | None = None  # of a prompt whose turn was opened again: the id of the last wish for it
    replaced_by: str | None = None  # of a prompt: the id of the one that took its place; no model sees its turn
    from_step: int = 0  # of a prompt whose turn was gone on with after its end: the first step after that
    waits: str | None = None  # of a call's row, before it runs: approval or result, see domain.approvals
    arguments: str | None = None  # of such a call: their JSON text
    args_digest: str | None = None  # and what stands for them in a decision
    deadline: float | None = None  # seconds since 1970
    decision: dict[str, Any] | None = None  # what was decided about it, see domain.approvals.Resolution
    decided_at: float | None = None  # seconds since 1970
    parts: list[dict[str, Any]] | None = None  # of a prompt that is not just text, see domain.content.Part
    options: dict[str, Any] | None = None  # of a prompt, see domain.prompts.PromptOptions
    reply_to: dict[str, Any] | None = None  # of a prompt, see domain.prompts.ReplyTo
    delivery: dict[str, Any] | None = None  # what became of that: {status, attempts, error, at, reopened_by?}
    child: Child | None = None  # of a tool's result: the thread on which another agent was asked
    handoff: str | None = None  # of a tool's result: the agent that has the thread from then on
    learn: str | None = None  # of a prompt whose turn has facts to be learned: due, ready, done or failed
    learn_at: float | None = None  # when that is due, seconds since 1970
    learn_tries: int = 0
    lesson: dict[str, Any] | None = None  # what was learned of it, see activities.learning
    metadata: dict[str, Any] = Field(default_factory=dict)
    erased: bool = False  # of a prompt: rows of its turn were erased, so that it cannot be gone on with
    mcp: dict[str, Any] | None = None  # of an answer: what MCP servers offered it, see domain.mcp.Listing
    context: dict[str, Any] | None = None  # of an answer: what the model was shown, see domain.context_record
    raw: dict[str, Any] | None = None  # the provider's object, whole
    result: dict[str, Any] | None = None  # what the workflow was told, so that a retry tells it the same
    created_at: float = 0.0  # seconds since 1970
    updated_at: float = 0.0

    @property
    def final(self) -> bool:
        return self.status != "pending"


class ThreadRecord(BaseModel):
    """What the store knows of a thread; `turns` is the number of the last turn that ended."""

    model_config = ConfigDict(extra="allow")

    thread: str
    tenant: str = ""
    owner: str = ""
    agent: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    turns: int = 0
    preview: str = ""  # the last prompt, shortened
    # or failed: how the last turn ended; or waiting: one that runs waits for somebody; or deleted: for good
    status: str = "active"
    idle_timeout_s: float | None = None  # see domain.prompts.ThreadStart
    expires_at: float | None = None
    operator: str = ""  # the person who has the thread in the agent's place
    parent: Parent | None = None  # the call that made it, of a thread on which one agent asks another
    compaction: str = ""  # due: older turns do not fit any longer, and are to be summarised up to `compact_through`
    compact_through: int = 0
    summary_through: int = 0  # the last turn that the thread's summary stands for, see domain.summaries
    epoch: int = 0  # how often the thread was opened; fences what an earlier run left behind
    run_id: str = ""
    erasure: str = ""  # of a deleted thread: the erasure that did it
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def deleted(self) -> bool:
        """Whether it is a tombstone: nothing is written to the thread any more, and it is never opened again."""
        return self.status == "deleted"


class Page(BaseModel, Generic[T]):
    """Some of a list; `next` goes into the call for the rest, None at the end."""

    items: list[T]
    next: str | None = None


def preview(text: str, chars: int = PREVIEW_CHARS) -> str:
    """The start of a text on one line, at most `chars` characters long, without control characters."""
    line = " ".join(text[: chars * 4].split()).translate(_CONTROLS)
    return line if len(line) <= chars else line[: chars - 1] + "…"


def printable(text: str) -> str:
    """Text from outside without what would drive a terminal; line ends and tabs stay."""
    return text.translate(_TERMINAL)


def describe(value: Any) -> str:
    """A value as an error message shows it: its kind and its start, safe to store and to print."""
    kinds = {dict: "an object", list: "a list", str: "a string", type(None): "null", bool: "a boolean"}
    kind = kinds.get(type(value), "a number" if isinstance(value, int | float) else "something else")
    shown = _scalar(value)
    return f"{kind} ({shown})" if shown else kind


def sketch(value: Any) -> str:
    """What was sent, on a short line: a text as it is, an object by its first fields, the rest by its kind."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        fields = (
            f"{preview(ascii(key), 60)}: {_scalar(field) or describe(field)}"
            for key, field in islice(value.items(), SKETCHED)
        )
        return "{" + ", ".join(fields) + (", …}" if len(value) > SKETCHED else "}")
    return describe(value)


def _scalar(value: Any) -> str:
    """Its start, as a program would write it; nothing for what is not a scalar."""
    return preview(ascii(value), 60) if isinstance(value, str | bool | int | float) else ""


def mend_text(text: str) -> str:
    """The text with surrogate pairs joined and lone halves replaced by U+FFFD.

    Providers that cut a stream between the two halves of a character send each as a text of its own.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
