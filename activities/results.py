"""What the model reads of a result: the text of it, and of a long one its ends and how to read the rest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from activities.ports import Blobs, Store
from domain.agent import Agent, Tool
from domain.errors import ToolError, UnavailableError
from domain.messages import Message, mend_text

READ_RESULT = "read_result"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
READ_CHARS = 10_000  # by one call
MAX_OUTPUT_CHARS = 100_000  # kept beside a text that was made for the model

log = structlog.get_logger()


@dataclass(frozen=True)
class Outcome:
    """What came of a call: the text for the model, and the result itself, as JSON, if the text was made of it.

    `status` is the row's, if it is neither complete nor failed, and `changes` are further fields of it.
    """

    text: str
    failed: bool = False
    output: str | None = None
    status: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def as_text(value: object) -> str:
    """A tool's return value as the model reads it: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)


class Results:
    """Long results, kept whole in `blobs`; without, they are cut."""

    def __init__(self, store: Store, blobs: Blobs | None) -> None:
        self._store = store
        self._blobs = blobs

    async def fields(self, outcome: Outcome, row_id: str, limit: int) -> dict[str, Any]:
        """Of the result's row. The model finds the rest by the row's id, so that no thread reads another's."""
        text, output = mend_text(outcome.text), outcome.output
        whole = text if output is None else mend_text(output)
        too_long = len(text) > limit or len(whole) > MAX_OUTPUT_CHARS
        blob = await self._keep(whole) if too_long else None
        rest = f'Read on with {READ_RESULT}(result="{row_id}", offset={{offset}}).' if blob and output is None else ""
        fields: dict[str, Any] = {"text": shortened(text, limit, rest)}
        if blob is not None:
            fields["blob"] = blob if output is None else blob | {"of": "output"}
        elif output is not None and len(whole) <= MAX_OUTPUT_CHARS:
            fields["output"] = whole
        return fields

    async def read(self, thread: str, result: str, offset: int) -> str:
        """Some of a result of the thread. Raises: ToolError in words for the model."""
        found = await self._store.get([result]) if _ID.fullmatch(result) else []
        row = next((row for row in found if row.thread == thread), None)
        if row is None or row.blob is None or self._blobs is None:
            raise ToolError(
                f"This conversation has no long result {result!r}. Take the name from the result's own text."
            )
        whole = await self._blobs.get(str(row.blob["ref"]))
        if whole is None:
            raise ToolError(f"The result {result} is not kept any longer. Call the tool again if you need it.")
        text = whole.decode("utf-8", "replace")
        if offset >= len(text):
            raise ToolError(f"The result has {len(text)} characters; offset {offset} is behind its end.")
        end = min(len(text), offset + READ_CHARS)
        more = "the end" if end == len(text) else f"go on with offset={end}"
        return f"[characters {offset} to {end} of {len(text)}; {more}]\n{text[offset:end]}"

    async def _keep(self, text: str) -> dict[str, Any] | None:
        """Returns None if it cannot be kept: the tool has run, and must not be run again for that."""
        if self._blobs is None:
            return None
        try:
            return {"ref": await self._blobs.put(text.encode()), "chars": len(text)}
        except (OSError, UnavailableError) as error:
            log.warning(
                "blob.lost", error=repr(error), chars=len(text), sha256=hashlib.sha256(text.encode()).hexdigest()
            )
            return None


def shortened(text: str, limit: int, rest: str = "") -> str:
    """The text's ends with a note between them, at most `limit` characters; `rest` says how to read on from `{offset}`."""
    if len(text) <= limit:
        return text
    note = f"\n\n[Cut: {{missing}} of {len(text)} characters are left out here. {rest}".rstrip() + "]\n\n"
    room = limit - len(note) - 2 * len(str(len(text)))
    head = room * 3 // 4
    tail = room - head
    return text[:head] + note.format(missing=len(text) - head - tail, offset=head) + text[len(text) - tail :]


def with_reader(agent: Agent, rows: Sequence[Message]) -> Agent:
    """The agent with a tool to read on in long results, if some are in sight and it may call tools at all."""
    long = any(row.blob is not None and "of" not in row.blob for row in rows)
    if not long or not agent.tools or agent.tool(READ_RESULT) is not None:
        return agent
    return replace(agent, tools=(*agent.tools, READER))


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    result: str = Field(description="The name of the result, as its own text says it.", max_length=100)
    offset: int = Field(0, ge=0, description="How many characters to skip.")


def _parse(text: str) -> dict[str, Any]:
    try:
        return _Place.model_validate_json(text.strip() or "{}").model_dump()
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors())
        raise ValueError("; ".join(problems)) from None


def _unbound(**_: Any) -> str:
    raise NotImplementedError("run_tool reads results itself, for it knows the thread")


READER = Tool(
    name=READ_RESULT,
    description=f"Read on in a result that was too long to be shown whole: the next {READ_CHARS} characters of it.",
    parameters={key: value for key, value in _Place.model_json_schema().items() if key != "title"},
    parse=_parse,
    function=_unbound,
    effect="read",
    max_result_chars=READ_CHARS + 1_000,
)
