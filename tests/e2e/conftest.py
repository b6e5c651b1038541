"""The scripted model in this process, which outlives whatever is killed; and one system that read-only tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doubles.scripted_model import ScriptedModel
from tests.e2e.driver import Everthread


@pytest.fixture(scope="session")
async def the_model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel().serve() as model:
        yield model


@pytest.fixture
def model(the_model: ScriptedModel) -> ScriptedModel:
    """Echoes until it is scripted."""
    the_model.script()
    return the_model


@pytest.fixture(scope="session")
async def shared(the_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Everthread]:
    everthread = Everthread(tmp_path_factory.mktemp("shared"), the_model.base_url)
    yield everthread
    if everthread.running:
        await everthread.kill9_tree()


@pytest.fixture
async def running(model: ScriptedModel, shared: Everthread) -> Everthread:
    """A system that runs, whatever the test before did to it; each test talks on threads of its own."""
    if not shared.running:
        await shared.start()
    return shared


@pytest.fixture
async def fresh(model: ScriptedModel, tmp_path: Path) -> AsyncIterator[Everthread]:
    """A system of the test's own that has not been started."""
    everthread = Everthread(tmp_path, model.base_url)
    yield everthread
    if everthread.running:
        await everthread.kill9_tree()
