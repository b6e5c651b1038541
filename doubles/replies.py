"""What the scripted model can be told to say. Replies are plain data: keywords in Python, JSON over the control door."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolCall(_Data):
    """A tool call the model makes. `arguments` as text is sent as it is, so that broken JSON can be scripted."""

    name: str
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    id: str | None = None  # default: unique, also across restarts of the server
    extra: dict[str, Any] = Field(default_factory=dict)  # unknown fields beside `function`, as Gemini's signatures


class Usage(_Data):
    prompt_tokens: Count
    completion_tokens: Count


class ReplyError(_Data):
    """The `error` object of OpenAI's error bodies and error events."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


class Reply(_Data):
    """One scripted answer: what is said, how it is paced, how it goes wrong, and which requests it is for.

    The *chunks* of a streamed reply are its deltas in the order reasoning, text, tool calls; the role delta before and
    the finish after them are not counted. `{user}` (last user text), `{n}` (number of the request) and `{tool}` (the
    newest tool results) are filled in in `text`, `chunks` and `reasoning_content`.

    With 0 in `cut_after_chunks` or `hang_after_chunks` not even the response headers are sent. More chunks than there
    are means after the last one, before the finish. Without streaming there is one chunk, the body: a cut comes in the
    middle of it, `error_after_chunks` becomes the status 500.
    """

    # What is said
    text: str = ""
    chunks: list[str] | None = None  # the exact deltas; default: `text` by words, or by `chunk_size`
    chunk_size: Annotated[int, Field(ge=1)] | None = None  # characters
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] = Field(default_factory=list)
    finish_reason: str | None = None  # default: "tool_calls" if there are any, else "stop"
    usage: Usage | None = None  # default: the words of the messages, the chunks of the answer
    extra: dict[str, Any] = Field(default_factory=dict)  # unknown fields of the role delta, or of the message
    headers: dict[str, str] = Field(default_factory=dict)

    # How it is paced
    first_delay_s: Seconds = 0  # silence before the response headers
    delay_s: Seconds = 0  # between two chunks

    # How it goes wrong
    status: int = 200
    error: ReplyError | None = None  # default: OpenAI's for the status
    error_after_chunks: Count | None = None  # an error event, then a clean end
    cut_after_chunks: Count | None = None  # the connection is dropped
    end_without_finish: bool = False  # a clean end after the last chunk, without finish reason and [DONE]
    hang_after_chunks: Count | None = None  # silence until the client leaves

    # Which requests it is for
    when: str | None = None  # a regular expression found in the last user text
    when_offered: str | None = None  # the request must offer this tool
    embeds: bool = False  # for requests of embeddings, and for no others; what it says is of `extra`, else the usual
    after_tool: bool = False  # for requests whose last message is a tool result, and for no others
    step: Annotated[int, Field(ge=1)] | None = None  # n-th model call since the last user message; decides `after_tool`
    times: Annotated[int, Field(ge=1)] | None = None  # how often it may be used; default: for ever

    @property
    def for_tool_results(self) -> bool:
        return self.after_tool if self.step is None else self.step > 1

    @property
    def error_sent(self) -> ReplyError:
        """The error of the body or of the event."""
        return self.error or _USUAL_ERRORS.get(self.status, _REFUSED if 400 <= self.status < 500 else _FAILED)

    @property
    def stops_after(self) -> int | None:
        """Number of chunks after which it goes wrong; None if it runs through."""
        stops = (getattr(self, name) for name in _STOPS)
        return next((stop for stop in stops if stop is not None), None)

    @field_validator("when")
    @classmethod
    def _when_compiles(cls, when: str | None) -> str | None:
        try:
            re.compile(when or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return when

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
                raise ValueError(f"{name!r}: {value!r} is not a header that can be sent")
        return headers

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.text and self.chunks is not None:
            raise ValueError("give text or chunks, not both")
        if self.status != 200 and not 400 <= self.status <= 599:
            raise ValueError("status is 200, or 400 to 599")
        if self.error and self.status == 200 and self.error_after_chunks is None:
            raise ValueError("error needs a status of 400 or more, or error_after_chunks")
        endings = [name for name in _STOPS if getattr(self, name) is not None]
        if self.end_without_finish:
            endings.append("end_without_finish")
        if len(endings) > 1:
            raise ValueError(f"a reply ends in one way only, not in {' and '.join(endings)}")
        if endings and self.status != 200:
            raise ValueError(f"{endings[0]} needs status 200")
        return self


_STOPS = ("error_after_chunks", "cut_after_chunks", "hang_after_chunks")

_FAILED = ReplyError(message="The server had an error while processing your request.", type="server_error")
_REFUSED = ReplyError(message="The request was refused.", type="invalid_request_error")
_USUAL_ERRORS = {
    401: ReplyError(message="Incorrect API key provided.", type="invalid_request_error", code="invalid_api_key"),
    404: ReplyError(message="The model does not exist.", type="invalid_request_error", code="model_not_found"),
    429: ReplyError(message="Rate limit reached for requests.", type="requests", code="rate_limit_exceeded"),
}
