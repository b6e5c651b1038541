"""What may be sent to a thread, and how it is refused.

Inside Temporal there is no door: a signal or a start input can hold anything. So both are read from plain JSON values
by the pure functions here, which either return a valid model or raise InputRefusedError with a sentence that names the
field, the value, the rule and the remedy.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from domain import ids
from domain.content import Content, text_of, valid_unicode
from domain.delegation import Parent
from domain.errors import InputRefusedError
from domain.messages import describe, preview
from domain.output import output_of
from domain.wire import Wire, json_size

MAX_METADATA_BYTES = 16_000
MAX_DEPTH = 16
MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH = 32_000, 48
MAX_INT = 2**63 - 1  # what the store can hold
MAX_NAME = 200
MAX_INSTRUCTIONS = 8_000  # characters
# Spelled out, since what Python calls printable changes with its version, and a replay must not.
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/]")
MAX_CONTEXT_PROMPT = 100_000  # characters
ID_PATTERN = r"^[\x21-\x7e]{1,128}$"  # a thousand of them are carried by the thread
M = TypeVar("M", bound=BaseModel)

AGENT_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"


def _plain_json(value: Any) -> Any:
    if isinstance(value, dict):
        size = measure(value)
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"has about {size} bytes, more than {MAX_METADATA_BYTES}; keep large data elsewhere")
    return value


def _output(value: Any) -> Any:
    if not isinstance(value, dict | list):
        raise ValueError(  # noqa: TRY004 - what pydantic takes for a refusal
            f"is a JSON schema or a list of texts to choose from, not {describe(value)}"
        )
    if (size := measure(value, MAX_SCHEMA_DEPTH)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"has about {size} bytes, more than {MAX_SCHEMA_BYTES}; ask for less, or let the agent say it")
    try:
        output_of(value)
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from None
    return value


def measure(value: Any, levels: int = MAX_DEPTH, depth: int = 1) -> int:
    """Roughly the bytes of a JSON value. Raises: ValueError if the store could not keep it."""
    if depth > levels:
        raise ValueError(f"is nested deeper than {levels} levels; flatten it")
    if isinstance(value, dict):
        return 2 + sum(measure(k, levels, depth + 1) + measure(v, levels, depth + 1) + 2 for k, v in value.items())
    if isinstance(value, list):
        return 2 + sum(measure(item, levels, depth + 1) + 1 for item in value)
    if isinstance(value, str):
        return len(valid_unicode(value).encode()) + 2
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds NaN or Infinity, which JSON does not have; send null")
    if isinstance(value, int) and abs(value) > MAX_INT:
        raise ValueError("holds a number beyond 64 bits; send it as a string")
    return len(str(value))


PromptId = Annotated[str, Field(pattern=ID_PATTERN, strict=True)]
AgentName = Annotated[str, Field(pattern=AGENT_PATTERN, strict=True)]
Name = Annotated[str, BeforeValidator(valid_unicode), Field(min_length=1, max_length=MAX_NAME)]
Seconds = Annotated[float, Field(gt=0, le=100 * 365 * 86_400, allow_inf_nan=False)]
Metadata = Annotated[dict[str, Any], BeforeValidator(_plain_json)]
Wanted = Annotated[dict[str, Any] | list[str], BeforeValidator(_output)]
Instructions = Annotated[str, BeforeValidator(valid_unicode), Field(max_length=MAX_INSTRUCTIONS)]
ContextPrompt = Annotated[
    str, BeforeValidator(valid_unicode), Field(min_length=1, max_length=MAX_CONTEXT_PROMPT, pattern=r"\S")
]
Mode = Literal["queue", "steer", "interrupt", "replace", "reject"]


class PromptOptions(Wire):
    """What a prompt wants otherwise than its agent: each option replaces the agent's as a whole.

    `model` may be `provider/model`, or a list, of which the first that is available answers. `tools` names those of the
    agent's tools that may be used. `settings` goes to the provider as it is (temperature …). `tool_choice` is auto,
    required, none or a tool's name, for the first model call; after one of the tools `stop_after_tools` has succeeded no
    further call is made. `max_tokens` and `max_seconds` bound the whole turn. `output` is what the answer must be: a
    JSON schema, or a list of texts to choose from. `context_prompt` is what the model reads in this turn in the place of
    the prompt's text, which is stored, shown and searched as it is. `exclude_tool_messages` leaves the calls of earlier turns out.
    What is not `searchable` is never found by a search, nor its answer.
    """

    model_config = ConfigDict(extra="forbid")

    model: Name | Annotated[list[Name], Field(min_length=1, max_length=10)] | None = None
    instructions: Instructions | Annotated[list[Instructions], Field(max_length=10)] | None = None
    tools: Annotated[list[Name], Field(max_length=ids.MAX_CALLS)] | None = None
    settings: Metadata | None = None
    max_steps: Annotated[int, Field(ge=1, le=ids.MAX_STEPS, strict=True)] | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    max_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None
    recent_messages: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = None
    exclude_tool_messages: Annotated[bool, Field(strict=True)] | None = None
    context_prompt: ContextPrompt | None = None
    output: Wanted | None = None
    tool_choice: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", strict=True)] | None = None
    parallel_tool_calls: Annotated[bool, Field(strict=True)] | None = None
    stop_after_tools: Annotated[list[Name], Field(max_length=ids.MAX_CALLS)] | None = None
    searchable: Annotated[bool, Field(strict=True)] = True


class ReplyTo(Wire):
    """Who is told how the prompt ended: a workflow, by a signal, or a web address, by a signed POST.

    It is tried for `within_s` seconds from the end on, and may come more than once, with the same prompt id.
    """

    model_config = ConfigDict(extra="forbid")

    workflow_id: Annotated[str, BeforeValidator(valid_unicode), Field(min_length=1, max_length=1000)] | None = None
    signal: Name = "answer"
    url: Annotated[str, Field(pattern=r"^https?://[\x21-\x7e]+$", max_length=2000)] | None = None
    within_s: Annotated[float, Field(gt=0, le=7 * 86_400, allow_inf_nan=False)] = 86_400.0

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.workflow_id is None) == (self.url is None):
            raise ValueError("names either a workflow_id or a url; give one of the two")
        return self


class Prompt(Wire):
    """What a user, or another program, says to a thread.

    `id` makes it idempotent: a second prompt of the same id and content is a duplicate, of other content refused.
    A missing id is given one. `agent` answers this prompt instead of the thread's own. `mode` says what to do while the
    thread is busy: wait its turn (`queue`), join the running turn at its next step (`steer`), stop it and come next
    (`interrupt`), also leaving it out of what the model sees (`replace`), or be refused (`reject`); without one, what
    the agent says. `must_exist`: do not start the thread.
    """

    model_config = ConfigDict(extra="forbid")

    id: PromptId | None = None
    content: Content
    author: Name | None = None
    agent: AgentName | None = None
    mode: Mode | None = None
    options: PromptOptions | None = None
    reply_to: ReplyTo | None = None
    metadata: Metadata = Field(default_factory=dict)
    must_exist: bool = False

    @property
    def text(self) -> str:
        """What can be read of it."""
        return text_of(self.content)

    def digest(self) -> str:
        """Tells whether two prompts say the same, however they are to be taken.

        A field that equals its default does not count, so that a field which a later release adds leaves the digests of
        old prompts as they are.
        """
        return ids.content_digest(self.model_dump(mode="json", exclude={"id", "mode", "must_exist"}))

    def size(self) -> int:
        """The bytes it takes where it travels."""
        return json_size(self)


class ThreadStart(Wire):
    """How a thread begins; `{}` is valid. Each field but `must_exist` counts only when the thread is opened for the first time.

    `must_exist`: fail rather than make a new thread. After `idle_timeout_s` seconds without work the workflow ends, and
    the next prompt opens it again from the store; `ttl_s` seconds after its beginning the thread ends for good. `parent`
    is the call that made it, of a thread on which one agent asks another.
    """

    model_config = ConfigDict(extra="forbid")

    agent: AgentName | None = None
    owner: Name | None = None
    tenant: Name | None = None
    metadata: Metadata = Field(default_factory=dict)
    must_exist: bool = False
    idle_timeout_s: Seconds | None = None
    ttl_s: Seconds | None = None
    parent: Parent | None = None


class Refusal(Wire):
    """Something that came without a door to turn it away at, kept so that it can be recorded."""

    id: str  # of the record, not of the prompt
    reason: str
    text: str = ""  # what was sent, shortened
    prompt_id: str | None = None
    place: int = 0  # how many prompts and refusals the thread had before it
    reply_to: ReplyTo | None = None  # who is to be told


def read_prompt(value: Any) -> Prompt:
    """A prompt from a JSON value. Raises: InputRefusedError."""
    return read_as(Prompt, value, "a prompt", '{"content": "Hello"}')


def read_start(value: Any) -> ThreadStart:
    """A start input from a JSON value; none at all is an empty one. Raises: InputRefusedError."""
    return read_as(ThreadStart, {} if value is None else value, "the start input", '{"agent": "assistant"}')


def read_thread_id(text: str) -> str:
    """A thread's id from a person or a URL. Raises: InputRefusedError."""
    if not 1 <= len(text) <= MAX_NAME or _UNUSABLE.search(text) or text != text.strip():
        raise InputRefusedError(
            f"thread id {preview(repr(text), 60)}: 1 to {MAX_NAME} printable characters without / and outer blanks"
        )
    return text


def read_as(model: type[M], value: Any, what: str, example: str) -> M:
    """A model from a JSON value; `what` it is, with its article. Raises: InputRefusedError."""
    if not isinstance(value, dict):
        raise InputRefusedError(f"{what} is a JSON object such as {example}, not {describe(value)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(_sentence(model, problem) for problem in error.errors()[:3])
        raise InputRefusedError(f"{what.partition(' ')[2]}: {problems}") from None


def _sentence(model: type[BaseModel], problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "it"
    if problem["type"] == "extra_forbidden":
        return f"{preview(ascii(field), 60)} is not a field; the fields are {', '.join(model.model_fields)}"
    if problem["type"] == "missing":
        return f"{field} is missing"
    if problem["type"] == "value_error":
        return f"{field} {problem['ctx']['error']}"
    return f"{field}: {problem['msg']}, not {describe(problem['input'])}"
