"""The context of a model call: which messages the model sees, and in what order. One pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from domain import ids
from domain.chat import ChatMessage, chat_of, system_messages, with_text
from domain.context_record import ContextRecord, count_by_reason
from domain.messages import Message
from domain.quoting import HEADING, Found, Place, Quote, Quotes, block, in_order
from domain.shortening import shorten
from domain.tokens import Count, text_tokens, total_tokens
from domain.turns import whole_turns
from domain.window import Fit, Lines, Window, closed, shortened, tokens_of

RECENT = 100  # messages
RECALLED_SHARE, LONGEST_SHARE = 0.25, 0.25  # of the budget
LEAST_LONGEST = 200  # tokens: a message of fewer is never cut
SUMMARY_HEADING = "Summary of what was said earlier in this conversation, up to where the messages below begin:"


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
    """How much is shown. `longest` is the tokens of one message; None: a quarter of the budget where not all fits."""

    recent_messages: int = RECENT
    recalled_share: float = RECALLED_SHARE
    longest: int | None = None
    exclude_tool_messages: bool = False
    thoughts: bool = True
    shorten_running: bool = False  # its long messages, if it does not fit: the provider has said so


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
    after the prompt. Where the whole does not fit, a message that is too long is shown without its middle.
    """
    return _Building(parts, budget_tokens, options, count).build()


def _system(instructions: str | Sequence[str], behind: Sequence[str]) -> list[ChatMessage]:
    texts = [instructions] if isinstance(instructions, str) else list(instructions)
    *first, last = texts or [""]
    return system_messages([*first, "\n\n".join(text for text in (last, *behind) if text.strip())])


class _Building:
    """One context that is being made."""

    def __init__(self, parts: Parts, budget: int, options: Options, count: Count) -> None:
        self._parts, self._past, self._options, self._count = parts, parts.past, options, count
        self._budget = budget
        self._longest = options.longest or max(int(budget * LONGEST_SHARE), LEAST_LONGEST)
        self._turn = parts.running[0].turn if parts.running else None
        self._memory = [section for section in self._past.memory if section.text.strip()]
        self._summary = self._usable(self._past.summary)

    def build(self) -> Context:
        memory = [f"# {section.name}\n{section.text.strip()}" for section in self._memory]
        summary = [self._told(self._summary)] if self._summary else []
        system = total_tokens(_system(self._parts.instructions, [*memory, *summary]), self._count)
        running = self._running(system)
        prompt = running[:1] if running and running[0][0].role == "user" else []
        rest = running[len(prompt) :]
        tokens = {"prompt": tokens_of(prompt, self._count), "running": tokens_of(rest, self._count)}
        recent, quotes, dropped = self._behind(self._budget - system - sum(tokens.values()))
        search = block(quotes)
        tokens |= {"memory": sum(map(self._count, memory)), "summary": sum(map(self._count, summary))}
        tokens |= {"instructions": system - tokens["memory"] - tokens["summary"], "recent": recent.tokens}
        tokens |= {"recalled": self._count(search) if search else 0}
        return Context(
            instructions=_texts(self._parts.instructions),
            sections=[*memory, *summary],
            search=search,
            recent=[chat for _, chat in recent.lines],
            prompt=[chat for _, chat in prompt],
            running=[chat for _, chat in rest],
            record=self._record(running, recent, quotes, dropped, tokens),
        )

    def _record(
        self, running: Lines, recent: Fit, quotes: Sequence[Quote], dropped: Sequence[str], tokens: dict[str, int]
    ) -> ContextRecord:
        cut = [row.id for row, chat in [*recent.lines, *running] if len(chat.text) < len(row.text)]
        if self._parts.prompt_text is not None:  # the prompt's own text says nothing of what is shown
            cut = [row_id for row_id in cut if row_id != running[0][0].id]
        return ContextRecord(
            budget=self._budget,
            tokens=tokens,
            recent=_ids(recent.lines),
            recalled=[quote.note for quote in in_order(quotes)],
            memory=[section.name for section in self._memory],
            turns=[min(numbers), max(numbers)] if (numbers := [key for key in recent.keys if key is not None]) else [],
            running=_ids(running),
            shortened=list(dict.fromkeys(cut)),
            abridged=[recent.abridged] if recent.abridged else [],
            dropped=count_by_reason(dropped),
            summary_through=self._summary.through_turn if self._summary else None,
            search=self._past.search,
            model=self._past.model,
        )

    def _told(self, summary: Summary) -> str:
        text = shorten(summary.text.strip(), self._longest, self._count, "in the store")
        return f"{SUMMARY_HEADING}\n{text}"

    def _usable(self, summary: Summary | None) -> Summary | None:
        """Not of turns that come later than the running one: it may be an old one that is made anew."""
        if summary is None or not summary.text.strip():
            return None
        return None if self._turn is not None and summary.through_turn >= self._turn else summary

    def _running(self, system_tokens: int) -> Lines:
        """The running turn; its long messages are cut only if it does not fit and the provider has refused it whole."""
        lines = [(row, self._own(row)) for row in self._parts.running]
        if self._parts.prompt_text is not None and lines:
            lines[0] = (lines[0][0], with_text(lines[0][1], self._parts.prompt_text))
        lines = closed(lines)
        if not self._options.shorten_running or system_tokens + tokens_of(lines, self._count) <= self._budget:
            return lines
        return [(row, shortened(row, chat, self._longest, self._count)) for row, chat in lines]

    def _own(self, row: Message) -> ChatMessage:
        chat = chat_of(row)
        return replace(chat, raw=row.raw) if self._options.thoughts and chat.tool_calls and row.raw else chat

    def _behind(self, left: int) -> tuple[Fit, list[Quote], list[str]]:
        """The recent turns, what was found beside them, and why the rest is not shown.

        What was found is given its room first, and what it leaves of that goes to older turns.
        """
        window = self._window()
        if not self._past.found:
            recent = window.fit(left)
            return recent, [], list(recent.dropped)
        quotes = self._quotes()
        share = max(min(int(self._budget * self._options.recalled_share), left), 0)
        first = window.fit(left - share)
        chosen = self._chosen([quote for quote in quotes.quotes if not self._is_in(first, quote)], share)
        recent = window.fit(left - _cost(chosen, self._count))
        shown = [quote for quote in quotes.quotes if self._is_in(recent, quote)]
        chosen = [quote for quote in chosen if quote not in shown]
        missed = len(quotes.quotes) - len(shown) - len(chosen)
        return recent, chosen, [*recent.dropped, *quotes.dropped, *["shown"] * len(shown), *["share"] * missed]

    def _window(self) -> Window:
        before = ids.first_seq(self._turn) if self._turn is not None else ids.WAITING_SEQ
        after = self._summary.through_turn if self._summary else -1
        rows = [row for row in self._past.history if row.seq < before and (row.turn or 0) > after]
        options = self._options
        return Window(
            list(whole_turns(rows)),
            options.recent_messages,
            self._longest,
            self._count,
            lenient=options.longest is None,
            exclude_tools=options.exclude_tool_messages,
        )

    def _quotes(self) -> Quotes:
        place = Place("", ids.WAITING_SEQ, 0.0)
        if self._parts.running:
            prompt = self._parts.running[0]
            place = Place(prompt.thread, ids.first_seq(prompt.turn or 0), prompt.created_at)
        quotes = Quotes(place, self._count, self._longest)
        quotes.read(self._past.found)
        return quotes

    def _is_in(self, fit: Fit, quote: Quote) -> bool:
        thread, turn = quote.key
        return bool(self._parts.running) and thread == self._parts.running[0].thread and turn in fit.keys

    def _chosen(self, quotes: Sequence[Quote], share: int) -> list[Quote]:
        """By rank, as many as there is room for."""
        chosen: list[Quote] = []
        for quote in quotes:
            if _cost([*chosen, quote], self._count) <= share:
                chosen.append(quote)
        return chosen


def _cost(quotes: Sequence[Quote], count: Count) -> int:
    """At least the tokens of their block."""
    return count(HEADING) + 1 + sum(quote.tokens for quote in quotes) if quotes else 0


def _ids(lines: Lines) -> list[str]:
    """Of the rows that are shown; a result that was made up has none."""
    return list(dict.fromkeys(row.id for row, _ in lines))


def _texts(instructions: str | Sequence[str]) -> list[str]:
    return [instructions] if isinstance(instructions, str) else list(instructions)
