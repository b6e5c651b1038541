"""An edited file of the catalog counts from the next prompt on, and a broken one changes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import catalog.agents
import catalog.tools
from catalog import live
from catalog.live import LiveCatalog
from domain.errors import SetupError, UnknownAgentError
from domain.tooling import Asker
from doubles.scripted_model import Reply, ToolCall
from tests.system import System

AGENT = """
from domain.agent import Agent
poet = Agent("poet", instructions={words!r})
"""
TOOL = """
from catalog.tool import tool

@tool(effect="read")
def recite() -> str:
    \"\"\"Recite.\"\"\"
    return {words!r}
"""
RECITER = """
from catalog.tools.verse import recite
from domain.agent import Agent
reciter = Agent("reciter", tools=(recite,))
"""


class Folder:
    """A user's catalog, beside the one that is there."""

    def __init__(self, folder: Path) -> None:
        self.agents, self.tools = folder / "agents", folder / "tools"
        for part in (self.agents, self.tools):
            part.mkdir()

    def agent(self, words: str, file: str = "poet.py") -> None:
        (self.agents / file).write_text(AGENT.format(words=words), encoding="utf-8")

    def tool(self, words: str) -> None:
        (self.tools / "verse.py").write_text(TOOL.format(words=words), encoding="utf-8")
        (self.agents / "reciter.py").write_text(RECITER, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """Looked at on every call; what the other tests have loaded is put back."""
    made = Folder(tmp_path)
    monkeypatch.setattr(live, "CHECK_EVERY_S", 0)
    before = live._forget()
    for name, module in before.items():
        live._restore(name, {name: module})
    packages = {catalog.agents: made.agents, catalog.tools: made.tools}
    for package, path in packages.items():
        package.__path__.append(str(path))
    yield made
    for package, path in packages.items():
        package.__path__.remove(str(path))
    live._forget()
    for name in before:
        live._restore(name, before)


async def words_of(found: LiveCatalog, name: str = "poet") -> object:
    return (await found.agent(name)).instructions


async def recited(found: LiveCatalog) -> object:
    [recite] = (await found.agent("reciter")).tools
    return recite.function()


async def test_an_edited_agent_counts_at_once(folder: Folder) -> None:
    folder.agent("Rhyme.")
    found = LiveCatalog("assistant")
    assert await words_of(found) == "Rhyme."
    folder.agent("Prose")  # the same second, the same length
    assert await words_of(found) == "Prose"
    assert (await found.agent("assistant")).name == "assistant"


async def test_an_edited_tool_reaches_the_agents_that_have_it(folder: Folder) -> None:
    folder.tool("roses")
    found = LiveCatalog("assistant")
    assert await recited(found) == "roses"
    folder.tool("daisy")
    assert await recited(found) == "daisy"


async def test_a_new_file_is_found_and_a_removed_one_forgotten(folder: Folder) -> None:
    found = LiveCatalog("assistant")
    with pytest.raises(UnknownAgentError):
        await found.agent("poet")
    folder.agent("Rhyme.")
    assert await words_of(found) == "Rhyme."
    assert "poet" in found.names()
    (folder.agents / "poet.py").unlink()
    assert "poet" not in found.names()


async def test_an_agent_whose_file_is_away_for_a_moment_is_waited_for(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some programs remove a file before they write it anew."""
    folder.agent("Rhyme.")
    found = LiveCatalog("assistant")
    (folder.agents / "poet.py").unlink()
    asked = asyncio.create_task(words_of(found))
    while "poet" in found.names():
        await asyncio.sleep(0)
    folder.agent("Prose.")
    assert await asked == "Prose."
    (folder.agents / "poet.py").unlink()
    monkeypatch.setattr(live, "VANISHED_S", 0.05)
    with pytest.raises(UnknownAgentError):
        await found.agent("poet")


@pytest.mark.parametrize(
    "text",
    ["def (", "import nothing_of_this_name", "raise SystemExit(3)", "\x00", "Agent('x')", "from os import \udcff"],
    ids=["syntax", "import", "exit", "nul", "name", "encoding"],
)
async def test_of_a_broken_file_the_last_good_version_stays_and_the_log_says_so_once(folder: Folder, text: str) -> None:
    folder.agent("Rhyme.")
    found = LiveCatalog("assistant")
    (folder.agents / "poet.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    folder.agent("Other.", "others.py")
    (folder.agents / "others.py").write_text(AGENT.format(words="x").replace('"poet"', '"other"'), encoding="utf-8")
    with capture_logs() as logs:
        assert await words_of(found) == "Rhyme."
        assert await words_of(found, "other") == "x", "the others are loaded all the same"
        (folder.agents / "others.py").touch()
        assert await words_of(found) == "Rhyme."
    [line] = [line for line in logs if line["event"] == "catalog.broken"]
    assert line["file"] == "catalog/agents/poet.py"
    with pytest.raises(UnknownAgentError, match=r"catalog/agents/poet\.py cannot be loaded: "):
        await found.agent("poeta")
    folder.agent("Mended.")
    assert await words_of(found) == "Mended."
    assert found.problems == {}


async def test_a_broken_tool_stays_as_it_was_in_the_agents_that_have_it(folder: Folder) -> None:
    folder.tool("roses")
    found = LiveCatalog("assistant")
    (folder.tools / "verse.py").write_text("def (", encoding="utf-8")
    folder.agent("Rhyme.")
    assert await recited(found) == "roses"
    assert await words_of(found) == "Rhyme."
    assert list(found.problems) == ["catalog/tools/verse.py"]
    folder.tool("daisy")
    assert await recited(found) == "daisy"


def _no_default(folder: Folder) -> None:
    (folder.agents / "poet.py").unlink()


def _two_of_a_name(folder: Folder) -> None:
    folder.agent("Rhyme too.", "twin.py")


@pytest.mark.parametrize("break_it", [_no_default, _two_of_a_name])
async def test_a_catalog_that_does_not_hold_together_leaves_all_as_it_was(
    folder: Folder, break_it: Callable[[Folder], None]
) -> None:
    folder.agent("Rhyme.")
    found = LiveCatalog("poet")
    break_it(folder)
    assert await words_of(found) == "Rhyme."
    assert list(found.problems) == ["catalog/agents"]


def test_a_file_that_is_broken_from_the_start_is_told_in_one_line(folder: Folder) -> None:
    (folder.agents / "poet.py").write_text("\n\ndef (", encoding="utf-8")
    with pytest.raises(SetupError, match=r"^catalog/agents/poet\.py cannot be loaded: SyntaxError: .*line 3\)$"):
        LiveCatalog("assistant")


async def test_it_can_be_switched_off(folder: Folder) -> None:
    folder.agent("Rhyme.")
    found = LiveCatalog("assistant", reload=False)
    folder.agent("Prose.")
    assert await words_of(found) == "Rhyme."


async def test_nothing_is_loaded_again_while_nothing_changes(folder: Folder) -> None:
    folder.agent("Rhyme.")
    found = LiveCatalog("assistant")
    module = sys.modules["catalog.agents.poet"]
    await words_of(found)
    assert sys.modules["catalog.agents.poet"] is module


async def test_an_edit_counts_from_the_next_prompt_on_without_a_restart(
    folder: Folder, system: System, thread: str
) -> None:
    """Also of a tool, in the midst of a turn; a broken edit changes nothing."""
    folder.tool("roses")
    system.catalog = LiveCatalog("reciter")  # type: ignore[assignment] # it is asked the same
    await system.stop_workers()
    await system.start_worker()
    system.model.script(Reply(tool_calls=[ToolCall(name="recite")]), Reply(after_tool=True, text="{tool}"))
    assert await system.ask(thread, "One.", agent="reciter") == "roses"
    folder.tool("daisy")
    assert await system.ask(thread, "Two.", agent="reciter") == "daisy"
    (folder.tools / "verse.py").write_text("def (", encoding="utf-8")
    assert await system.ask(thread, "Three.", agent="reciter") == "daisy"


async def test_an_agent_that_is_made_for_whoever_asks_is_found_too(folder: Folder) -> None:
    text = """
from domain.agent import Agent, AgentFactory

async def build(asker):
    return Agent("any", instructions=f"For {asker.owner}.")

made = AgentFactory("made", build, description="Made.")
"""
    (folder.agents / "made.py").write_text(text, encoding="utf-8")
    found = LiveCatalog("assistant")
    agent = await found.agent("made", Asker(owner="ada"))
    assert (agent.name, agent.instructions) == ("made", "For ada.")
