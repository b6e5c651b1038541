"""A person in an agent's place: has the thread, says something on it, and hands it back.

While an operator has the thread no turn begins: prompts are taken and wait, for the operator or for what comes after.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from domain import ids
from domain.content import valid_unicode
from domain.errors import InboxFullError, InputRefusedError, PromptConflictError, UnknownPromptError
from domain.messages import preview
from domain.prompts import Name, PromptId, read_as
from domain.state import Said, Shown, Waiting
from domain.thread import SHOWN_CHARS, SHOWN_TURNS, ThreadState
from domain.wire import Wire
from domain.wishes import TurnReport

MAX_SAID_BYTES = 32_000
MAX_UNSAID_BYTES = 64_000  # of what is not in the store yet


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; say something")
    if (size := len(text.encode())) > MAX_SAID_BYTES:
        raise ValueError(f"has {size} bytes, more than {MAX_SAID_BYTES}; say it in parts")
    return text


class TakeOver(Wire):
    """Let a person answer in the agent's place. The turn that runs goes on to its end, unless it is to be stopped.

    `force` takes the thread from whoever else has it.
    """

    model_config = ConfigDict(extra="forbid")

    by: Name
    interrupt: bool = False
    force: bool = False


class HandBack(Wire):
    """Let the agent answer again, also what waits."""

    model_config = ConfigDict(extra="forbid")

    by: Name


class Say(Wire):
    """What the person who has the thread says: to the prompt that is named, else to the first that waits, else by itself.

    `id` makes it idempotent.
    """

    model_config = ConfigDict(extra="forbid")

    id: PromptId | None = None
    content: Annotated[str, BeforeValidator(valid_unicode), AfterValidator(_said), Field(min_length=1)]
    by: Name
    prompt_id: PromptId | None = None


class OperatorReceipt(Wire):
    """Who has the thread now, None if it is the agent's, and whether that is new."""

    operator: str | None = None
    disposition: Literal["taken_over", "handed_back", "unchanged"]


class SayReceipt(Wire):
    """`said` once the store has it; `accepted` if that is yet to come; `duplicate` of what was said before.

    `prompt_id` is the prompt that it is said to, else its own id.
    """

    prompt_id: str
    disposition: Literal["said", "accepted", "duplicate"]


def read_take_over(value: Any) -> TakeOver:
    """Raises: InputRefusedError."""
    return read_as(TakeOver, value, "a take-over", '{"by": "ada"}')


def read_hand_back(value: Any) -> HandBack:
    """Raises: InputRefusedError."""
    return read_as(HandBack, value, "a hand-back", '{"by": "ada"}')


def read_say(value: Any) -> Say:
    """Raises: InputRefusedError."""
    return read_as(Say, value, "a message", '{"content": "Hello, this is Ada.", "by": "ada"}')


# --- how they change the thread


def take_over(state: ThreadState, wanted: TakeOver) -> OperatorReceipt:
    """Raises: InputRefusedError if somebody else has it."""
    if state.operator == wanted.by:
        return OperatorReceipt(operator=state.operator, disposition="unchanged")
    if state.operator and not wanted.force:
        raise InputRefusedError(
            f"{_name(state.operator)} has the thread; wait for the hand-back, or take it with force"
        )
    state.operator = wanted.by
    return OperatorReceipt(operator=wanted.by, disposition="taken_over")


def hand_back(state: ThreadState, wanted: HandBack) -> OperatorReceipt:
    """Raises: InputRefusedError if somebody else has it."""
    if not state.operator:
        return OperatorReceipt(disposition="unchanged")
    _check_operator(state, wanted.by)
    state.operator = ""
    return OperatorReceipt(disposition="handed_back")


def say(state: ThreadState, wanted: Say, given_id: str) -> Said | None:
    """Take what is said; None if it was taken before.

    Raises: InputRefusedError if the thread is not the speaker's; UnknownPromptError if the prompt does not wait;
    InboxFullError; PromptConflictError.
    """
    said_id, digest = wanted.id or given_id, ids.content_digest("said", wanted.content)
    known = state.recent.get(said_id)
    if known == digest:
        return None
    if known is not None:
        raise PromptConflictError(f"id {said_id} was used before for another text; send it under a new id")
    _check_operator(state, wanted.by)
    if sum(len(said.content.encode()) for said in state.said) > MAX_UNSAID_BYTES:
        raise InboxFullError("too much of what was said is not in the store yet; say this again in a second")
    said = Said(id=said_id, content=wanted.content, by=wanted.by, prompt_id=_addressed(state, wanted.prompt_id))
    state.remember(said_id, digest)
    state.said.append(said)
    return said


def addressed(state: ThreadState, said: Said) -> Waiting | None:
    """The prompt that it is said to, while it waits."""
    return next((waiting for waiting in state.inbox if waiting.id == said.prompt_id), None)


def was_said(state: ThreadState, said: Said, waiting: Waiting | None, turn: int, message_id: str) -> None:
    """The store has it, as the answer of a turn."""
    state.said.remove(said)
    state.next_turn = max(state.next_turn, turn + 1)
    text = preview(said.content, SHOWN_CHARS)
    asked = waiting.preview if waiting else f"({said.by})"
    state.shown = [*state.shown, Shown(turn=turn, prompt=asked, answer=text, status="answered")][-SHOWN_TURNS:]
    if waiting is None:
        return
    state.inbox = [other for other in state.inbox if other.id != waiting.id]
    report = TurnReport(prompt_id=waiting.id, status="answered", turn=turn, message_id=message_id)
    state.note_end(report.model_copy(update={"text": preview(said.content)}))
    if waiting.replies:
        state.deliveries.append(waiting.id)


def _addressed(state: ThreadState, prompt_id: str | None) -> str | None:
    taken = {said.prompt_id for said in state.said}
    if prompt_id is None:
        return next((waiting.id for waiting in state.inbox if waiting.id not in taken), None)
    if prompt_id in taken or all(waiting.id != prompt_id for waiting in state.inbox):
        status = "about to be answered" if prompt_id in taken else state.report(prompt_id).status
        raise UnknownPromptError(f"prompt {prompt_id} does not wait for an answer: it is {status}")
    return prompt_id


def _check_operator(state: ThreadState, by: str) -> None:
    if not state.operator:
        raise InputRefusedError(f"the thread is the agent's; {_name(by)} has to take it over first")
    if state.operator != by:
        raise InputRefusedError(f"{_name(state.operator)} has the thread, not {_name(by)}")


def _name(who: str) -> str:
    return preview(ascii(who), 60)
