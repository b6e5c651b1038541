"""What a message is found by."""

from __future__ import annotations

import pytest

from domain.indexing import indexed_text, names_of, spoken_date
from domain.messages import Message

MAY_8 = 1_683_547_200.0


def row(text: str, *, role: str = "user", author: str | None = None, agent: str | None = None) -> Message:
    return Message(
        id="m",
        thread="t",
        prompt_id="p",
        slot="prompt",
        role=role,
        text=text,
        author=author,
        agent=agent,
        created_at=MAY_8,
    )


def test_a_message_is_found_by_who_said_it_and_when() -> None:
    assert indexed_text(row("I went hiking", author="Caroline")) == "Caroline: I went hiking (8 May 2023)"


def test_an_answer_is_found_by_its_agent() -> None:
    assert indexed_text(row("Sure", role="assistant", agent="support")) == "support: Sure (8 May 2023)"


def test_the_agent_that_was_asked_did_not_say_the_prompt() -> None:
    assert indexed_text(row("Hello", agent="support")) == "Hello (8 May 2023)"


@pytest.mark.parametrize("blank", ["", "  \n\t "])
def test_a_blank_message_is_not_to_be_found(blank: str) -> None:
    assert indexed_text(row(blank, author="Caroline")) == ""


def test_a_date_is_said_as_people_say_it() -> None:
    assert spoken_date(0.0) == "1 January 1970"


def test_names_are_words_with_a_capital() -> None:
    assert names_of("What will Will say to Maria-José?") == {"what", "will", "maria", "josé"}
    assert "say" not in names_of("What will Will say?")


def test_without_any_capital_each_word_may_be_a_name() -> None:
    assert names_of("what did caroline say") == {"what", "did", "caroline", "say"}
