"""What was found by a search stands in the context once, quoted, in its share, and never from later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.context import Context, Options, Parts, Past, build_context
from domain.messages import Message, ToolCall
from domain.quoting import HEADING, Found
from tests.domain.contexts import PLENTY, answer, exchange, prompt, row

JUNE = 1_780_300_800.0  # 2026-06-01 08:00 UTC
NOW = [prompt(9, "now", "pending", created_at=JUNE + 86_400)]


def found(rows: Sequence[Message], score: float = 0.5) -> Found:
    return Found(rows, {rows[0].id: score})


def said(turn: int, asked: str, answered: str, **fields: Any) -> list[Message]:
    return exchange(turn, asked, answered, **({"created_at": JUNE + 60 * turn} | fields))


def built(hits: Sequence[Found], history: Sequence[Message] = (), budget: int = PLENTY, **options: Any) -> Context:
    return build_context(Parts("Be brief.", NOW, Past(history, found=hits)), budget, Options(**options))


def test_what_was_found_is_quoted_behind_the_instructions_with_its_time_its_place_and_who_said_it() -> None:
    ours = said(3, "Where is Tom?", "In Rome.")
    other = said(1, "I like figs.", "Noted.", thread="other", author="Ada", agent="clerk", id="x")
    context = built([found(ours), found(other)])
    assert context.messages[0].text == (
        f"Be brief.\n\n{HEADING}\n\n"
        "[2026-06-01 08:01 UTC, another conversation]\nAda: I like figs.\nAda: Noted.\n\n"
        "[2026-06-01 08:03 UTC, turn 3 of this conversation]\nuser: Where is Tom?\nassistant: In Rome."
    )


def test_what_was_found_stands_in_the_order_of_time_and_is_chosen_by_rank() -> None:
    hits = [found(said(turn, f"q{turn} " + "x" * 300, "a"), score=1 - turn / 10) for turn in (5, 2, 4, 3)]
    context = built(hits, budget=2_000, recalled_share=0.2)
    assert [note.turn for note in context.record.recalled] == [2, 5]
    assert context.record.dropped == {"share": 2}


def test_what_was_found_takes_at_most_its_share_of_the_budget() -> None:
    hits = [found(said(turn, f"q{turn} " + "x" * 200, "a")) for turn in range(1, 9)]
    for share in (0.0, 0.1, 0.25, 0.5):
        context = built(hits, budget=2_000, recalled_share=share)
        assert context.record.tokens["recalled"] <= 2_000 * share


def test_what_stands_in_the_window_is_not_told_again() -> None:
    history = said(7, "one", "two") + said(8, "three", "four")
    context = built([found(said(8, "three", "four")), found(said(2, "old", "older"))], history)
    assert ([note.turn for note in context.record.recalled], context.record.dropped) == ([2], {"shown": 1})


def test_what_was_found_twice_is_told_once() -> None:
    hits = [found(said(2, "old", "older")), found(said(2, "old", "older") + said(3, "new", "newer"))]
    assert [note.turn for note in built(hits).record.recalled] == [2, 3]


def test_nothing_of_the_running_turn_or_later_is_told() -> None:
    hits = [found(said(9, "now", "soon")), found(said(10, "next", "later"))]
    later = said(1, "elsewhere", "later", thread="other", created_at=JUNE + 90_000)
    context = built([*hits, found(later), found(said(2, "old", "older"))])
    assert ([note.turn for note in context.record.recalled], context.record.dropped) == ([2], {"later": 3})


def test_results_of_tools_and_turns_that_failed_or_say_nothing_are_not_told() -> None:
    call = ToolCall(call_id="c", name="look", arguments="{}")
    with_tool = [
        prompt(2, "look!"),
        answer(2, "", tool_calls=[call]),
        row(2, 0, 100, "tool", call_id="c", text="secret"),
        answer(2, "seen", 1),
    ]
    failed = said(3, "poison", "half")
    failed[0].status = "failed"
    context = built([found(with_tool), found(failed), found(said(4, " ", ""))])
    assert "secret" not in context.search
    assert context.search.endswith("user: look!\nassistant: seen")
    assert context.record.dropped == {"unusable": 2}


def test_scores_and_ids_of_what_was_found_are_recorded() -> None:
    rows = said(2, "old", "older")
    [note] = built([Found(rows, {rows[1].id: 0.75})]).record.recalled
    assert (note.score, note.hits, note.ids) == (0.75, [rows[1].id], [row.id for row in rows])


def test_a_long_message_is_told_without_its_middle() -> None:
    context = built([found(said(2, "begin " + "x" * 20_000 + " end", "a"))], budget=8_000, longest=300)
    assert "characters left out here" in context.search
    assert "begin" in context.search
    assert len(context.search) < 3_000


def test_without_something_found_the_window_has_the_whole_budget() -> None:
    history = [row for turn in range(1, 9) for row in said(turn, "x" * 100, "y" * 100)]
    alone, beside = built([], history, 500), built([found(said(20, "x", "y"))], history, 500)
    assert alone.recent == beside.recent
