"""The context of a model call: which messages the model sees, and in what order. One pure function."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, cast

from domain.content import Part
from domain.messages import Message, ToolCall

TOKENS_PER_MESSAGE = 8
TOKENS_PER_IMAGE = 2_500  # on the safe side: what gpt-5-mini takes for the largest
# On the safe side: a small model takes a token for 1.6 bytes of Chinese, 2.2 of Russian, and each digit or mark of JSON.
LETTERS_PER_TOKEN, OTHER_BYTES_PER_TOKEN = 3.0, 1.5
_LETTERS = (string.ascii_letters + " ").encode()
_BEYOND_ASCII = bytes(range(128, 256))


UNSEEN_IMAGE = "[an image, which you cannot see]"

ChatRole = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ChatMessage:
    """A message as a chat model takes it, in no provider's dialect.

    `parts` are those of a user's message with images, whose texts together are `text`. `raw` is the provider's object of
    an answer of the running turn that called tools: some want back what they thought.
    """

    role: ChatRole
    text: str
    tool_calls: Sequence[ToolCall] = ()
    call_id: str | None = None
    name: str | None = None
    parts: Sequence[Part] = ()
    raw: dict[str, Any] | None = None


def build_context(
    instructions: str | Sequence[str],
    history: Sequence[Message],
    running: Sequence[Message],
    budget_tokens: int,
    *,
    thoughts: bool = True,
) -> list[ChatMessage]:
    """The instructions, as many whole recent turns as the budget holds, then the running turn, oldest first.

    A turn that failed is left out, so that one bad turn cannot poison the thread; so is one that was replaced, and of one
    that was made anew all but the last try. One that was interrupted shows what was said until then. The running turn is
    always there, whatever it costs; with `thoughts`, what the model thought in it goes back to the provider.
    """
    system = system_messages(instructions)
    current = [_with_raw(chat, row) if thoughts else chat for chat, row in _spoken_rows(running)]
    left = budget_tokens - sum(map(estimate_tokens, [*system, *current]))
    recent: list[ChatMessage] = []
    for turn in reversed(list(_whole_turns(history))):
        chats = close_calls(_spoken(turn))
        left -= sum(map(estimate_tokens, chats))
        if left < 0:
            break
        recent = chats + recent
    return system + recent + close_calls(current)


def without_images(history: Sequence[Message]) -> list[Message]:
    """The same for a model that cannot see: each image is told of in words."""
    return [_in_words(row) if _has_image(row) else row for row in history]


def system_messages(instructions: str | Sequence[str]) -> list[ChatMessage]:
    """One for each text that is not blank."""
    texts = [instructions] if isinstance(instructions, str) else instructions
    return [ChatMessage("system", text) for text in texts if text.strip()]


def estimate_tokens(message: ChatMessage) -> int:
    calls = "".join(call.name + call.arguments for call in message.tool_calls)
    images = sum(part.type == "image" for part in message.parts)
    return text_tokens(message.text + calls) + images * TOKENS_PER_IMAGE + TOKENS_PER_MESSAGE


def text_tokens(text: str) -> int:
    raw = text.encode("utf-8", "replace")
    letters, others = len(raw) - len(raw.translate(None, _LETTERS)), len(raw) - len(raw.translate(None, _BEYOND_ASCII))
    marks = len(raw) - letters - others
    return int(letters / LETTERS_PER_TOKEN + marks + others / OTHER_BYTES_PER_TOKEN)


def close_calls(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The same messages, each call followed by its result; a call without one gets a result that says so."""
    results = {m.call_id: m for m in messages if m.role == "tool"}
    closed: list[ChatMessage] = []
    for message in messages:
        if message.role == "tool":
            continue
        closed.append(message)
        for call in message.tool_calls:
            missing = ChatMessage("tool", "This call has no result.", call_id=call.call_id, name=call.name)
            closed.append(results.get(call.call_id, missing))
    return closed


def _spoken(rows: Sequence[Message]) -> list[ChatMessage]:
    """Without answers that say nothing: of a turn that was stopped or failed before the model's first word."""
    return [chat for chat, _ in _spoken_rows(rows)]


def _spoken_rows(rows: Sequence[Message]) -> list[tuple[ChatMessage, Message]]:
    chats = ((_chat(row), row) for row in rows)
    return [(chat, row) for chat, row in chats if chat.role != "assistant" or chat.text or chat.tool_calls]


def _with_raw(chat: ChatMessage, row: Message) -> ChatMessage:
    return replace(chat, raw=row.raw) if chat.tool_calls and row.raw else chat


def _whole_turns(history: Sequence[Message]) -> Iterable[list[Message]]:
    for _, rows in groupby(sorted(history, key=lambda m: m.seq), key=lambda m: m.turn):
        prompt, *others = rows
        if prompt.role == "assistant" and prompt.author is not None:  # what a person said unasked
            yield [prompt]
        elif prompt.role == "user" and prompt.status in ("answered", "interrupted") and prompt.replaced_by is None:
            # What a user said belongs to every try at its turn.
            yield [prompt, *(row for row in others if row.role == "user" or row.branch == prompt.branch)]


def _chat(message: Message) -> ChatMessage:
    role = cast(ChatRole, message.role if message.role in {"assistant", "tool"} else "user")
    parts = _parts(message) if role == "user" else []
    return ChatMessage(role, message.text, tuple(message.tool_calls), message.call_id, message.name, tuple(parts))


def _in_words(row: Message) -> Message:
    return row.model_copy(update={"parts": None, "text": f"{row.text}\n{UNSEEN_IMAGE}".strip()})


def _has_image(row: Message) -> bool:
    return any(part.get("type") == "image" for part in row.parts or [])


def _parts(message: Message) -> list[Part]:
    """The parts that the model is shown; none if a text says it all. A newer release may have stored other kinds."""
    if not _has_image(message):
        return []
    stored = [part for part in message.parts or [] if part.get("type") != "text" or part.get("text")]
    known = (part for part in stored if part.get("type") in ("text", "image"))
    return [Part(type=part["type"], text=part.get("text", ""), url=part.get("url", "")) for part in known]
