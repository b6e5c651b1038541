"""Conversations as the store gives them, and what a provider takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from domain import ids
from domain.chat import ChatMessage
from domain.context import Options, Parts, Past, build_context
from domain.messages import Message, ToolCall

INSTRUCTIONS = "Be brief."
texts = st.text(max_size=60)
PLENTY = 10**6
AS_EVER = Options()
ENDED_WELL = ("answered", "interrupted")
NO_RESULT = "This call has no result."


def build(
    instructions: str | Sequence[str],
    history: Sequence[Message],
    running: Sequence[Message],
    budget: int,
    options: Options = AS_EVER,
) -> list[ChatMessage]:
    return build_context(Parts(instructions, running, Past(history)), budget, options).messages


def prompt(turn: int, text: str, status: str = "answered", **fields: Any) -> Message:
    return row(turn, 0, ids.PROMPT_ORDINAL, "user", status=status, text=text, **fields)


def answer(turn: int, text: str, step: int = 0, **fields: Any) -> Message:
    return row(turn, step, ids.ANSWER_ORDINAL, "assistant", text=text, **fields)


def exchange(turn: int, asked: str, said: str, **fields: Any) -> list[Message]:
    return [prompt(turn, asked, **fields), answer(turn, said, **fields)]


def row(turn: int, step: int, ordinal: int, role: Any, **fields: Any) -> Message:
    seq = ids.seq(turn, step, ordinal)
    known = {"status": "complete", "thread": "t", "prompt_id": f"p{turn}", "slot": "s"}
    return Message.model_validate(
        known | {"id": str(seq), "role": role, "turn": turn, "step": step, "seq": seq} | fields
    )


@st.composite
def turns(draw: st.DrawFn, turn: int, status: str = "answered") -> list[Message]:
    """The rows of one turn: a prompt, then steps of an answer and the results of its calls, some of them lost.

    Before some steps another prompt joined.
    """
    rows = [row(turn, 0, ids.PROMPT_ORDINAL, "user", status=status, text=draw(texts))]
    for step in range(draw(st.integers(1, 3))):
        if step and draw(st.booleans()):
            rows.append(row(turn, step, 0, "user", status="joined", text=draw(texts)))
        calls = [
            ToolCall(call_id=f"{turn}.{step}.{index}", name="look", arguments=draw(texts))
            for index in range(draw(st.integers(0, 3)))
        ]
        rows.append(row(turn, step, ids.ANSWER_ORDINAL, "assistant", text=draw(texts), tool_calls=calls))
        for index, call in enumerate(calls):
            if draw(st.integers(0, 9)):
                result = {"call_id": call.call_id, "name": call.name, "text": draw(texts)}
                rows.append(row(turn, step, ids.TOOL_ORDINAL + index, "tool", **result))
        if not calls:
            break
    return rows


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Message], list[Message]]:
    """A history as the store gives it, its oldest rows cut off anywhere, and a running turn that stopped anywhere."""
    ended = draw(st.integers(0, 5))
    rows: list[Message] = []
    for turn in range(1, ended + 1):
        rows += draw(turns(turn, draw(st.sampled_from(["answered", "interrupted", "failed"]))))
    running = draw(turns(ended + 1, "pending"))
    return rows[draw(st.integers(0, len(rows))) :], running[: draw(st.integers(1, len(running)))]


def assert_valid(messages: Sequence[ChatMessage]) -> None:
    """As providers check it: each call has its result right after, in order, and no result stands alone."""
    expected: list[str] = []
    for message in messages:
        if message.role == "tool":
            assert expected, "a result without a call"
            assert message.call_id == expected.pop(0)
        else:
            assert not expected, "a call without a result"
            expected = [call.call_id for call in message.tool_calls]
    assert not expected, "a call without a result"
