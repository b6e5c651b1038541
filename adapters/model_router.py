"""Several endpoints behind one port: a model named `provider/model` is asked of that provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

from adapters.openai_chat import OpenAIChat
from domain.model import Completion, ModelRequest, Piece


class ModelRouter:
    """activities.ports.ChatModel. The provider is what stands before the first `/` of a model's name.

    A name whose beginning is no provider of ours goes to the default endpoint as it is: gateways have such names.
    """

    def __init__(
        self, default: OpenAIChat, providers: Mapping[str, OpenAIChat] | None = None, default_model: str | None = None
    ) -> None:
        """`default_model` is for requests that name none; if it names no provider of ours, the default endpoint has its own."""
        self._default = default
        self._providers = dict(providers or {})
        self._default_model = default_model

    async def close(self) -> None:
        for chat in {self._default, *self._providers.values()}:
            await chat.close()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Completion, None]:
        """As the endpoint streams it; the completion names the provider too."""
        prefix, _, name = (request.model or self._default_model or "").partition("/")
        chat = self._providers.get(prefix) if name else None
        call = self._default.stream(request) if chat is None else chat.stream(replace(request, model=name))
        async with aclosing(call) as pieces:
            async for piece in pieces:
                if chat is not None and isinstance(piece, Completion):
                    yield replace(piece, model=f"{prefix}/{piece.model}")
                else:
                    yield piece
