"""Compaction: older turns that do not fit any longer are summarised in the background, and stay searchable as they are.

A summary is made of the one before and the next turns, some thousand tokens at a time; each is saved before the next is
asked for, and only if it follows the one that is there. So it may be cut off anywhere and be done again: nothing is
summarised twice, and nothing is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from activities.calling import Estimates
from activities.forms import Forms
from activities.outputs import correction, instruction, read_output
from activities.ports import Catalog, ChatModel, Summaries, TokenCounter
from activities.rows import asker_of
from domain.agent import Agent
from domain.chat import ChatMessage
from domain.errors import (
    ContextTooLongError,
    FormatRefusedError,
    HookError,
    ModelRefusedError,
    ModelUnavailableError,
    OutputInvalidError,
    UnknownAgentError,
)
from domain.messages import Message, ThreadRecord, Usage, preview
from domain.model import Completion, ModelRequest
from domain.output import output_of
from domain.shortening import shorten
from domain.summaries import INSTRUCTIONS, SummaryAnswer, ThreadSummary, transcript
from domain.tokens import Counter
from domain.turns import whole_turns

AT_ONCE = 4  # threads, before others of the background have their turn
READ = 500  # messages
CHUNK_SHARE, MOST_CHUNK = 0.4, 8_000  # of the budget, tokens: of the turns that are summarised at a time
LEAST_CHUNK = 200

log = structlog.get_logger()


class Compaction:
    """activities.keeping.Chore: summaries of threads that have outgrown their context. A failure never fails a turn."""

    name = "compaction"

    def __init__(
        self,
        summaries: Summaries,
        model: ChatModel,
        catalog: Catalog,
        *,
        budget_tokens: int,
        tokens: TokenCounter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._summaries = summaries
        self._model = model
        self._catalog = catalog
        self._chunk = max(min(int(budget_tokens * CHUNK_SHARE), MOST_CHUNK), LEAST_CHUNK)
        self._tokens = tokens or Estimates()
        self._clock = clock
        self._forms = Forms()
        self._output = output_of(SummaryAnswer)

    async def due(self) -> int:
        return await self._summaries.count_due()

    async def work(self) -> int:
        """One step for each of some threads that are due; one whose model is away holds up no other.

        Raises: UnavailableError, ModelUnavailableError if none of them could be gone on with.
        """
        done, away = 0, list[ModelUnavailableError]()
        for record in await self._summaries.due(AT_ONCE):
            try:
                await self._step(record)
                done += 1
            except ModelUnavailableError as error:
                away.append(error)
        if away and not done:
            raise away[0]
        return done

    async def _step(self, record: ThreadRecord) -> None:
        """Summarise the next turns of a thread, or note that there are none left."""
        done = await self._summaries.get(record.thread) or _empty(record)
        if done.through_turn < record.compact_through:
            try:
                made = await self._made(record, done)
            except (ModelRefusedError, OutputInvalidError, UnknownAgentError, HookError) as error:
                # It is tried again when the thread has grown: until then a context has what fits, as without a summary.
                log.warning("compaction.failed", thread=record.thread, error=preview(str(error)))
                return await self._summaries.settle(record, done.through_turn)
            done = await self._summaries.put(made, done.through_turn)
            log.info("compaction.done", thread=record.thread, through_turn=done.through_turn, tokens=done.tokens)
        if done.through_turn >= record.compact_through:
            await self._summaries.settle(record, done.through_turn)
        return None

    async def _next(
        self, record: ThreadRecord, done: ThreadSummary, counter: Counter
    ) -> tuple[list[list[Message]], int]:
        """The next whole turns that one call can take, at least one, and the number of the last turn they settle."""
        first, last = done.through_turn + 1, record.compact_through
        rows = await self._summaries.turns(record.thread, first, last, READ)
        if len(rows) == READ and (whole := [row for row in rows if row.turn != rows[-1].turn]):
            rows, last = whole, (whole[-1].turn or 0)  # the last one may go on behind them
        taken: list[list[Message]] = []
        left = self._chunk
        for turn in whole_turns(rows):
            cost = counter.count("\n" + transcript([turn], self._chunk // 4, counter.count)) + 1
            if taken and cost > left:
                return taken, (turn[0].turn or 0) - 1
            taken.append(turn)
            left -= cost
        return taken, last

    async def _made(self, record: ThreadRecord, done: ThreadSummary) -> ThreadSummary:
        """The next version, of fewer turns at a time where the model cannot take so much.

        Raises: ModelRefusedError, ModelUnavailableError, OutputInvalidError, UnknownAgentError, HookError.
        """
        agent = await self._catalog.agent(record.agent or self._catalog.default, asker_of(record.thread, record))
        counter = self._tokens.counter(_models(agent)[0])
        while True:
            turns, through = await self._next(record, done, counter)
            if not turns:
                return _passed(done, through)
            said = transcript(turns, self._chunk // 4, counter.count)
            said = shorten(said, self._chunk, counter.count, "in the store")  # one turn may have more
            try:
                answer, usage = await self._ask(agent, done.shown, said)
            except ContextTooLongError:
                if self._chunk <= LEAST_CHUNK:
                    raise
                self._chunk = max(min(self._chunk, counter.count(said)) // 2, LEAST_CHUNK)
                continue
            made = done.followed_by(answer, through, self._clock()).within(self._chunk, counter.count)
            made.prompt_tokens += usage.prompt_tokens
            made.completion_tokens += usage.completion_tokens
            return made

    async def _ask(self, agent: Agent, so_far: str, news: str) -> tuple[SummaryAnswer, Usage]:
        """The model's answer in its form, after one repair at most."""
        asked = f"# Summary so far\n{so_far or 'There is none yet.'}\n\n# What was said after it\n{news}"
        messages = [ChatMessage("system", INSTRUCTIONS), ChatMessage("user", asked)]
        first = await self._complete(agent, messages)
        try:
            return self._read(first.text), first.usage or Usage()
        except OutputInvalidError as error:
            said = [ChatMessage("assistant", first.text)] if first.text.strip() else []
            messages = [*messages, *said, ChatMessage("user", correction(self._output, str(error)))]
        second = await self._complete(agent, messages)
        return self._read(second.text), _sum(first.usage, second.usage)

    def _read(self, text: str) -> SummaryAnswer:
        """Raises: OutputInvalidError."""
        return SummaryAnswer.model_validate_json(read_output(self._output, text).text)

    async def _complete(self, agent: Agent, messages: Sequence[ChatMessage]) -> Completion:
        """In the most exact form that the model takes."""
        model, *others = _models(agent)
        while True:
            form = self._forms.form(model, self._output)
            told = messages
            if form is None or form.schema is None:
                head = f"{messages[0].text}\n\n{instruction(self._output)}"
                told = [replace(messages[0], text=head), *messages[1:]]
            request = ModelRequest(
                model, told, answer_format=form, fallbacks=[name for name in others if name is not None]
            )
            try:
                return await self._last(request)
            except FormatRefusedError:
                if form is None:
                    raise
                self._forms.refuse(model, self._output, form)

    async def _last(self, request: ModelRequest) -> Completion:
        async for piece in self._model.stream(request):
            if isinstance(piece, Completion):
                return piece
        raise AssertionError("a model ends with a completion")


def _models(agent: Agent) -> tuple[str | None, ...]:
    return agent.models if agent.compaction_model is None else (agent.compaction_model,)


def _empty(record: ThreadRecord) -> ThreadSummary:
    return ThreadSummary(thread=record.thread, tenant=record.tenant, owner=record.owner)


def _passed(done: ThreadSummary, through: int) -> ThreadSummary:
    """Of turns that failed, or were replaced, there is nothing to keep."""
    return done.model_copy(update={"through_turn": through, "version": done.version + 1})


def _sum(first: Usage | None, second: Usage | None) -> Usage:
    both = [usage for usage in (first, second) if usage is not None]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in both),
        completion_tokens=sum(usage.completion_tokens for usage in both),
    )
