"""The recent window: the newest whole turns that fit into so many messages and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.chat import ChatMessage, chat_of, close_calls, says_something, with_text
from domain.messages import Message
from domain.shortening import shorten
from domain.tokens import Count, message_tokens
from domain.turns import abridged, without_tools

LEAST_ENDS = 50  # tokens a message: with fewer a turn is left out rather than shown by its ends

Lines = list[tuple[Message, ChatMessage]]  # rows as they are shown


@dataclass(frozen=True)
class Fit:
    """What is shown of some turns. `dropped` says why others are not, see domain.context_record.REASONS."""

    lines: Lines = field(default_factory=list)  # oldest first
    tokens: int = 0
    dropped: Sequence[str] = ()
    keys: frozenset[int | None] = frozenset()  # the numbers of the turns that are shown
    abridged: str | None = None  # the id of the prompt of whose turn only the ends are shown

    @property
    def whole(self) -> bool:
        return not self.dropped and self.abridged is None


@dataclass
class Window:
    """`turns` are whole turns, oldest first. A message of more than `longest` tokens is shown without its middle.

    With `lenient` only where not all of them would fit otherwise.
    """

    turns: Sequence[Sequence[Message]]
    messages: int
    longest: int
    count: Count
    lenient: bool = True
    exclude_tools: bool = False
    _shown: dict[tuple[int, int | None], tuple[Lines, int]] = field(default_factory=dict)

    def fit(self, left: int) -> Fit:
        """The newest turns that fit. Of a last one that is too long its prompt and its last answer."""
        if not self.messages:
            return Fit()
        if self.lenient and (fit := self._fit(left, None)).whole:
            return fit
        return self._fit(left, self.longest)

    def _fit(self, left: int, longest: int | None) -> Fit:
        room, budget = self.messages, left
        shown: list[Lines] = []
        for place in reversed(range(len(self.turns))):
            turn = self.turns[place]
            lines, cost = self._lines(place, longest)
            if len(turn) <= room and cost <= left:
                shown.append(lines)
                room, left = room - len(turn), left - cost
                continue
            reason = "budget" if cost > left else "window"
            if not shown and longest is not None and (ends := self._ends(turn, left)).lines:
                return Fit(ends.lines, ends.tokens, [reason] * place, ends.keys, turn[0].id)
            return self._of(shown, budget - left, [reason] * (place + 1))
        return self._of(shown, budget - left, ())

    def _of(self, shown: Sequence[Lines], tokens: int, dropped: Sequence[str]) -> Fit:
        newest = self.turns[len(self.turns) - len(shown) :]
        lines = [line for lines in reversed(shown) for line in lines]
        return Fit(lines, tokens, dropped, frozenset(turn[0].turn for turn in newest))

    def _lines(self, place: int, longest: int | None) -> tuple[Lines, int]:
        if (known := self._shown.get((place, longest))) is None:
            turn = self.turns[place]
            rows = without_tools(turn) if self.exclude_tools else turn
            lines = closed([(row, shortened(row, chat_of(row), longest, self.count)) for row in rows])
            known = self._shown[place, longest] = lines, tokens_of(lines, self.count)
        return known

    def _ends(self, turn: Sequence[Message], left: int) -> Fit:
        lines = abridged(turn)
        longest = min(self.longest, left // (2 * len(lines)))
        if longest < LEAST_ENDS:
            return Fit()
        lines = [(row, shortened(row, chat, longest, self.count)) for row, chat in lines]
        tokens = tokens_of(lines, self.count)
        return Fit(lines, tokens, keys=frozenset([turn[0].turn])) if tokens <= left else Fit()


def closed(lines: Lines) -> Lines:
    """The same without answers that say nothing, each call with its result; one that was made up has its call's row."""
    lines = [(row, chat) for row, chat in lines if says_something(chat)]
    if not any(chat.tool_calls or chat.role == "tool" for _, chat in lines):
        return lines
    rows = {id(chat): row for row, chat in lines}
    shown: Lines = []
    for chat in close_calls(chat for _, chat in lines):
        shown.append((rows.get(id(chat)) or shown[-1][0], chat))
    return shown


def shortened(row: Message, chat: ChatMessage, longest: int | None, count: Count) -> ChatMessage:
    """Without its middle, if it has more than `longest` tokens."""
    shown = chat.text if longest is None else shorten(chat.text, longest, count, f"message {row.id}")
    return chat if shown == chat.text else with_text(chat, shown)


def tokens_of(lines: Lines, count: Count) -> int:
    return sum(message_tokens(chat, count) for _, chat in lines)
