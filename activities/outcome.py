"""What a tool call came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """`text` is what the model reads; `changes` are further fields of the result's row."""

    text: str
    failed: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
