"""Calls of the chat adapter, as the tests make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from activities.ports import ChatModel
from adapters.openai_chat import OpenAIChat, Timeouts
from adapters.openai_errors import SettingNames
from domain.chat import ChatMessage
from domain.model import Completion, ModelRequest, TextDelta

KEY = "sk-test-0123456789abcdef"
HELLO = (ChatMessage("system", "Be kind."), ChatMessage("user", "Hello"))


@asynccontextmanager
async def chat_with(
    base_url: str, timeouts: Timeouts | None = None, *, api_key: str = KEY, names: SettingNames | None = None
) -> AsyncIterator[OpenAIChat]:
    chat = OpenAIChat(base_url=base_url, api_key=api_key, default_model="gpt-x", timeouts=timeouts, names=names)
    try:
        yield chat
    finally:
        await chat.close()


def asking(*messages: ChatMessage, **fields: Any) -> ModelRequest:
    return ModelRequest(None, messages or HELLO, **fields)


async def ask(chat: ChatModel, request: ModelRequest | None = None) -> tuple[list[str], Completion]:
    """The deltas and the completion, which must come last and once."""
    deltas: list[str] = []
    completions: list[Completion] = []
    async with aclosing(chat.stream(request or asking())) as pieces:
        async for piece in pieces:
            assert not completions
            if isinstance(piece, Completion):
                completions.append(piece)
            elif isinstance(piece, TextDelta):
                deltas.append(piece.text)
    assert "".join(deltas) == completions[0].text
    return deltas, completions[0]
