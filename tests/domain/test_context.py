"""The next model call is valid, wherever the conversation was cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.content import Part
from domain.context import TOKENS_PER_IMAGE, ChatMessage, build_context, close_calls, estimate_tokens, text_tokens
from domain.messages import Message, ToolCall

INSTRUCTIONS = "Be brief."
texts = st.text(max_size=60)
PLENTY = 10**6
ENDED_WELL = ("answered", "interrupted")
NO_RESULT = "This call has no result."


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


@given(conversations(), st.integers(0, 400))
def test_the_context_is_valid_for_the_provider_at_every_cut(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    messages = build_context(INSTRUCTIONS, history, running, budget)
    assert_valid(messages)
    assert messages[0] == ChatMessage("system", INSTRUCTIONS)
    assert messages[1].role == "user"


@given(conversations(), st.integers(0, 400))
def test_the_context_holds_the_newest_whole_turns_that_ended_well(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    good = [prompt.turn for prompt in history if prompt.role == "user" and prompt.status in ENDED_WELL]
    spoken = [m for m in [*history, *running] if m.role != "assistant" or m.text or m.tool_calls]
    messages = build_context(INSTRUCTIONS, history, running, budget)
    shown = [message.text for message in messages[1:] if message.text != NO_RESULT]
    ours = [*good, running[0].turn]
    newest = [[m.text for m in spoken if m.turn in ours[start:]] for start in range(len(ours))]
    assert shown in newest


@given(conversations(), st.integers(0, 400))
def test_recent_turns_never_cost_more_than_the_budget(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    messages = build_context(INSTRUCTIONS, history, running, budget)
    own = build_context(INSTRUCTIONS, [], running, budget)
    recent = messages[1 : len(messages) - len(own) + 1]
    if recent:
        assert sum(map(estimate_tokens, recent)) + estimate_tokens(messages[0]) <= budget


@given(conversations(), st.integers(0, 400))
def test_the_running_turn_is_there_whatever_it_costs(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    texts = [message.text for message in build_context(INSTRUCTIONS, history, running, budget)]
    ours = [m.text for m in running if m.role == "user" or (m.role == "assistant" and (m.text or m.tool_calls))]
    kept = [text for text in texts if text in ours]
    assert len(kept) >= len(ours)


@given(conversations())
def test_with_budget_for_all_every_good_whole_turn_is_there(conversation: tuple[list[Message], list[Message]]) -> None:
    history, running = conversation
    messages = build_context(INSTRUCTIONS, history, running, PLENTY)
    good = [prompt.turn for prompt in history if prompt.role == "user" and prompt.status in ENDED_WELL]
    said = [row.text for row in [*history, *running] if row.role == "user" and row.turn in [*good, running[0].turn]]
    assert [message.text for message in messages if message.role == "user"] == said


def test_a_failed_turn_does_not_reach_the_model() -> None:
    history = [
        row(1, 0, 0, "user", status="answered", text="one"),
        row(1, 0, 1, "assistant", text="uno"),
        row(2, 0, 0, "user", status="failed", text="poison"),
        row(2, 0, 1, "assistant", status="failed", text="half"),
    ]
    running = [row(3, 0, 0, "user", status="pending", text="three")]
    messages = build_context("", history, running, PLENTY)
    assert [message.text for message in messages] == ["one", "uno", "three"]


def test_a_call_that_never_got_its_result_is_told_so() -> None:
    call = ToolCall(call_id="c", name="look", arguments="{}")
    messages = close_calls([ChatMessage("assistant", "", [call]), ChatMessage("user", "go on")])
    assert [message.role for message in messages] == ["assistant", "tool", "user"]
    assert messages[1].text == NO_RESULT


def test_results_stand_behind_their_own_call_in_the_order_of_the_calls() -> None:
    calls = [ToolCall(call_id=name, name="look", arguments="{}") for name in "ab"]
    results = [ChatMessage("tool", text, call_id=text) for text in "ba"]
    messages = close_calls([*results, ChatMessage("assistant", "", calls)])
    assert [message.text for message in messages] == ["", "a", "b"]


CALL_IDS = st.sampled_from("abc")
ANY_CALLS = st.lists(st.builds(ToolCall, call_id=CALL_IDS, name=st.just("look"), arguments=texts), max_size=3)
ANY_MESSAGES = st.lists(
    st.builds(ChatMessage, st.sampled_from(["system", "user"]), texts)
    | st.builds(ChatMessage, st.just("assistant"), texts, ANY_CALLS)
    | st.builds(ChatMessage, st.just("tool"), texts, call_id=st.none() | CALL_IDS),
    max_size=8,
)


@given(ANY_MESSAGES)
def test_closing_calls_makes_any_messages_valid_and_leaves_valid_ones_as_they_are(messages: list[ChatMessage]) -> None:
    """So an agent's hook may return whatever it likes."""
    closed = close_calls(messages)
    assert_valid(closed)
    assert [m for m in closed if m.role != "tool"] == [m for m in messages if m.role != "tool"]
    assert close_calls(closed) == closed


def test_an_agent_without_instructions_sends_no_system_message() -> None:
    running = [row(1, 0, 0, "user", status="pending", text="hello")]
    assert [message.role for message in build_context("  ", [], running, PLENTY)] == ["user"]


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("Привет, как дела? Сегодня хорошая погода. " * 20, 620),
        ("今天天气很好，我们去公园散步吧。" * 20, 620),
        ("The quick brown fox jumps over the lazy dog. " * 20, 200),
        ('{"a": [1, 2.5, null]} ' * 20, 260),
    ],
)
def test_an_estimate_of_tokens_is_not_below_what_a_small_model_takes(text: str, measured: int) -> None:
    """`measured`: tokens as SmolLM2-135M counted them."""
    assert text_tokens(text) >= measured


def stopped_turn(said: str) -> list[Message]:
    prompt = row(1, 0, ids.PROMPT_ORDINAL, "user", status="interrupted", text="Count!")
    return [prompt, row(1, 0, ids.ANSWER_ORDINAL, "assistant", status="interrupted", text=said)]


def test_an_interrupted_turn_shows_what_was_said_until_then() -> None:
    assert [message.text for message in build_context("", stopped_turn("one two"), [], PLENTY)] == ["Count!", "one two"]


def test_an_answer_without_a_word_is_left_out() -> None:
    assert [message.text for message in build_context("", stopped_turn(""), [], PLENTY)] == ["Count!"]


def test_instructions_may_be_several_messages() -> None:
    running = [row(1, 0, 0, "user", status="pending", text="hello")]
    messages = build_context(["Be brief.", " ", "Be kind."], [], running, PLENTY)
    assert [(m.role, m.text) for m in messages] == [("system", "Be brief."), ("system", "Be kind."), ("user", "hello")]


# --- turns that were replaced, made anew or joined


def test_a_turn_that_was_replaced_does_not_reach_the_model() -> None:
    history = [
        row(1, 0, 0, "user", status="interrupted", text="one", replaced_by="x"),
        row(1, 0, 1, "assistant", status="interrupted", text="un"),
        row(2, 0, 0, "user", status="answered", text="two"),
        row(2, 0, 1, "assistant", text="due"),
    ]
    assert [message.text for message in build_context("", history, [], PLENTY)] == ["two", "due"]


def test_of_a_turn_that_was_made_anew_only_the_last_try_reaches_the_model() -> None:
    history = [
        row(1, 0, 0, "user", status="answered", text="one", branch=1),
        row(1, 0, 1, "assistant", text="eins"),
        row(1, 0, 1, "assistant", text="uno", branch=1, id="other"),
    ]
    assert [message.text for message in build_context("", history, [], PLENTY)] == ["one", "uno"]


def test_a_prompt_that_joined_a_turn_stands_where_it_came() -> None:
    call = ToolCall(call_id="c", name="look", arguments="{}")
    history = [
        row(1, 0, 0, "user", status="answered", text="Look!", branch=1),
        row(1, 0, 1, "assistant", tool_calls=[call], branch=1),
        row(1, 0, 100, "tool", call_id="c", text="I see.", branch=1),
        row(1, 1, 0, "user", status="joined", text="Quick!"),
        row(1, 1, 1, "assistant", text="Done.", branch=1),
    ]
    texts = [message.text for message in build_context("", history, [], PLENTY)]
    assert texts == ["Look!", "", "I see.", "Quick!", "Done."]


def test_a_turn_of_which_only_a_prompt_that_joined_is_left_does_not_reach_the_model() -> None:
    history = [row(1, 1, 0, "user", status="joined", text="Quick!"), row(1, 1, 1, "assistant", text="Done.")]
    assert build_context("", history, [], PLENTY) == []


# --- images

IMAGE = {"type": "image", "url": "https://example.com/a.png"}
WORDS = {"type": "text", "text": "What is this?"}


def seen(*parts: dict[str, Any]) -> ChatMessage:
    [message] = build_context("", [], [row(1, 0, 0, "user", text="What is this?", parts=list(parts))], PLENTY)
    return message


def test_an_image_reaches_the_model_with_its_text() -> None:
    parts = (Part(type="text", text="What is this?"), Part(type="image", url="https://example.com/a.png"))
    assert seen(WORDS, IMAGE) == ChatMessage("user", "What is this?", parts=parts)


def test_parts_that_are_only_text_reach_the_model_as_a_text() -> None:
    assert seen(WORDS) == ChatMessage("user", "What is this?")


def test_parts_that_say_nothing_or_are_of_a_newer_release_are_left_out() -> None:
    assert seen({"type": "text", "text": ""}, {"type": "smell", "of": "roses"}, IMAGE | {"detail": "low"}).parts == (
        Part.model_validate(IMAGE),
    )


def test_an_image_takes_room_in_the_context() -> None:
    assert estimate_tokens(seen(IMAGE, IMAGE)) > 2 * TOKENS_PER_IMAGE
