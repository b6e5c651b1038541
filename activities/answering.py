"""The answer of a step: asked for in a form that the model can take, and in the form that was wanted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import structlog

from activities.calling import Estimates, model_request
from activities.forms import REMEMBERED, Forms
from activities.outputs import Value, correction, read_output, refuse_unusable
from activities.ports import TokenCounter
from activities.step import Step
from activities.streaming import AnswerStream
from domain.chat import ChatMessage, without_images
from domain.context import Past
from domain.errors import (
    ContextTooLongError,
    FormatRefusedError,
    ImagesRefusedError,
    OutputInvalidError,
    ThoughtsRefusedError,
)
from domain.messages import Usage
from domain.model import Completion, ModelRequest
from domain.output import Output

LEAST_BUDGET = 100  # tokens
CUT = ("time_limit", "length")  # how an answer ends that nobody need wonder about

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """What the model said in the end; `value` if it was to be one, and what was wrong with its first try, if that was."""

    completion: Completion
    value: Value | None = None
    problem: str = ""
    first: str = ""


class Answering:
    """Answers of steps, over the stream of model calls it is given."""

    def __init__(self, answers: AnswerStream, budget_tokens: int, tokens: TokenCounter | None = None) -> None:
        self._answers = answers
        self._budget = budget_tokens
        self._tokens = tokens or Estimates()
        self._forms = Forms()
        self._without_thoughts: set[tuple[str | None, ...]] = set()  # models that do not take back what was thought

    async def ask(self, step: Step, past: Past) -> Answer:
        """Raises: OutputInvalidError if the answer is not what it was to be, and its repair neither; as AnswerStream.read."""
        output: Output | None = step.agent.output
        if output is not None:
            refuse_unusable(output)
        call, completion = await self._ask(step, past)
        if output is None or (completion.tool_calls and not step.last):
            return Answer(completion)
        try:
            value = await asyncio.to_thread(read_output, output, completion.text)  # a large one takes seconds
        except OutputInvalidError as error:
            return await self._repaired(step, call, completion, output, str(error))
        await self._answers.restate(step, value.text)
        return Answer(replace(completion, text=value.text), value)

    async def _ask(self, step: Step, past: Past) -> tuple[ModelRequest, Completion]:
        """The model's answer, with less of the conversation where it cannot take what it should."""
        budget, halved = self._budget, 0
        step.thoughts = step.agent.models not in self._without_thoughts
        while True:
            call = await model_request(step, past, budget, self._forms, self._tokens)
            assert step.context is not None
            step.context.halved = halved
            try:
                return call, await self._answers.read(step, call)
            except ImagesRefusedError:
                if (seen := without_images(past.history)) == past.history:  # it is this turn's own
                    raise
                past = replace(past, history=seen)
                log.warning("context.without_images", message_id=step.answer_id)
            except ContextTooLongError:
                if budget < LEAST_BUDGET:
                    raise
                budget, halved, step.refused_whole = budget // 2, halved + 1, True
                log.warning("context.halved", message_id=step.answer_id, budget_tokens=budget)
            except ThoughtsRefusedError as error:
                if not any(message.raw for message in call.messages):
                    raise
                self._forget_thoughts(step, error)
            except FormatRefusedError as error:
                if call.answer_format is None:
                    raise
                self._forms.refuse(call.model, step.agent.output, call.answer_format)
                log.warning("output.format_refused", message_id=step.answer_id, error=str(error))

    def _forget_thoughts(self, step: Step, error: ThoughtsRefusedError) -> None:
        if len(self._without_thoughts) >= REMEMBERED:
            self._without_thoughts.clear()
        self._without_thoughts.add(step.agent.models)
        step.thoughts = False
        log.warning("context.without_thoughts", message_id=step.answer_id, error=str(error))

    async def _repaired(
        self, step: Step, call: ModelRequest, first: Completion, output: Output, problem: str
    ) -> Answer:
        """One more try, with what was wrong. Raises: OutputInvalidError."""
        if first.finish == "time_limit":
            raise self._invalid(step, first, problem)
        log.warning("output.invalid", message_id=step.answer_id, problem=problem)
        said = [ChatMessage("assistant", first.text)] if first.text.strip() else []
        asked = [*call.messages, *said, ChatMessage("user", correction(output, problem))]
        second = await self._answers.read(step, replace(call, messages=asked, tool_choice="none"))
        finish = "stop" if second.finish == "tool_calls" else second.finish
        second = replace(second, usage=_sum(first.usage, second.usage), tool_calls=(), finish=finish)
        try:
            value = await asyncio.to_thread(read_output, output, second.text)
        except OutputInvalidError as error:
            raise self._invalid(step, second, str(error)) from None
        await self._answers.restate(step, value.text)
        return Answer(replace(second, text=value.text), value, problem, first.text)

    @staticmethod
    def _invalid(step: Step, completion: Completion, problem: str) -> OutputInvalidError:
        step.failed = completion
        cut = f" It was cut: {completion.finish}." if completion.finish in CUT else ""
        return OutputInvalidError(f"The answer is not what it was to be: {problem}.{cut}")


def _sum(first: Usage | None, second: Usage | None) -> Usage | None:
    if first is None or second is None:
        return first or second
    return Usage(
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
    )
