"""Documents are cut where their meaning is, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.chunking import LONGEST, Section, cut, markdown, pages, title_of

TEXT = """Intro.

# One

First.

## Inner ##

Second.

```
# no heading
```

Setext
------

Third.

# Two
Fourth."""


def test_markdown_is_cut_at_headings_and_each_knows_where_it_stands() -> None:
    assert [(section.text, list(section.headings)) for section in markdown(TEXT)] == [
        ("Intro.", []),
        ("First.", ["One"]),
        ("Second.\n\n```\n# no heading\n```", ["One", "Inner"]),
        ("Third.", ["One", "Setext"]),
        ("Fourth.", ["Two"]),
    ]


def test_a_rule_or_a_table_is_no_heading() -> None:
    assert [section.headings for section in markdown("one\ntwo\n---\nthree\n\n| a |\n---\nb")] == [()]


def test_headings_alone_are_a_text() -> None:
    assert [section.text for section in markdown("# A\n## B\n")] == ["A\nB"]


def test_a_long_section_is_cut_at_sentences_with_its_headings_and_page() -> None:
    text = " ".join(f"This is sentence number {n}." for n in range(200))
    found = cut([Section(text, ("H",), 7)])
    assert len(found) > 5
    assert {(section.headings, section.page) for section in found} == {(("H",), 7)}
    assert all(len(section.text) <= LONGEST for section in found)
    assert all(section.text.endswith(".") for section in found)


def test_short_ones_are_joined_at_the_same_place_only() -> None:
    found = cut([Section("a"), Section("b"), Section("c", ("H",)), *pages(["d", " ", "e"])])
    assert [section.text for section in found] == ["a\n\nb", "c", "d", "e"]
    assert [section.page for section in found] == [None, None, 1, 3]


def test_a_document_is_called_by_its_first_heading_or_the_end_of_its_key() -> None:
    assert title_of(markdown("# Apples\n\nx"), "fruit/a.md") == "Apples"
    assert title_of([Section("x")], "fruit/a.txt") == "a.txt"


@given(st.text(alphabet="ab \n.#-`é。", max_size=3_000))
def test_every_word_is_in_some_chunk(text: str) -> None:
    found = cut(markdown(text), 50)
    seen = "".join(section.text + "".join(section.headings) for section in found)
    assert all(section.text.strip() and len(section.text) <= 50 for section in found)
    assert {letter for letter in text if letter in "abé"} <= set(seen) | {""}
