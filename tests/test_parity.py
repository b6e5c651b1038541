"""The checker of docs/parity.md finds what is wrong, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check_parity import PAGE, ROOT, find_faults

TESTS = "def test_one() -> None: ...\n\nclass Contract:\n    async def test_two(self) -> None: ...\n\ndef helper() -> None: ...\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def test_the_page_has_no_fault() -> None:
    assert [*find_faults(PAGE.read_text(encoding="utf-8"), ROOT)] == []


@pytest.mark.parametrize(
    "shown_by",
    [
        "`test_it.py::test_one`",
        "`test_it.py::test_one`, `test_it.py::Contract::test_two`",
        "not yet: x",
        "does not apply: x",
    ],
)
def test_a_row_that_is_shown_or_says_why_not_passes(root: Path, shown_by: str) -> None:
    page = f"| row | what | here | shown by |\n|---|---|---|---|\n| A-1 | what | here | {shown_by} |\n"
    assert [*find_faults(page, root)] == []


@pytest.mark.parametrize(
    ("shown_by", "fault"),
    [
        ("`test_it.py::test_two`", "A-1: there is no test test_it.py::test_two"),
        ("`test_it.py::helper`", "A-1: there is no test test_it.py::helper"),
        ("`test_that.py::test_one`", "A-1: there is no test test_that.py::test_one"),
        ("`test_it.py`", "A-1: there is no test test_it.py"),
        ("", "A-1: name tests, or say `not yet: …` or `does not apply: …`, not ''"),
        ("tested", "A-1: name tests, or say `not yet: …` or `does not apply: …`, not 'tested'"),
    ],
)
def test_a_row_that_is_not_shown_is_a_fault(root: Path, shown_by: str, fault: str) -> None:
    assert [*find_faults(f"| A-1 | what | here | {shown_by} |", root)] == [fault]


def test_a_row_that_is_there_twice_is_a_fault(root: Path) -> None:
    assert [*find_faults("| A-1 | w | h | not yet: x |\n| A-1 | w | h | not yet: x |", root)] == [
        "A-1 stands there twice"
    ]


def test_a_row_without_an_id_is_a_fault(root: Path) -> None:
    assert [*find_faults("| definition | h | not yet: x |", root)] == [
        "a row without an id: | definition | h | not yet: x |"
    ]
