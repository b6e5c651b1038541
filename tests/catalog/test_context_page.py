"""What docs/context.md says about a context of one's own works as it stands there."""

from __future__ import annotations

from typing import Any

from domain.chat import ChatMessage
from domain.context_record import REASONS
from domain.hooks import ContextParts
from tests.pages import blocks, page

PAGE = page("context")


def test_the_handler_of_the_page_works() -> None:
    [code] = blocks(PAGE, "py")
    names: dict[str, Any] = {}
    exec(code, names)
    asked, said, now = ChatMessage("user", "a"), ChatMessage("assistant", "b"), ChatMessage("user", "c")
    parts = ContextParts("a", "t", 2, 0, search=[], recent=[asked, said], prompt=[now], running=[], budget_tokens=9)
    assert names["only_questions"](parts) == [asked, now]


def test_every_reason_why_something_is_not_shown_is_on_the_page() -> None:
    assert [reason for reason in REASONS if f"`{reason}`" not in PAGE] == []
