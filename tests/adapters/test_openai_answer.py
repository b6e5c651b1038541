"""How chunks become an answer, whatever the server's habits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from adapters.openai_answer import Answer
from adapters.openai_merge import merge
from domain.model import ReasoningDelta, TextDelta, ToolDelta
from tests.adapters.raw_server import delta

Piece = dict[str, Any]


def call(name: str | None = None, arguments: Any = None, **fields: Any) -> Piece:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return fields | {"function": function}


def calls_of(*deltas: list[Piece], taken: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    answer = Answer(taken)
    for pieces in deltas:
        answer.add(delta(tool_calls=pieces))
    answer.add(delta("tool_calls"))
    return [(made.call_id, made.name, made.arguments) for made in answer.completion("m").tool_calls]


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [[call("f", "", index=0, id="a")], [call(None, '{"x"', index=0)], [call(None, ":1}", index=0)],
             [call("g", "", index=1, id="b")], [call(None, "{}", index=1)]],
            id="OpenAI: an index, the id once, arguments in pieces",
        ),
        pytest.param(
            [[call("f", "", index=0, id="a"), call("g", "", index=1, id="b")],
             [call(None, '{"x":1', index=0), call(None, "{", index=1)], [call(None, "}", index=1), call(None, "}", index=0)]],
            id="pieces of two calls in turns",
        ),
        pytest.param(
            [[call("f", '{"x":1}', index=0, id="a")], [call("g", "{}", index=0, id="b")]],
            id="Ollama: whole calls, all with index 0",
        ),
        pytest.param(
            [[call("f", '{"x":1}', id="a"), call("g", "{}", id="b")]],
            id="whole calls without an index, in one chunk",
        ),
        pytest.param(
            [[call("f", '{"x"', id="a", index=None)], [call(None, ":1}", index=None)], [call("g", "{}", id="b")]],
            id="pieces without an index",
        ),
        pytest.param(
            [[call("f", '{"x"', index=0, id="a")], [call("f", ":1}", index=0, id="a")], [call("g", "{}", index=1, id="b")]],
            id="id and name in every piece",
        ),
        pytest.param(
            [[call("f", '{"x"', id="a")], [call("g", "{", id="b")], [call(None, ":1}", id="a"), call(None, "}", id="b")]],
            id="told apart by their ids alone",
        ),
        pytest.param(
            [[call("f", {"x": 1}, index=0, id="a"), call("g", {}, index=1, id="b")]],
            id="arguments as an object",
        ),
        pytest.param(
            [[call("f", '{"x":1}', index=3, id="a")], [call("g", "{}", index=7, id="b")], [{"index": 7}]],
            id="an index with gaps, and a piece of nothing",
        ),
    ],
)  # fmt: skip
def test_two_calls_are_told_apart(deltas: list[list[Piece]]) -> None:
    made = [(call_id, name, arguments.replace(" ", "")) for call_id, name, arguments in calls_of(*deltas)]
    assert made == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_another_id_in_every_piece_is_still_one_call() -> None:
    made = calls_of(
        [call("f", "", index=0, id="r1")], [call(None, "{", index=0, id="r2")], [call(None, "}", index=0, id="r3")]
    )
    assert [(name, arguments) for _, name, arguments in made] == [("f", "{}")]


def test_two_whole_calls_of_one_function_without_ids_are_two() -> None:
    """Gemini sends no ids, and index 0 or none."""
    for place in ({}, {"index": 0}):
        made = calls_of([call("f", '{"x":1}', **place)], [call("f", '{"x":2}', **place)])
        assert made == [("call_0", "f", '{"x":1}'), ("call_1", "f", '{"x":2}')]


def test_a_piece_with_an_index_of_its_own_but_no_name_goes_on_with_the_last_call() -> None:
    made = calls_of([call("f", "{", index=0, id="a")], [call(None, "}", index=1)])
    assert made == [("a", "f", "{}")]


def test_every_call_of_a_conversation_has_an_id_of_its_own() -> None:
    long = "x" * 60
    pieces = [call("f", "{}", index=n, id=given) for n, given in enumerate(["a", "used", "a", "", None, long])]
    made = [call_id for call_id, _, _ in calls_of(pieces, taken=("used", "call_0", "call_2"))]
    assert made == ["a", "call_1", "call_3", "call_4", "call_5", "call_6"]


@pytest.mark.parametrize(
    "pieces", [None, [], [None], "x", [{}], [{"function": None}], [{"index": "0", "function": "f"}]]
)
def test_pieces_that_are_none_break_nothing(pieces: Any) -> None:
    answer = Answer(())
    answer.add(delta(tool_calls=pieces))
    answer.add(delta("stop"))
    assert len(answer.completion("m").tool_calls) <= 1


def test_an_answer_with_calls_says_so_whatever_the_server_calls_it() -> None:
    answer = Answer(())
    answer.add(delta("stop", tool_calls=[call("f", "{}", index=0, id="a")]))
    completion = answer.completion("m")
    assert (completion.finish, completion.raw["finish_reason"]) == ("tool_calls", "stop")


def test_unknown_fields_are_kept_and_merged() -> None:
    answer = Answer(())
    details = {"type": "reasoning.text", "index": 0, "format": "v1"}
    answer.add(delta(role="assistant", content="", reasoning="I ", reasoning_details=[details | {"text": "I "}]))
    answer.add(delta(role="assistant", content=None, reasoning="am", reasoning_details=[details | {"text": "am"}]))
    answer.add(delta(content="ok", audio={"id": "a", "data": "xx"}, score=1))
    answer.add(delta("stop", audio={"id": "a", "data": "yy"}, score=2) | {"timings": {"n": 1}, "usage": None})
    answer.add({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": None, "cost": 0.1}})
    completion = answer.completion("m")
    assert completion.raw["timings"] == {"n": 1}
    assert completion.raw["usage"]["cost"] == 0.1
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 0
    assert completion.raw["message"] == {
        "role": "assistant",
        "content": "ok",
        "reasoning": "I am",
        "reasoning_details": [details | {"text": "I am"}],
        "audio": {"id": "a", "data": "xxyy"},
        "score": 2,
    }


def test_logprobs_are_kept_beside_the_message() -> None:
    answer = Answer(())
    for token in ("a", "b"):
        chunk = delta(content=token)
        chunk["choices"][0]["logprobs"] = {"content": [{"token": token}]}
        answer.add(chunk)
    answer.add(delta("stop"))
    assert answer.completion("m").raw["choice"] == {"logprobs": {"content": [{"token": "a"}, {"token": "b"}]}}


def texts(pieces: Sequence[object]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


def test_content_in_parts_is_text_too() -> None:
    """Mistral's reasoning models send a text first and lists of parts later."""
    answer = Answer(())
    shown = [
        answer.add(delta(content="")),
        answer.add(delta(content=[{"type": "thinking", "thinking": "hm"}])),
        answer.add(delta(content=[{"type": "text", "text": "Yes"}])),
        answer.add(delta("stop", content=".")),
    ]
    assert list(map(texts, shown)) == ["", "", "Yes", "."]
    completion = answer.completion("m")
    assert (completion.text, completion.reasoning) == ("Yes.", "hm")


def test_a_refusal_is_what_the_model_says() -> None:
    answer = Answer(())
    assert texts(answer.add(delta("stop", refusal="I won't."))) == "I won't."
    assert answer.completion("m").text == "I won't."


def test_other_choices_are_not_mixed_in() -> None:
    answer = Answer(())
    chunk = delta("stop", content="mine")
    chunk["choices"].append({"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"})
    assert texts(answer.add(chunk)) == "mine"


@pytest.mark.parametrize("chunk", [{}, {"choices": None}, {"choices": [None]}, {"choices": [{"index": 0}]}])
def test_an_odd_chunk_adds_nothing(chunk: dict[str, Any]) -> None:
    answer = Answer(())
    assert answer.add(chunk) == []
    assert not answer.finished


def test_the_model_that_was_asked_stands_in_for_one_that_is_not_named() -> None:
    answer = Answer(())
    answer.add({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "length"}]})
    completion = answer.completion("asked")
    assert (completion.model, completion.finish) == ("asked", "length")


@pytest.mark.parametrize(
    ("old", "new", "both"),
    [
        ("a", "b", "ab"),
        ("a", None, "a"),
        (None, "b", "b"),
        (1, 2, 2),
        (True, False, False),
        ([1], [2], [1, 2]),
        ("a", [{"x": 1}], ["a", {"x": 1}]),
        ([{"index": 0, "t": "a"}], [{"index": 0, "t": "b"}, {"index": 1, "t": "c"}], [{"index": 0, "t": "ab"}, {"index": 1, "t": "c"}]),
        ({"id": "x", "name": ""}, {"id": "x", "name": "n"}, {"id": "x", "name": "n"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "e": 1}}, {"a": {"b": "cd", "e": 1}}),
    ],
)  # fmt: skip
def test_merging(old: Any, new: Any, both: Any) -> None:
    assert merge(old, new) == both


# --- thoughts


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "Let me "}, {"reasoning_content": "see."}],
        [{"reasoning": "Let me "}, {"reasoning": "see."}],
        [
            {"reasoning": "Let me ", "reasoning_details": [{"type": "reasoning.text", "text": "Let me ", "index": 0}]},
            {"reasoning": "see.", "reasoning_details": [{"type": "reasoning.text", "text": "see.", "index": 0}]},
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 1}]},
        ],
        [{"reasoning_details": [{"type": "reasoning.summary", "summary": "Let me see."}]}],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]}]}],
        [{"reasoning": None, "reasoning_content": "Let me see."}],
    ],
    ids=["DeepSeek, vLLM", "Groq, Ollama", "OpenRouter", "a summary", "Mistral", "a null beside it"],
)
def test_thoughts_are_told_apart_from_what_is_said(deltas: list[dict[str, Any]]) -> None:
    answer = Answer(())
    pieces = [piece for fields in deltas for piece in answer.add(delta(**fields))]
    pieces += answer.add(delta("stop", content="Yes."))
    completion = answer.completion("m")
    assert (completion.reasoning, completion.text) == ("Let me see.", "Yes.")
    assert "".join(piece.text for piece in pieces if isinstance(piece, ReasoningDelta)) == "Let me see."
    assert texts(pieces) == "Yes."


def test_thoughts_are_kept_whole_with_their_signatures() -> None:
    answer = Answer(())
    for text, signature in (("a", None), ("b", "sig")):
        detail = {"type": "reasoning.text", "text": text, "index": 0, "signature": signature, "format": "x"}
        answer.add(delta(reasoning_details=[detail]))
    answer.add(delta("stop"))
    assert answer.completion("m").raw["message"]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "ab", "index": 0, "signature": "sig", "format": "x"}
    ]


# --- arguments as they come


def test_the_arguments_of_calls_are_shown_as_they_come() -> None:
    answer = Answer(("taken",))
    pieces = [
        *answer.add(delta(tool_calls=[call("f", "", index=0, id="a"), call("g", '{"y', index=1, id="taken")])),
        *answer.add(delta(tool_calls=[call(None, '{"x":', index=0), call(None, '":2}', index=1)])),
        *answer.add(delta(tool_calls=[call(None, "1}", index=0)])),
    ]
    assert pieces == [
        ToolDelta(1, "", "g", '{"y'),
        ToolDelta(0, "a", "f", '{"x":'),
        ToolDelta(1, "", "g", '":2}'),
        ToolDelta(0, "a", "f", "1}"),
    ]
    assert [made.call_id for made in answer.completion("m").tool_calls] == ["a", "call_0"]


# --- sources


@pytest.mark.parametrize(
    ("chunk", "found"),
    [
        (
            delta(annotations=[{"type": "url_citation", "url_citation": {"url": "u", "title": "T", "start_index": 0}}]),
            [{"url": "u", "title": "T", "start_index": 0}],
        ),
        (delta(annotations=[{"type": "url_citation", "url": "u", "title": "T"}]), [{"url": "u", "title": "T"}]),
        (
            delta() | {"citations": ["u", "v"], "search_results": [{"url": "u", "title": "T", "date": "2026-01-02"}]},
            [{"url": "u", "title": "T", "date": "2026-01-02"}, {"url": "v"}],
        ),
        (
            delta(executed_tools=[{"type": "search", "search_results": {"results": [{"url": "u", "title": "T"}]}}]),
            [{"url": "u", "title": "T"}],
        ),
        (delta(annotations=[None, {}, {"url": 5}, {"url_citation": 5}]) | {"citations": [None, 5, {}, ""]}, []),
    ],
    ids=["OpenAI", "flat", "Perplexity", "Groq", "nonsense"],
)
def test_sources_are_told_in_one_form(chunk: dict[str, Any], found: list[dict[str, Any]]) -> None:
    answer = Answer(())
    answer.add(chunk)
    answer.add(delta("stop", content="Yes."))
    assert answer.completion("m").sources == found
