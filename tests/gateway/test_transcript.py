"""What a terminal shows of a thread's events: all of an answer, once, and nothing that drives the terminal."""

from __future__ import annotations

from typing import Any

import pytest
from prompt_toolkit.utils import get_cwidth

from domain.events import Event, EventKind
from domain.steps import fence
from gateway.transcript import Transcript


class Screen:
    """Lines as a terminal of 80 × 24 would show them, for the few sequences that are sent to it."""

    def __init__(self) -> None:
        self.lines = [""]

    def write(self, text: str) -> None:
        text = text.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
        while text:
            if text.startswith("\r\x1b[J"):
                self.lines[-1], text = "", text[4:]
            elif text.startswith("\x1b["):
                rows, _, text = text[2:].partition("A")
                del self.lines[len(self.lines) - int(rows) :]
            elif text.startswith("\n"):
                self.lines.append("")
                text = text[1:]
            else:
                self.lines[-1] += text[0]
                text = text[1:]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def told(*events: tuple[EventKind, dict[str, Any]]) -> Screen:
    screen = Screen()
    transcript = Transcript(screen.write, lambda: (80, 24))
    for number, (kind, data) in enumerate(events):
        transcript.show(Event(id=f"e.{number}", kind=kind, data=data))
    return screen


def started(attempt: int = 1) -> tuple[EventKind, dict[str, Any]]:
    return "message.started", {"message_id": "m", "attempt": attempt, "agent": "poet"}


def delta(text: str, attempt: int = 1) -> tuple[EventKind, dict[str, Any]]:
    return "message.delta", {"message_id": "m", "attempt": attempt, "text": text}


FINISHED: tuple[EventKind, dict[str, Any]] = ("message.finished", {"message_id": "m", "attempt": 1})
RETRYING: tuple[EventKind, dict[str, Any]] = (
    "model.retrying",
    {"message_id": "m", "attempt": fence(1, 0, 3), "error": "away", "retry_in_s": 20.3},
)


def test_an_answer_is_shown_as_it_comes() -> None:
    assert told(started(), delta("Hello "), delta("Ada."), FINISHED).text == "poet › Hello Ada.\n"


def test_text_of_a_cut_off_attempt_is_taken_back() -> None:
    screen = told(started(), delta("Hello wor\nld"), started(2), delta("Hello Ada.", 2), FINISHED)
    assert screen.text.count("Hello") == 1


def test_text_is_taken_back_also_when_a_note_comes_between() -> None:
    screen = told(started(), delta("Hello wor"), RETRYING, started(2), delta("Hello Ada.", 2), FINISHED)
    assert screen.text.count("Hello") == 1
    assert "away" in screen.text


def test_a_delta_of_an_earlier_attempt_is_not_shown() -> None:
    screen = told(started(2), delta("old", 1), delta("new", 2), FINISHED)
    assert screen.text == "poet › new\n"


def test_that_the_model_thinks_is_told_once_and_what_it_thinks_is_not() -> None:
    def thought(text: str) -> Any:
        return ("reasoning.delta", {"message_id": "m", "attempt": 1, "text": text})

    screen = told(started(), thought("Hm"), thought("m."), delta("Yes."), thought("Sure?"), delta(" Sure."), FINISHED)
    assert screen.text == "· thinking …\npoet › Yes. Sure.\n"


def test_a_late_reader_sees_what_streams_right_now() -> None:
    streaming = {"message_id": "m", "attempt": 1, "agent": "poet", "text": "Once upon "}
    assert told(("snapshot", {"messages": [streaming]}), delta("a time"), FINISHED).text == "poet › Once upon a time\n"


def test_text_from_outside_does_not_drive_the_terminal() -> None:
    screen = told(started(), delta("\x1b]0;owned\x07\x1b[2Jplain"), FINISHED)
    assert screen.text == "poet › ]0;owned[2Jplain\n"


def test_a_failed_turn_says_why() -> None:
    screen = told(("turn.finished", {"status": "failed", "error": "No such model."}))
    assert screen.text == "not answered: No such model.\n"


def test_a_model_that_is_away_is_told_with_attempt_next_try_and_cause() -> None:
    assert told(RETRYING).text == "the model cannot answer now: attempt 4, next in 20 s: away\n"


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ("failed", "No such model.", "not answered: No such model.\n"),
        ("interrupted", "Ctrl-C", "stopped: Ctrl-C\n"),
        ("withdrawn", None, "withdrawn\n"),
        ("joined", None, ""),
        ("answered", None, ""),
        ("of a newer release", None, ""),
    ],
)
def test_an_end_without_an_answer_of_its_own_is_told_if_there_is_something_to_tell(
    status: str, error: str | None, words: str
) -> None:
    assert told(("turn.finished", {"prompt_id": "p", "status": status, "error": error})).text == words


@pytest.mark.parametrize(
    ("kind", "data", "line"),
    [
        ("agent.asked", {"agent": "poet", "child": "sub-1"}, "· poet is asked on sub-1 …\n"),
        ("agent.changed", {"agent": "poet", "before": "desk"}, "poet answers now, in the place of desk\n"),
        ("operator.changed", {"operator": "ada", "before": None}, "ada has the thread now and answers\n"),
        ("operator.changed", {"operator": None, "before": "ada"}, "the agent answers again\n"),
    ],
)
def test_who_answers_is_told(kind: EventKind, data: dict[str, Any], line: str) -> None:
    assert told((kind, data)).text == line


def test_a_server_whose_tools_are_missing_is_told_of() -> None:
    screen = told(("server.away", {"turn": 1, "server": "files", "error": "it ended with status 1"}))
    assert screen.text == "without the tools of files: it ended with status 1\n"


def report(**said: Any) -> tuple[EventKind, dict[str, Any]]:
    return "tool.progress", {"message_id": "t", "tool": "search", "attempt": 1} | said


def test_how_far_a_tool_is_stands_in_one_line_that_passes() -> None:
    begun: tuple[EventKind, dict[str, Any]] = ("tool.started", {"tool": "search"})
    reports = [report(message="page 1", fraction=0.25), report(message="page\n2", fraction=0.5), report(data={"n": 3})]
    assert told(begun, *reports).text == "· search …\n· search: page 2, 50%"
    assert told(begun, *reports, started(), delta("Found."), FINISHED).text == "· search …\npoet › Found.\n"


def test_a_report_never_takes_more_than_a_line_and_does_not_drive_the_terminal() -> None:
    [line] = told(report(result="語" * 300 + "\x1b[2J")).lines
    assert get_cwidth(line) <= 79
    assert line.endswith("語…")
    assert told(report(message="\x1b[2Jhalf")).text == "· search: \ufffd[2Jhalf"


def test_a_report_does_not_break_into_an_answer() -> None:
    assert (
        told(started(), delta("Once "), report(message="page 1"), delta("upon"), FINISHED).text == "poet › Once upon\n"
    )


@pytest.mark.parametrize(
    ("kind", "data", "line"),
    [
        (
            "tool.retrying",
            {"attempt": fence(1, 0, 1), "error": "ConnectionError: down", "retry_in_s": 1.2},
            "· search did not work: attempt 2, next in 1 s: ConnectionError: down\n",
        ),
        ("tool.finished", {"status": "failed"}, "· search did not work; the agent reads why\n"),
        ("tool.finished", {"status": "complete"}, ""),
        ("tool.finished", {"status": "denied"}, ""),
    ],
)
def test_a_tool_that_does_not_work_is_told_of(kind: EventKind, data: dict[str, Any], line: str) -> None:
    assert told((kind, {"tool": "search"} | data)).text == line
