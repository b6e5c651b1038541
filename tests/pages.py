"""What the pages of docs/ show, to be tried."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(text: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """The names that the Python of a page defines, one block after the other."""
    names = {} if names is None else names
    for block in blocks(text, "python"):
        exec(compile(block, "docs", "exec"), names)
    return names
