"""One attempt of one step: what is asked, by whom, of which agent, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from activities.lease import Lease
from domain import ids
from domain.agent import Agent, Tool, with_options
from domain.budgets import Ending, ending, waited_s
from domain.context_record import ContextRecord
from domain.errors import InputRefusedError
from domain.handoffs import options_after
from domain.hooks import StepInfo
from domain.mcp import Listing
from domain.messages import Message, ThreadRecord, ToolCall, preview
from domain.model import Completion
from domain.prompts import PromptOptions
from domain.steps import PlannedCall, StepRequest

GRACE_S = 30.0  # for a call that begins when the turn's time is nearly or wholly over


@dataclass
class Step:
    """`see` must come before what depends on the turn so far: the agent as the prompt wants it, limits, the plan."""

    request: StepRequest
    agent: Agent
    attempt: int  # fence
    lease: Lease
    record: ThreadRecord | None  # of the thread
    prompt: Message | None = None
    running: Sequence[Message] = ()  # the turn's rows so far
    started_at: float = 0.0  # seconds since 1970: the turn's first model call, and later by what its calls waited
    ending: Ending | None = None  # why this call is the turn's last, if a limit makes it so
    offered: tuple[Tool, ...] = ()  # to the model in this call
    listing: Listing | None = None  # what the agent's MCP servers offer the turn
    listed_now: bool = False  # and no step before this one was told
    joined: Sequence[str] = ()  # the rows of prompts that came to the turn with this step
    info: StepInfo | None = None  # the call that is being made, for functions of the agent's
    thoughts: bool = True  # of earlier steps go back to the provider
    refused_whole: bool = False  # the provider has said that the context is too long
    text: str = ""  # of the answer, as far as it has come
    reasoning: str = ""  # likewise
    model: str | None = None  # that is being asked, None: the one of the settings
    begun: bool = False  # something of the answer has come
    failed: Completion | None = None  # the answer that is not what it was to be
    context: ContextRecord | None = None  # what the model was shown in this call
    prompt_text: str | None = None  # that the model reads in the place of the prompt's own
    passed_to: str = ""  # the agent that answers, if another one than was asked
    searchable: bool = True  # what is said in the turn may be found later
    queues: bool = True  # there may be workers of the queues that tools name
    known: Sequence[tuple[str, str]] = ()  # what was looked up for the prompt: names and texts
    sources: Sequence[dict[str, Any]] = ()  # of that, for the answer's record

    @cached_property
    def answer_id(self) -> str:
        return self.answer_of(self.request.step)

    @cached_property
    def prompt_row_id(self) -> str:
        return ids.message_id(self.request.thread, self.request.prompt_id, "prompt")  # of every branch

    def answer_of(self, step: int) -> str:
        request = self.request
        return ids.message_id(request.thread, request.prompt_id, "answer", branch=request.branch, step=step)

    def results_of(self, answer: Message) -> list[str]:
        """The ids of the results of the calls that an earlier step planned."""
        request, plan = self.request, (answer.result or {}).get("plan", [])
        place = {"branch": request.branch, "step": answer.step}
        return [ids.message_id(request.thread, request.prompt_id, f"tool:{i}", **place) for i in range(len(plan))]

    def pass_to(self, agent: Agent) -> None:
        """Another agent than was asked answers the turn."""
        self.agent, self.passed_to = agent, agent.name
        self.request = self.request.model_copy(update={"agent": agent.name})

    def see(self, running: Sequence[Message], created_at: float, now: float) -> None:
        """Take in the turn so far; `created_at` is this step's own row's.

        What a turn did before its end, if it is gone on with after that, does not count for its limits.
        Raises: InputRefusedError if the prompt's options cannot be used.
        """
        self.running = running
        self.prompt = next(row for row in running if row.id == self.prompt_row_id)
        options = _options(self.prompt)
        self.searchable = options.searchable
        if any(row.handoff for row in self.done):
            options = options_after(options, self.agent)
        self.prompt_text = options.context_prompt
        self.agent = with_options(self.agent, options)
        begun_at = min([created_at, *(row.created_at for row in self.done if row.role == "assistant")])
        self.started_at = begun_at + waited_s(self.done)
        self.ending = ending(self.agent, self.done, now - self.started_at)

    @property
    def done(self) -> list[Message]:
        """The turn's answers and results so far, from where it was gone on with after an earlier end."""
        first = self.prompt.from_step if self.prompt else 0
        return [row for row in self.running if row.role != "user" and row.step >= first]

    @property
    def newest_turn(self) -> int:
        """Of the thread: an older one may have been opened again, and is what the thread does all the same."""
        return max(self.request.turn, self.record.turns if self.record else 0)

    @property
    def last(self) -> bool:
        """No tools are run after this step."""
        first = self.prompt.from_step if self.prompt else 0
        return self.ending is not None or self.request.step + 1 >= min(ids.MAX_STEPS, first + self.agent.max_steps)

    @property
    def notes(self) -> list[str]:
        """What the model is told of this call, behind the instructions."""
        notes = [self.listing.note if self.listing else "", self.ending.note if self.ending else ""]
        return [note for note in notes if note]

    def served(self, calls: Sequence[ToolCall]) -> dict[str, Any]:
        """What is recorded with the answer of the tools of servers: all for the steps after it, and what it calls."""
        if self.listing is None:
            return {}
        kept = self.listing if self.listed_now else self.listing.called([call.name for call in calls])
        return {"mcp": kept.model_dump(mode="json")}

    def call_timeout_s(self, now: float) -> float | None:
        """How long the model call may take before it is cut."""
        limit = self.agent.max_seconds
        return None if limit is None else max(self.started_at + limit - now, min(GRACE_S, limit / 2))

    def given_up(self, now: float) -> bool:
        """The turn's time is over twice: a model that is not available is not waited for any longer."""
        return self.agent.max_seconds is not None and now - self.started_at >= 2 * self.agent.max_seconds

    def tool_of(self, call: ToolCall) -> Tool | None:
        """The tool that the call names, if the model was offered it."""
        return next((tool for tool in self.offered if tool.name == call.name), None)

    def plan(self, calls: Sequence[ToolCall]) -> list[PlannedCall]:
        plan = [_planned(call, self.tool_of(call)) for call in calls]
        return plan if self.queues else [call.model_copy(update={"queue": ""}) for call in plan]

    def event(self, **data: Any) -> dict[str, Any]:
        """The data of an event of this step."""
        return {"turn": self.request.turn, "attempt": self.attempt, "agent": self.request.agent} | data


def _options(prompt: Message) -> PromptOptions:
    try:
        return PromptOptions.model_validate(prompt.options or {})
    except ValidationError as error:  # of another release
        raise InputRefusedError(f"options: {preview(str(error))}") from None


def _planned(call: ToolCall, tool: Tool | None) -> PlannedCall:
    if tool is None:  # run_tool tells the model so
        return PlannedCall(call_id=call.call_id, tool=preview(call.name, 64), effect="read", offered=False)
    return PlannedCall(
        call_id=call.call_id, tool=tool.name, effect=tool.effect, timeout_s=tool.timeout_s, queue=tool.queue or ""
    )
