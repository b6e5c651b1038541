"""Arguments of handlers as plain JSON values, whatever was sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from domain.errors import InputRefusedError
    from domain.messages import preview


def one_value(inputs: Sequence[Any], name: str) -> Any:
    """The single argument. Raises: InputRefusedError if there is none, more than one, or none that can be read."""
    if len(inputs) != 1:
        raise InputRefusedError(f"{name} takes one argument, a JSON object; {len(inputs)} were sent")
    [value] = inputs
    return _decode(value, name) if isinstance(value, RawValue) else value


def _decode(raw: RawValue, name: str) -> Any:
    """What the data converter could not read (see runtime.temporal) is read here, or refused with the reason."""
    encoding = raw.payload.metadata.get("encoding", b"").decode("ascii", "replace")
    if encoding != "json/plain":
        raise InputRefusedError(f"{name}: the payload's encoding is {preview(ascii(encoding), 40)}, send json/plain")
    try:
        return json.loads(raw.payload.data)
    except (ValueError, RecursionError) as error:
        raise InputRefusedError(f"{name}: not valid JSON: {preview(ascii(str(error)), 80)}") from None
