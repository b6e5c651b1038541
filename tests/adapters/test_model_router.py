"""Which endpoint a model's name leads to, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from adapters.model_router import ModelRouter
from adapters.openai_chat import OpenAIChat
from adapters.openai_errors import SettingNames
from domain.errors import ModelRefusedError, SetupError
from domain.model import ModelRequest
from doubles.scripted_model import Reply, ScriptedModel
from tests.adapters.chatting import HELLO, KEY, ask, chat_with

NAMES = SettingNames(url="groq of EVERTHREAD_PROVIDERS", key="groq of EVERTHREAD_PROVIDERS", model="the model's name")


@dataclass
class Endpoints:
    """Two servers, and the router before them: the second one is the provider `groq`."""

    default: ScriptedModel
    groq: ScriptedModel
    chats: tuple[OpenAIChat, OpenAIChat]

    def router(self, default_model: str | None = None) -> ModelRouter:
        return ModelRouter(self.chats[0], {"groq": self.chats[1]}, default_model)

    async def ask(self, model: str | None, default_model: str | None = None) -> str:
        """The model that the completion names."""
        _, completion = await ask(self.router(default_model), ModelRequest(model, HELLO))
        return completion.model

    def asked(self) -> tuple[list[str], list[str]]:
        """The models that each was asked for."""
        default, groq = ([r.body["model"] for r in server.requests] for server in (self.default, self.groq))
        return default, groq


@pytest.fixture
async def endpoints() -> AsyncIterator[Endpoints]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ScriptedModel(api_key=KEY).serve()) for _ in range(2)]
        chats = [await stack.enter_async_context(chat_with(server.base_url)) for server in servers]
        yield Endpoints(servers[0], servers[1], (chats[0], chats[1]))


@pytest.mark.parametrize(("model", "name"), [("groq/llama", "llama"), ("groq/meta/llama", "meta/llama")])
async def test_a_provider_is_asked_for_what_stands_behind_the_first_slash(
    endpoints: Endpoints, model: str, name: str
) -> None:
    assert await endpoints.ask(model) == model
    assert endpoints.asked() == ([], [name])


@pytest.mark.parametrize("model", ["gpt-x", "meta/llama", "groq", "groq/", "/llama"])
async def test_a_name_whose_beginning_is_no_provider_goes_to_the_default_as_it_is(
    endpoints: Endpoints, model: str
) -> None:
    assert await endpoints.ask(model) == model
    assert endpoints.asked() == ([model], [])


async def test_a_request_that_names_no_model_has_the_defaults(endpoints: Endpoints) -> None:
    assert await endpoints.ask(None) == "gpt-x"
    assert await endpoints.ask(None, default_model="meta/llama") == "gpt-x"
    assert await endpoints.ask(None, default_model="groq/llama") == "groq/llama"
    assert endpoints.asked() == (["gpt-x", "gpt-x"], ["llama"])


async def test_the_errors_of_a_provider_name_its_own_setting(endpoints: Endpoints) -> None:
    endpoints.groq.script(Reply(status=401))
    async with chat_with(endpoints.groq.base_url, names=NAMES) as chat:
        with pytest.raises(ModelRefusedError, match=r"Check groq of EVERTHREAD_PROVIDERS\.") as caught:
            await ask(ModelRouter(chat, {"groq": chat}), ModelRequest("groq/llama", HELLO))
    assert KEY not in str(caught.value)
    assert "OPENAI" not in str(caught.value)


def test_a_provider_that_cannot_be_used_as_it_is_written_is_named() -> None:
    with pytest.raises(SetupError, match="groq of EVERTHREAD_PROVIDERS is not an address"):
        OpenAIChat(base_url="groq.com", api_key="", default_model="", names=NAMES)
