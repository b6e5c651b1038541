"""Messages as a chat model takes them, in no provider's dialect, and what makes a list of them valid for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from domain.content import Part
from domain.messages import Message, ToolCall

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


def chat_of(row: Message) -> ChatMessage:
    role = cast(ChatRole, row.role if row.role in {"assistant", "tool"} else "user")
    parts = _parts(row) if role == "user" else []
    return ChatMessage(role, row.text, tuple(row.tool_calls), row.call_id, row.name, tuple(parts))


def says_something(chat: ChatMessage) -> bool:
    """Not so an answer of a turn that was stopped or failed before the model's first word."""
    return chat.role != "assistant" or bool(chat.text.strip() or chat.tool_calls)


def with_text(chat: ChatMessage, text: str) -> ChatMessage:
    """The same with another text, and its images."""
    if not chat.parts:
        return replace(chat, text=text)
    images = [part for part in chat.parts if part.type != "text"]
    return replace(chat, text=text, parts=(Part(type="text", text=text), *images))


def system_messages(instructions: str | Sequence[str]) -> list[ChatMessage]:
    """One for each text that is not blank."""
    texts = [instructions] if isinstance(instructions, str) else instructions
    return [ChatMessage("system", text) for text in texts if text.strip()]


def close_calls(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """The same messages, each call followed by its result; a call without one gets a result that says so.

    What the model thought before calls that are not there any more is left out: providers refuse the one without the other.
    """
    messages = list(messages)
    results = {m.call_id: m for m in messages if m.role == "tool"}
    closed: list[ChatMessage] = []
    for message in messages:
        if message.role == "tool":
            continue
        closed.append(replace(message, raw=None) if message.raw and not message.tool_calls else message)
        for call in message.tool_calls:
            missing = ChatMessage("tool", "This call has no result.", call_id=call.call_id, name=call.name)
            closed.append(results.get(call.call_id, missing))
    return closed


def without_images(history: Sequence[Message]) -> list[Message]:
    """The same for a model that cannot see: each image is told of in words."""
    return [_in_words(row) if _has_image(row) else row for row in history]


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
