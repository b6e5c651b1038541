"""The model adapter in front of the scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.openai_chat import OpenAIChat
from doubles.scripted_model import ScriptedModel
from tests.adapters.chatting import KEY, chat_with


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(api_key=KEY).serve() as model:
        yield model


@pytest.fixture
async def chat(model: ScriptedModel) -> AsyncIterator[OpenAIChat]:
    async with chat_with(model.base_url) as chat:
        yield chat
