"""`agent_tool`: what the model is offered, and what is refused where it is written."""

from __future__ import annotations

import pytest

from catalog.agent_tool import agent_tool
from domain.delegation import Delegate


def test_the_model_is_offered_a_question() -> None:
    tool = agent_tool("web.researcher", description="Finds things out.")
    assert (tool.name, tool.description, tool.effect) == ("ask_web_researcher", "Finds things out.", "idempotent")
    assert list(tool.parameters["properties"]) == tool.parameters["required"] == ["prompt"]
    assert tool.parse('{"prompt": "Why?"}') == {"prompt": "Why?"}
    assert tool.delegate == Delegate("web.researcher", "own")


def test_each_call_has_a_thread_of_its_own_unless_they_share_one() -> None:
    own, notes = Delegate("a"), Delegate("a", "notes")
    assert own.child_of("t", "r1") != own.child_of("t", "r2")
    assert notes.child_of("t", "r1") == notes.child_of("t", "r2") == Delegate("b", "notes").child_of("t", "r3")
    assert notes.child_of("t", "r1") not in {notes.child_of("u", "r1"), Delegate("a", "more").child_of("t", "r1")}


@pytest.mark.parametrize(
    ("agent", "options", "words"),
    [
        ("the agent", {}, "the name of an agent is"),
        ("a", {"description": " "}, "needs a description"),
        ("a", {"thread": ""}, "thread is 'own' or a name"),
        ("a", {"timeout_s": 0.0}, "timeout_s must be above 0"),
        ("a", {"name": "a b"}, "a name is"),
    ],
)
def test_what_cannot_be_is_refused(agent: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        agent_tool(agent, **{"description": "Knows."} | options)  # type: ignore[arg-type]
