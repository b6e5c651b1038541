"""A thread's live events as text on a terminal. Text of an attempt that was cut off is taken back, never doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prompt_toolkit.utils import get_cwidth

from client.retries import retry_words
from domain.events import Event
from domain.messages import printable
from domain.steps import attempt_of
from gateway.notes import fitting, line_of, report_of

DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
ENDS = {"failed": "not answered", "refused": "refused", "interrupted": "stopped", "withdrawn": "withdrawn"}
UP_AND_CLEAR = "\x1b[{rows}A\r\x1b[J"
CLEAR_LINE = "\r\x1b[J"


class Transcript:
    """Writes to a terminal; `size` gives its columns and rows."""

    def __init__(self, write: Callable[[str], None], size: Callable[[], tuple[int, int]]) -> None:
        self._put = write
        self.shown: str | None = None  # the last message that was shown to its end
        self._size = size
        self._message: str | None = None  # the one whose text is on the screen, unended
        self._attempt = 0
        self._text = ""
        self._agent = "assistant"
        self._thinks: tuple[str | None, int] = (None, 0)  # the message and attempt of which that was told
        self._passing = False  # the last line is one that the next takes the place of

    def prompt(self, text: str, author: str | None) -> None:
        """A prompt that was not typed here."""
        self._line(f"{BOLD}{printable(author or 'you')} ›{PLAIN} {printable(text)}")

    def answer(self, agent: str, text: str) -> None:
        """An answer that is whole already."""
        self._line(f"{BOLD}{agent} ›{PLAIN} {printable(text) or '(no text)'}")

    def ended(self, status: str, why: str | None) -> None:
        """The end of a prompt that has no answer of its own; one that joined a turn is answered there."""
        if status in ENDS:
            self.note(f"{ENDS[status]}: {why}" if why else ENDS[status])

    def note(self, text: str) -> None:
        self._line(f"{DIM}{printable(text)}{PLAIN}")

    def pass_on(self) -> None:
        """Take away what is shown for the moment only."""
        if self._passing:
            self._put(CLEAR_LINE)
            self._passing = False

    def show(self, event: Event) -> None:
        """What an event means for the reader; prompts are shown by whoever knows who typed them."""
        data = event.data
        match event.kind:
            case "snapshot":
                self._catch_up(data["messages"])
            case "message.started":
                self._begin(data)
            case "message.delta" if data["message_id"] == self._message and data["attempt"] == self._attempt:
                self._continue(data["text"])
            case "reasoning.delta" if data["message_id"] == self._message:
                self._think(data["attempt"])
            case "message.finished" if data["message_id"] == self._message:
                self._end()
            case "model.retrying":
                self._take_back()
                self._message = None
                words = retry_words(attempt_of(data["attempt"]) + 1, data["retry_in_s"], data["error"])
                self.note(f"the model cannot answer now: {words}")
            case "turn.finished":
                self.ended(data["status"], data.get("error"))
            case "prompt.refused":
                self.ended("refused", data["error"])
            case _:
                self._beside(event)

    def _catch_up(self, streaming: list[dict[str, Any]]) -> None:
        for message in streaming:
            self._begin(message)
            self._continue(message["text"])

    def _begin(self, data: dict[str, Any]) -> None:
        if self._message == data["message_id"]:
            self._take_back()
        elif self._message is not None:
            self._end()
        self._message, self._attempt, self._text = data["message_id"], data["attempt"], ""
        self._agent = data.get("agent") or "assistant"

    def _think(self, attempt: int) -> None:
        """Told once before the answer: a model may think for a minute."""
        thinks = (self._message, attempt)
        if not self._text and self._thinks != thinks:
            self._thinks = thinks
            self.note("· thinking …")

    def _beside(self, event: Event) -> None:
        """What happens beside an answer; how far a tool is passes, and has no room while an answer comes."""
        if line := line_of(event):
            self.note(line)
        elif (report := report_of(event)) and not self._text:
            self._write(f"{DIM}{fitting(report, self._size()[0] - 1)}{PLAIN}")
            self._passing = True

    def _continue(self, text: str) -> None:
        text = printable(text)
        if text and not self._text:
            self._write(f"{BOLD}{self._agent} ›{PLAIN} ")
        self._text += text
        self._write(text)

    def _end(self) -> None:
        if self._text:
            self._write("\n" if not self._text.endswith("\n") else "")
            self.shown = self._message
        self._message, self._text = None, ""

    def _take_back(self) -> None:
        """Clear what the cut-off attempt wrote, or say so where it has left the screen."""
        if not self._text:
            return
        columns, screen = self._size()
        rows = sum(max(1, -(-get_cwidth(line) // columns)) for line in f"{self._agent} › {self._text}".split("\n"))
        if rows < screen:
            self._write(UP_AND_CLEAR.format(rows=rows - 1) if rows > 1 else "\r\x1b[J")
        else:
            self._write(f"\n{DIM}(cut off; once more from the start){PLAIN}\n")
        self._text = ""

    def _line(self, text: str) -> None:
        if self._text:
            self._end()
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self.pass_on()
        self._put(text)
