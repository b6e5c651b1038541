"""What is built from settings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from domain.errors import SetupError
from domain.model import ModelRequest
from doubles.scripted_model import ScriptedModel
from runtime.model_choice import ModelChoice
from runtime.settings import Settings
from runtime.wiring import open_catalog, open_model, open_servers
from tests.adapters.chatting import HELLO, KEY, ask
from tests.adapters.test_mcp_servers import odd, until_dead


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(api_key=KEY).serve() as server:
        yield server


def settings(server: ScriptedModel, **fields: Any) -> Settings:
    providers = {"mine": {"base_url": server.base_url, "api_key": KEY}}
    return Settings.model_validate({"openai_api_key": KEY, "providers": providers, "model": None} | fields)


async def asked(server: ScriptedModel, kind: Any, *models: str | None, **fields: Any) -> list[tuple[str, str]]:
    """For each request the model that the endpoint was asked for, and what the completion calls it."""
    model, _ = await open_model(settings(server, **fields), ModelChoice(kind, server.base_url, KEY, "gpt-x", 8_000))
    names = [(await ask(model, ModelRequest(name, HELLO)))[1].model for name in models]
    await model.close()
    bodies = [request.body for request in server.requests if "messages" in request.body]
    return list(zip([body["model"] for body in bodies], names, strict=True))


async def test_openai_is_a_provider_by_its_key_alone(server: ScriptedModel) -> None:
    assert await asked(server, "openai", "openai/gpt-y", "mine/m", None) == [
        *[("gpt-y", "openai/gpt-y"), ("m", "mine/m"), ("gpt-x", "gpt-x")],
    ]


async def test_behind_a_server_of_ones_own_openai_is_no_provider(server: ScriptedModel) -> None:
    """It may be a gateway that has such names."""
    assert await asked(server, "compatible", "openai/gpt-y") == [("openai/gpt-y", "openai/gpt-y")]


async def test_the_model_of_the_settings_may_be_a_providers(server: ScriptedModel) -> None:
    assert await asked(server, "provider", None, model="mine/m") == [("m", "mine/m")]


async def test_the_demo_has_no_providers(server: ScriptedModel) -> None:
    assert await asked(server, "demo", "mine/m") == [("mine/m", "mine/m")]


async def test_a_provider_that_cannot_be_used_is_told_at_the_start(server: ScriptedModel) -> None:
    with pytest.raises(SetupError, match="mine of EVERTHREAD_PROVIDERS is not an address"):
        await asked(server, "openai", providers={"mine": {"base_url": "mine"}})


def test_a_tool_that_writes_for_longer_than_a_worker_waits_at_its_end_is_named() -> None:
    """Else a deploy cuts it off, and its outcome is unknown."""
    with capture_logs() as logs:
        open_catalog(Settings.model_validate({"grace_s": 10.0}))
    assert {line["tool"] for line in logs if line["event"] == "tool.outlives_grace"} == {"fileTicket", "sendEmail"}
    with capture_logs() as logs:
        open_catalog(Settings())
    assert not [line for line in logs if line["event"] == "tool.outlives_grace"]


async def test_servers_get_their_secrets_from_the_environment_and_end_with_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "tell nobody")
    server = odd(env={"TOKEN": "env:A_TOKEN"})
    async with open_servers(Settings(data_dir=tmp_path)) as servers:
        seen = json.loads((await servers.call(server, "environment", {})).text)
        pid = int((await servers.call(server, "pid", {})).text)
    assert seen["TOKEN"] == "tell nobody"
    assert (tmp_path / "logs" / "mcp-odd.log").exists()
    await until_dead(pid, 1.0)
