"""The wire of AgentThread: every name that a program in any language may call, and the JSON of each.

The one table of them: docs/wire.md is written from it, and a test holds that the workflow has exactly these names. They
are permanent; fields are only added, with defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from domain import errors
from domain.approvals import Resolution, ResolveReceipt, WaitingCall, call_digest
from domain.erasure import Forget, ForgetReceipt
from domain.operators import HandBack, OperatorReceipt, Say, SayReceipt, TakeOver
from domain.prompts import Prompt, ThreadStart
from domain.wire import Wire
from domain.wishes import (
    Again,
    ChangeReceipt,
    Edit,
    Interrupt,
    InterruptReceipt,
    Receipt,
    TurnQuery,
    TurnReport,
    Withdraw,
)

WORKFLOW = "AgentThread"
ERASE = "Erase"
TASK_TIMEOUT = timedelta(seconds=5)  # so long does a lost worker hold up a thread that was just deciding
TASK_QUEUE = "everthread"  # unless EVERTHREAD_TASK_QUEUE names another

Kind = Literal["start", "signal", "update", "query"]


class RunningTurn(Wire):
    """The turn that runs, and its step, from 0."""

    prompt_id: str
    turn: int
    step: int
    agent: str


class ThreadStatus(Wire):
    """What a thread is doing. `epoch` counts how often it was opened (0: not yet); `waiting_ids` are the first hundred.

    `steered` prompts come to the running turn at its next step; `undelivered` replies are on their way; `calls` are those
    of the running turn that wait for somebody; `operator` is the person who has the thread in the agent's place.
    """

    thread: str
    agent: str
    epoch: int
    next_turn: int
    running: RunningTurn | None = None
    waiting: int
    waiting_ids: list[str] = Field(default_factory=list)
    steered: int = 0
    undelivered: int = 0
    calls: list[WaitingCall] = Field(default_factory=list)
    operator: str | None = None


@dataclass(frozen=True)
class Entry:
    """One name. `example` and `answer` are shown in the docs, and the example is sent to a real thread by a test.

    `busy`: the example is about a thread in which prompt `p-3` is being answered and `p-4` waits; else nothing runs or
    waits, `p-1` was answered and `p-2` interrupted.
    """

    kind: Kind
    name: str
    about: str
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    fails: tuple[type[errors.EverthreadError], ...] = ()
    busy: bool = False
    gated: bool = False  # the example is about a thread in which call `call_1` of prompt `p-3` waits for an approval
    operated: bool = False  # ada has taken the thread over
    opens: bool = False  # makes sense together with the start of the thread


GATED_TOOL, GATED_ARGUMENTS = "refund", '{"amount": 500}'
GATED_DIGEST = call_digest(GATED_TOOL, GATED_ARGUMENTS)

PROMPT_REFUSALS = (
    errors.InputRefusedError,
    errors.PromptConflictError,
    errors.InboxFullError,
    errors.ThreadBusyError,
    errors.UnknownThreadError,
)


def erase_id(erasure: str) -> str:
    """The workflow of an erasure."""
    return f"erase/{erasure}"


ENTRIES = (
    Entry(
        "start",
        WORKFLOW,
        "Start a thread that has nothing to answer yet. No input at all is the same as `{}`.",
        takes=ThreadStart,
        example={"agent": "assistant", "owner": "ada"},
    ),
    Entry(
        "signal",
        "prompt",
        "Say something to the thread. Send it with start, and it need not exist.",
        takes=Prompt,
        example={"id": "p-5", "content": "Where is my order?"},
        opens=True,
    ),
    Entry(
        "signal",
        "interrupt",
        "Stop the turn that runs, or only the one that is named. What it said so far is kept.",
        takes=Interrupt,
        example={"prompt_id": "p-3"},
        busy=True,
    ),
    Entry(
        "signal",
        "withdraw",
        "Take back a prompt that waits.",
        takes=Withdraw,
        example={"prompt_id": "p-4"},
        busy=True,
    ),
    Entry(
        "signal",
        "edit",
        "Say something else with a prompt that waits. Its id goes on to stand for it.",
        takes=Edit,
        example={"prompt_id": "p-4", "content": "Where is my other order?"},
        busy=True,
    ),
    Entry(
        "signal",
        "regenerate",
        "Answer the prompt of an ended turn anew; the answer it had stays in the store, and out of the conversation.",
        takes=Again,
        example={"prompt_id": "p-1"},
    ),
    Entry(
        "signal",
        "resume",
        "Go on with a turn where it ended: at a limit, by an interrupt, or by an error.",
        takes=Again,
        example={"prompt_id": "p-2"},
    ),
    Entry(
        "signal",
        "resolve",
        "Decide about a tool call that waits: approve or deny it, or give the result of one that others run.",
        takes=Resolution,
        example={"call_id": "call_1", "decision": "approve", "digest": GATED_DIGEST, "by": "eve"},
        gated=True,
    ),
    Entry(
        "signal",
        "take_over",
        "Let a person answer in the agent's place. Prompts then wait for that person, or for the hand-back.",
        takes=TakeOver,
        example={"by": "ada"},
    ),
    Entry(
        "signal",
        "say",
        "Say something as the person who has the thread: to a prompt that waits, or unasked.",
        takes=Say,
        example={"id": "s-1", "content": "Hello, this is Ada.", "by": "ada"},
        operated=True,
    ),
    Entry(
        "signal",
        "hand_back",
        "Let the agent answer again, also what waits.",
        takes=HandBack,
        example={"by": "ada"},
        operated=True,
    ),
    Entry(
        "signal",
        "roll",
        "Continue as new at the next step boundary, on the current version of the workers. Nothing else changes.",
    ),
    Entry(
        "update",
        "submit",
        "Say something to the thread and hear whether it is taken, not yet what is answered.",
        takes=Prompt,
        gives=Receipt,
        example={"id": "p-5", "content": "Where is my order?"},
        answer={"prompt_id": "p-5", "disposition": "started"},
        fails=PROMPT_REFUSALS,
        opens=True,
    ),
    Entry(
        "update",
        "ask",
        "Say something to the thread and hear what became of it. Where `status` is waiting or running, ask again with the "
        "same `id`: the thread continued as new, or four wait already.",
        takes=Prompt,
        gives=TurnReport,
        example={"id": "p-5", "content": "Where is my order?"},
        answer={
            "prompt_id": "p-5",
            "status": "answered",
            "turn": 3,
            "message_id": "0f0c4b0e-6f0c-5f0e-8a53-0b9c3d1f7a42",
            "text": "It left our house this morning.",
        },
        fails=PROMPT_REFUSALS,
        opens=True,
    ),
    Entry(
        "update",
        "interrupt",
        "Stop the turn that runs, or only the one that is named, and hear whether it was running.",
        takes=Interrupt,
        gives=InterruptReceipt,
        example={"prompt_id": "p-3"},
        answer={"disposition": "interrupting", "turn": 3, "prompt_id": "p-3"},
        fails=(errors.InputRefusedError,),
        busy=True,
    ),
    Entry(
        "update",
        "withdraw",
        "Take back a prompt that waits, and hear when the store has it.",
        takes=Withdraw,
        gives=ChangeReceipt,
        example={"prompt_id": "p-4"},
        answer={"prompt_id": "p-4", "disposition": "withdrawn"},
        fails=(errors.InputRefusedError, errors.UnknownPromptError),
        busy=True,
    ),
    Entry(
        "update",
        "edit",
        "Say something else with a prompt that waits, and hear when the store has it.",
        takes=Edit,
        gives=ChangeReceipt,
        example={"prompt_id": "p-4", "content": "Where is my other order?"},
        answer={"prompt_id": "p-4", "disposition": "edited"},
        fails=(errors.InputRefusedError, errors.UnknownPromptError, errors.InboxFullError),
        busy=True,
    ),
    Entry(
        "update",
        "regenerate",
        "Answer the prompt of an ended turn anew, and hear when that begins. `ask` with the same prompt waits for its end.",
        takes=Again,
        gives=Receipt,
        example={"prompt_id": "p-1"},
        answer={"prompt_id": "p-1", "disposition": "started"},
        fails=(errors.InputRefusedError, errors.UnknownPromptError, errors.InboxFullError),
    ),
    Entry(
        "update",
        "resume",
        "Go on with a turn where it ended, and hear when that begins.",
        takes=Again,
        gives=Receipt,
        example={"prompt_id": "p-2"},
        answer={"prompt_id": "p-2", "disposition": "started"},
        fails=(errors.InputRefusedError, errors.UnknownPromptError, errors.InboxFullError),
    ),
    Entry(
        "update",
        "resolve",
        "Decide about a tool call that waits, and hear whether that is taken. A second decision fails, but for the same `id`.",
        takes=Resolution,
        gives=ResolveReceipt,
        example={"call_id": "call_1", "decision": "deny", "by": "eve", "reason": "too much"},
        answer={"call_id": "call_1", "decision": "deny", "turn": 3},
        fails=(errors.InputRefusedError, errors.UnknownCallError, errors.ResolvedAlreadyError, errors.InboxFullError),
        gated=True,
    ),
    Entry(
        "update",
        "take_over",
        "Let a person answer in the agent's place, and hear when the store has it.",
        takes=TakeOver,
        gives=OperatorReceipt,
        example={"by": "ada"},
        answer={"operator": "ada", "disposition": "taken_over"},
        fails=(errors.InputRefusedError,),
    ),
    Entry(
        "update",
        "say",
        "Say something as the person who has the thread, and hear when the store has it.",
        takes=Say,
        gives=SayReceipt,
        example={"id": "s-1", "content": "Hello, this is Ada.", "by": "ada"},
        answer={"prompt_id": "s-1", "disposition": "said"},
        fails=(errors.InputRefusedError, errors.UnknownPromptError, errors.PromptConflictError, errors.InboxFullError),
        operated=True,
    ),
    Entry(
        "update",
        "hand_back",
        "Let the agent answer again, also what waits, and hear when the store has it.",
        takes=HandBack,
        gives=OperatorReceipt,
        example={"by": "ada"},
        answer={"disposition": "handed_back"},
        fails=(errors.InputRefusedError,),
        operated=True,
    ),
    Entry(
        "update",
        "forget",
        "Sent by an erasure: show turns no more, and continue as new. Their messages are not deleted by it.",
        takes=Forget,
        gives=ForgetReceipt,
        example={"prompt_ids": ["p-1"], "turns": [1]},
        answer={"open": ["p-3"]},
        fails=(errors.InputRefusedError,),
    ),
    Entry(
        "query",
        "turn",
        "What became of a prompt so far, or of a turn; without either, of the turn that runs, else of the last.",
        takes=TurnQuery,
        gives=TurnReport,
        example={"prompt_id": "p-1"},
        answer={
            "prompt_id": "p-1",
            "status": "answered",
            "turn": 1,
            "message_id": "e8b27f1c-4a7e-5d35-9a55-6f3b21c0d9aa",
            "text": "Hello Ada!",
        },
    ),
    Entry(
        "query",
        "status",
        "What the thread is doing now.",
        gives=ThreadStatus,
        answer={
            "thread": "support-42",
            "agent": "assistant",
            "epoch": 1,
            "next_turn": 2,
            "running": {"prompt_id": "p-1", "turn": 1, "step": 0, "agent": "assistant"},
            "waiting": 1,
            "waiting_ids": ["p-2"],
        },
    ),
)


def names(kind: Kind, takes: type[BaseModel] | None = None) -> list[str]:
    """Of one kind; of those only what takes this model, if one is given."""
    return [entry.name for entry in ENTRIES if entry.kind == kind and takes in (None, entry.takes)]
