"""The value that an answer is, for who asked for one."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import ValidationError

from domain.errors import NotAnsweredError, OutputInvalidError
from domain.messages import Message, preview
from domain.output import Output
from domain.wishes import TurnReport


class Answers(Protocol):
    """What has answers whole, see client.reading.ThreadReader and client.gateway.Gateway."""

    async def answer_to(self, thread: str, prompt_id: str) -> Message | None: ...


def value_of(output: Output, report: TurnReport, answer: Message | None) -> Any:
    """Raises: OutputInvalidError; NotAnsweredError."""
    if report.status == "failed" and answer is not None and answer.error_type == OutputInvalidError.__name__:
        raise OutputInvalidError(report.error or "the answer is not what it was to be")
    if report.status == "answered" and answer is None:
        raise NotAnsweredError(f"the answer to prompt {report.prompt_id} is not there, or too far back", report.status)
    if report.status != "answered" or answer is None:
        why = f": {report.error}" if report.error else ""
        raise NotAnsweredError(f"prompt {report.prompt_id} ended as {report.status}{why}", report.status)
    if answer.object is None and answer.text != "null":
        raise OutputInvalidError(f"the turn ended ({answer.finish}) before it had a value: {preview(answer.text, 80)}")
    if output.adapter is None:
        return answer.object
    try:
        return output.adapter.validate_json(answer.text)
    except ValidationError as error:
        raise OutputInvalidError(f"the answer fits the schema, but not the type: {preview(str(error))}") from error
