"""The next model call is valid, wherever the conversation was cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.chat import ChatMessage, close_calls
from domain.messages import Message, ToolCall
from domain.tokens import message_tokens
from tests.domain.contexts import (
    ENDED_WELL,
    INSTRUCTIONS,
    NO_RESULT,
    PLENTY,
    assert_valid,
    build,
    conversations,
    row,
    texts,
)


@given(conversations(), st.integers(0, 400))
def test_the_context_is_valid_for_the_provider_at_every_cut(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    messages = build(INSTRUCTIONS, history, running, budget)
    assert_valid(messages)
    assert messages[0] == ChatMessage("system", INSTRUCTIONS)
    assert messages[1].role == "user"


@given(conversations(), st.integers(0, 400))
def test_the_context_holds_the_newest_whole_turns_that_ended_well(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    good = [prompt.turn for prompt in history if prompt.role == "user" and prompt.status in ENDED_WELL]
    spoken = [m for m in [*history, *running] if m.role != "assistant" or m.text.strip() or m.tool_calls]
    messages = build(INSTRUCTIONS, history, running, budget)
    shown = [message.text for message in messages[1:] if message.text != NO_RESULT]
    ours = [*good, running[0].turn]
    newest = [[m.text for m in spoken if m.turn in ours[start:]] for start in range(len(ours))]
    assert shown in newest


@given(conversations(), st.integers(0, 400))
def test_recent_turns_never_cost_more_than_the_budget(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    messages = build(INSTRUCTIONS, history, running, budget)
    own = build(INSTRUCTIONS, [], running, budget)
    recent = messages[1 : len(messages) - len(own) + 1]
    if recent:
        assert sum(map(message_tokens, recent)) + message_tokens(messages[0]) <= budget


@given(conversations(), st.integers(0, 400))
def test_the_running_turn_is_there_whatever_it_costs(
    conversation: tuple[list[Message], list[Message]], budget: int
) -> None:
    history, running = conversation
    texts = [message.text for message in build(INSTRUCTIONS, history, running, budget)]
    ours = [m.text for m in running if m.role == "user" or (m.role == "assistant" and (m.text.strip() or m.tool_calls))]
    kept = [text for text in texts if text in ours]
    assert len(kept) >= len(ours)


@given(conversations())
def test_with_budget_for_all_every_good_whole_turn_is_there(conversation: tuple[list[Message], list[Message]]) -> None:
    history, running = conversation
    messages = build(INSTRUCTIONS, history, running, PLENTY)
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
    messages = build("", history, running, PLENTY)
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
    assert [message.role for message in build("  ", [], running, PLENTY)] == ["user"]


def stopped_turn(said: str) -> list[Message]:
    prompt = row(1, 0, ids.PROMPT_ORDINAL, "user", status="interrupted", text="Count!")
    return [prompt, row(1, 0, ids.ANSWER_ORDINAL, "assistant", status="interrupted", text=said)]


def test_an_interrupted_turn_shows_what_was_said_until_then() -> None:
    assert [message.text for message in build("", stopped_turn("one two"), [], PLENTY)] == ["Count!", "one two"]


def test_an_answer_without_a_word_is_left_out() -> None:
    assert [message.text for message in build("", stopped_turn(""), [], PLENTY)] == ["Count!"]


def test_instructions_may_be_several_messages() -> None:
    running = [row(1, 0, 0, "user", status="pending", text="hello")]
    messages = build(["Be brief.", " ", "Be kind."], [], running, PLENTY)
    assert [(m.role, m.text) for m in messages] == [("system", "Be brief."), ("system", "Be kind."), ("user", "hello")]


# --- turns that were replaced, made anew or joined


def test_a_turn_that_was_replaced_does_not_reach_the_model() -> None:
    history = [
        row(1, 0, 0, "user", status="interrupted", text="one", replaced_by="x"),
        row(1, 0, 1, "assistant", status="interrupted", text="un"),
        row(2, 0, 0, "user", status="answered", text="two"),
        row(2, 0, 1, "assistant", text="due"),
    ]
    assert [message.text for message in build("", history, [], PLENTY)] == ["two", "due"]


def test_of_a_turn_that_was_made_anew_only_the_last_try_reaches_the_model() -> None:
    history = [
        row(1, 0, 0, "user", status="answered", text="one", branch=1),
        row(1, 0, 1, "assistant", text="eins"),
        row(1, 0, 1, "assistant", text="uno", branch=1, id="other"),
    ]
    assert [message.text for message in build("", history, [], PLENTY)] == ["one", "uno"]


def test_a_prompt_that_joined_a_turn_stands_where_it_came() -> None:
    call = ToolCall(call_id="c", name="look", arguments="{}")
    history = [
        row(1, 0, 0, "user", status="answered", text="Look!", branch=1),
        row(1, 0, 1, "assistant", tool_calls=[call], branch=1),
        row(1, 0, 100, "tool", call_id="c", text="I see.", branch=1),
        row(1, 1, 0, "user", status="joined", text="Quick!"),
        row(1, 1, 1, "assistant", text="Done.", branch=1),
    ]
    texts = [message.text for message in build("", history, [], PLENTY)]
    assert texts == ["Look!", "", "I see.", "Quick!", "Done."]


def test_a_turn_of_which_only_a_prompt_that_joined_is_left_does_not_reach_the_model() -> None:
    history = [row(1, 1, 0, "user", status="joined", text="Quick!"), row(1, 1, 1, "assistant", text="Done.")]
    assert build("", history, [], PLENTY) == []
