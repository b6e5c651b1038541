"""docs/parity.md can be trusted: each row stands there once, and is shown by tests that exist or says why it is not.

`make check` runs this as a program. A row's last cell names tests as `path::name` or `path::Class::name`, or begins with
"not yet: …" or "does not apply: …".
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "parity.md"
EXCUSES = ("not yet: ", "does not apply: ")

_ROW = re.compile(r"^\| *(?P<id>[A-Z][A-Z0-9]*-\d+) *\|(?P<cells>.*)\|$")
_TEST = re.compile(r"`([^`]+)`")


def main() -> int:
    """Print what is wrong, one line each. Returns the exit status."""
    faults = [*find_faults(PAGE.read_text(encoding="utf-8"), ROOT)]
    for fault in faults:
        print(f"parity: {fault}", file=sys.stderr)  # noqa: T201
    return 1 if faults else 0


def find_faults(page: str, root: Path) -> Iterator[str]:
    """`root` is where the paths of the tests begin."""
    seen: set[str] = set()
    for line in page.splitlines():
        row = _ROW.match(line)
        if row is None:
            if line.startswith("|") and not line.startswith(("| row |", "|---")):
                yield f"a row without an id: {line[:60]}"
            continue
        if row["id"] in seen:
            yield f"{row['id']} stands there twice"
        seen.add(row["id"])
        shown_by = row["cells"].rpartition("|")[2].strip()
        yield from (f"{row['id']}: {fault}" for fault in _find_in_cell(shown_by, root))


def _find_in_cell(cell: str, root: Path) -> Iterator[str]:
    if cell.startswith(EXCUSES):
        return
    tests = _TEST.findall(cell)
    if not tests or _TEST.sub("", cell).strip(" ,"):
        yield f"name tests, or say `not yet: …` or `does not apply: …`, not {cell[:60]!r}"
    for test in tests:
        path, _, name = test.partition("::")
        if name not in _tests(root / path):
            yield f"there is no test {test}"


def _tests(file: Path) -> set[str]:
    """The tests of a file, those of classes with the class's name before them; none if there is no such file."""
    if not file.is_file():
        return set()
    return {name for node in ast.parse(file.read_text(encoding="utf-8")).body for name in _named(node)}


def _named(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield from (f"{node.name}::{name}" for inner in node.body for name in _named(inner))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
        yield node.name


if __name__ == "__main__":
    sys.exit(main())
