"""The context of a model call: which messages the model sees, and in what order. One pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from domain import ids
from domain.chat import ChatMessage, chat_of, close_calls, says_something, system_messages, with_text
from domain.context_record import ContextRecord, count_by_reason
from domain.messages import Message
from domain.quoting import HEADING, Found, Place, Quote, Quotes, block, in_order
from domain.shortening import shorten
from domain.tokens import Count, text_tokens, total_tokens
from domain.turns import abridged, whole_turns, without_tools

RECENT = 100  # messages
RECALLED_SHARE, LONGEST_SHARE = 0.25, 0.25  # of the budget
LEAST_LONGEST = 200  # tokens: a message of fewer is never cut
SUMMARY_HEADING = "Summary of what was said earlier in this conversation, up to where the messages below begin:"

Lines = list[tuple[Message, ChatMessage]]  # rows as they are shown


@dataclass(frozen=True)
class Section:
    """Something the model always sees, under a name: its working memory, what is known of the user."""

    name: str
    text: str


@dataclass(frozen=True)
class Summary:
    """What stands for the turns up to `through_turn`."""

    text: str
    through_turn: int


@dataclass(frozen=True)
class Past:
    """What there is beside the running turn. `history` are the last rows before it, in order; `found` is best first.

    `search` says what was wrong with the search, and `model` whose vectors were searched.
    """

    history: Sequence[Message] = ()
    memory: Sequence[Section] = ()
    summary: Summary | None = None
    found: Sequence[Found] = ()
    search: str = ""
    model: str | None = None


@dataclass(frozen=True)
class Parts:
    """What a context is made of. `running` begins with the prompt of the turn.

    `prompt_text` is shown in the place of the prompt's own text.
    """

    instructions: str | Sequence[str]
    running: Sequence[Message]
    past: Past = Past()
    prompt_text: str | None = None


@dataclass(frozen=True)
class Options:
    """How much is shown. `longest` is the tokens of one message; None is a quarter of the budget."""

    recent_messages: int = RECENT
    recalled_share: float = RECALLED_SHARE
    longest: int | None = None
    exclude_tool_messages: bool = False
    thoughts: bool = True


@dataclass(frozen=True)
class Context:
    """What the model sees. `sections` (memory, summary) and `search` (what was found) stand behind the instructions."""

    instructions: Sequence[str]
    sections: Sequence[str]
    search: str
    recent: Sequence[ChatMessage]
    prompt: Sequence[ChatMessage]
    running: Sequence[ChatMessage]  # the rest of the turn
    record: ContextRecord = field(default_factory=ContextRecord)

    @property
    def spoken(self) -> list[ChatMessage]:
        """All but what the system says."""
        return [*self.recent, *self.prompt, *self.running]

    @property
    def messages(self) -> list[ChatMessage]:
        return [*self.system(self.instructions), *self.spoken]

    def system(self, instructions: str | Sequence[str]) -> list[ChatMessage]:
        """The system's messages with these instructions. Nothing adds to their number: some models take a single one."""
        return _system(instructions, [*self.sections, self.search])


def build_context(
    parts: Parts, budget_tokens: int, options: Options = Options(), count: Count = text_tokens
) -> Context:
    """Instructions, memory, summary, what was found, as many whole recent turns as the budget holds, the running turn.

    The running turn is always there, whatever it costs; with `thoughts`, what the model thought in it goes back to the
    provider. What was found takes at most its share of the budget; nothing stands there twice, and nothing that came
    after the prompt. A message that is too long is shown without its middle.
    """
    return _Building(parts, budget_tokens, options, count).build()


def _system(instructions: str | Sequence[str], behind: Sequence[str]) -> list[ChatMessage]:
    texts = [instructions] if isinstance(instructions, str) else list(instructions)
    *first, last = texts or [""]
    return system_messages([*first, "\n\n".join(text for text in (last, *behind) if text.strip())])


class _Building:
    """One context that is being made."""

    def __init__(self, parts: Parts, budget: int, options: Options, count: Count) -> None:
        self._parts, self._budget, self._options, self._count = parts, budget, options, count
        self._longest = options.longest or max(int(budget * LONGEST_SHARE), LEAST_LONGEST)
        self._record = ContextRecord(budget=budget, search=parts.past.search, model=parts.past.model)
        self._dropped: list[str] = []

    def build(self) -> Context:
        sections = [f"# {section.name}\n{section.text.strip()}" for section in self._memory()]
        summary = self._summary()
        told = f"{SUMMARY_HEADING}\n{summary.text.strip()}" if summary else ""
        fixed = [*sections, *([told] if told else [])]
        running = self._running(total_tokens(_system(self._parts.instructions, fixed), self._count))
        used = total_tokens([*_system(self._parts.instructions, fixed), *(chat for _, chat in running)], self._count)
        recent, quotes = self._past(self._budget - used, summary.through_turn if summary else 0)
        search, record = block(quotes), self._record
        record.memory = [section.name for section in self._memory()]
        record.summary_through = summary.through_turn if summary else None
        record.recent, record.running = [row.id for row, _ in recent], [row.id for row, _ in running]
        record.recalled = [quote.note for quote in in_order(quotes)]
        record.dropped = count_by_reason(self._dropped)
        asked = running[:1] if running and running[0][0].role == "user" else []
        context = Context(
            instructions=_texts(self._parts.instructions),
            sections=fixed,
            search=search,
            recent=[chat for _, chat in recent],
            prompt=[chat for _, chat in asked],
            running=close_calls(chat for _, chat in running[len(asked) :]),
            record=record,
        )
        record.tokens = self._tokens(context, sections, told)
        return context

    def _tokens(self, context: Context, sections: Sequence[str], told: str) -> dict[str, int]:
        said = {"recent": context.recent, "prompt": context.prompt, "running": context.running}
        tokens = {"instructions": total_tokens(_system(context.instructions, []), self._count)}
        tokens |= {"memory": sum(map(self._count, sections)), "summary": self._count(told) if told else 0}
        tokens |= {"recalled": self._count(context.search) if context.search else 0}
        return tokens | {name: total_tokens(chats, self._count) for name, chats in said.items()}

    def _memory(self) -> list[Section]:
        return [section for section in self._parts.past.memory if section.text.strip()]

    def _summary(self) -> Summary | None:
        """Not of turns that come later than the running one: it may be an old one that is made anew."""
        summary, turn = self._parts.past.summary, self._turn
        if summary is None or not summary.text.strip() or (turn is not None and summary.through_turn >= turn):
            return None
        return summary

    @property
    def _turn(self) -> int | None:
        return self._parts.running[0].turn if self._parts.running else None

    def _running(self, system_tokens: int) -> Lines:
        """The running turn; its long messages are cut only if it would not fit otherwise."""
        lines = [(row, self._own(row)) for row in self._parts.running]
        lines = [(row, chat) for row, chat in lines if says_something(chat)]
        if self._parts.prompt_text is not None and lines:
            lines[0] = (lines[0][0], with_text(lines[0][1], self._parts.prompt_text))
        if system_tokens + total_tokens((chat for _, chat in lines), self._count) <= self._budget:
            return lines
        return [(row, self._fitted(row, chat)) for row, chat in lines]

    def _own(self, row: Message) -> ChatMessage:
        chat = chat_of(row)
        return replace(chat, raw=row.raw) if self._options.thoughts and chat.tool_calls and row.raw else chat

    def _fitted(self, row: Message, chat: ChatMessage) -> ChatMessage:
        """Without its middle, if it is too long."""
        shown = shorten(chat.text, self._longest, self._count, f"message {row.id}")
        if shown == chat.text:
            return chat
        if row.id not in self._record.shortened:
            self._record.shortened.append(row.id)
        return with_text(chat, shown)

    def _past(self, left: int, after_turn: int) -> tuple[Lines, list[Quote]]:
        """The recent turns, and what was found beside them.

        What was found is given its room first, and what it leaves of that goes to older turns.
        """
        turns = self._turns(after_turn)
        quotes = self._quotes()
        share = max(min(int(self._budget * self._options.recalled_share), left), 0)
        reserved = min(share, sum(quote.tokens for quote in quotes))
        shown = {(turn[0].thread, turn[0].turn) for turn, _ in self._recent(turns, left - reserved)[0]}
        chosen = self._chosen([quote for quote in quotes if quote.key not in shown], share)
        spent = sum(quote.tokens for quote in chosen)
        recent, reasons = self._recent(turns, left - spent)
        self._dropped += reasons
        shown = {(turn[0].thread, turn[0].turn) for turn, _ in recent}
        self._dropped += ["shown" for quote in quotes if quote.key in shown]
        self._dropped += ["share" for quote in quotes if quote.key not in shown and quote not in chosen]
        lines = [line for _, lines in reversed(recent) for line in lines]
        self._note(lines)
        return lines, [quote for quote in chosen if quote.key not in shown]

    def _turns(self, after_turn: int) -> list[list[Message]]:
        """Oldest first."""
        before = ids.first_seq(self._turn) if self._turn is not None else None
        rows = [row for row in self._parts.past.history if before is None or row.seq < before]
        return [turn for turn in whole_turns(rows) if (turn[0].turn or 0) > after_turn]

    def _quotes(self) -> list[Quote]:
        if not self._parts.past.found:
            return []
        first = self._parts.running[0] if self._parts.running else None
        place = Place("", ids.WAITING_SEQ, 0.0)
        if first is not None:
            place = Place(first.thread, ids.first_seq(first.turn or 0), first.created_at)
        quotes = Quotes(place, self._count, self._longest)
        quotes.read(self._parts.past.found)
        self._dropped += quotes.dropped
        return quotes.quotes

    def _chosen(self, quotes: Sequence[Quote], share: int) -> list[Quote]:
        """By rank, as many as there is room for."""
        chosen: list[Quote] = []
        left = share - self._count(HEADING) - 1
        for quote in quotes:
            if quote.tokens <= left:
                chosen.append(quote)
                left -= quote.tokens
        return chosen

    def _recent(
        self, turns: Sequence[Sequence[Message]], left: int
    ) -> tuple[list[tuple[Sequence[Message], Lines]], list[str]]:
        """The newest turns that fit, newest first, and why the others do not. Of a last one that is too long, the ends."""
        room, shown = self._options.recent_messages, list[tuple[Sequence[Message], Lines]]()
        if not room:
            return shown, []
        for place, turn in enumerate(reversed(turns)):
            lines = self._lines(turn)
            cost = total_tokens((chat for _, chat in lines), self._count)
            if len(turn) <= room and cost <= left:
                shown.append((turn, lines))
                room, left = room - len(turn), left - cost
                continue
            reason = "budget" if cost > left else "window"
            if place == 0 and (ends := self._ends(turn, left)):
                self._record.abridged = [turn[0].id]
                return [(turn, ends)], [reason] * (len(turns) - 1)
            return shown, [reason] * (len(turns) - place)
        return shown, []

    def _lines(self, turn: Sequence[Message]) -> Lines:
        rows = without_tools(turn) if self._options.exclude_tool_messages else turn
        by_chat = [(row, self._shortened(row, chat_of(row))) for row in rows]
        by_chat = [(row, chat) for row, chat in by_chat if says_something(chat)]
        closed = close_calls(chat for _, chat in by_chat)
        return _with_rows(closed, by_chat)

    def _shortened(self, row: Message, chat: ChatMessage) -> ChatMessage:
        shown = shorten(chat.text, self._longest, self._count, f"message {row.id}")
        return chat if shown == chat.text else with_text(chat, shown)

    def _ends(self, turn: Sequence[Message], left: int) -> Lines:
        lines = abridged(turn)
        longest = min(self._longest, left // (2 * len(lines)))
        if longest < LEAST_LONGEST // 4:
            return []
        shown = [(row, with_text(c, shorten(c.text, longest, self._count, f"message {row.id}"))) for row, c in lines]
        return shown if total_tokens((chat for _, chat in shown), self._count) <= left else []

    def _note(self, lines: Lines) -> None:
        """Which of the messages that are shown lack their middle."""
        cut = [row.id for row, chat in lines if len(chat.text) < len(row.text)]
        self._record.shortened = [*cut, *self._record.shortened]


def _with_rows(closed: Sequence[ChatMessage], lines: Lines) -> Lines:
    """Each message with its row; a result that was made up, with the row of its call."""
    rows = {id(chat): row for row, chat in lines}
    shown: Lines = []
    for chat in closed:
        shown.append((rows.get(id(chat)) or shown[-1][0], chat))
    return shown


def _texts(instructions: str | Sequence[str]) -> list[str]:
    return [instructions] if isinstance(instructions, str) else list(instructions)
