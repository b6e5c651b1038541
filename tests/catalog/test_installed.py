"""Tools of installed packages are found by name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from catalog import installed
from domain.agent import Agent

MODULE = """
from catalog.tool import tool

@tool(effect="read")
def acme_search(text: str) -> str:
    \"\"\"Search.\"\"\"
    return f"found {text}"

@tool(effect="read")
def acme_list() -> str:
    \"\"\"List.\"\"\"
    return "all"

both = [acme_search, acme_list]
nothing = "no tool"
"""

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a package as an installer leaves it, and returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def make(what: str, text: str = MODULE) -> str:
        name = f"acme{uuid4().hex[:8]}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[everthread.tools]\nany = {name}:{what}\n", encoding="utf-8")
        return name

    yield make
    for name in names:
        sys.modules.pop(name, None)


def test_an_installed_tool_is_found_by_its_name(install: Install) -> None:
    install("both")
    agent = Agent("a", tools=(installed.tool("acme_search"), installed.tool("acme_list")))
    assert [
        made.function(**made.parse('{"text": "x"}' if made.parameters["properties"] else "")) for made in agent.tools
    ] == [
        "found x",
        "all",
    ]


def test_a_tool_that_is_not_installed_is_told_with_the_choice(install: Install) -> None:
    install("acme_list")
    with pytest.raises(LookupError, match="no installed package has a tool 'x'; the tools are: acme_list"):
        installed.tool("x")


def test_a_tool_that_two_packages_have_is_told_with_both(install: Install) -> None:
    first, second = install("acme_list"), install("acme_list")
    with pytest.raises(LookupError, match="several packages have a tool 'acme_list': ") as caught:
        installed.tool("acme_list")
    assert set(re.findall(r"acme[0-9a-f]{8}", str(caught.value))) == {first, second}


@pytest.mark.parametrize(
    ("what", "text", "words"),
    [
        ("nothing", MODULE, r"is a str, not a Tool or a list of them"),
        ("both", "import nothing_of_this_name", "ModuleNotFoundError"),
        ("missing", MODULE, "AttributeError"),
    ],
)
def test_a_broken_package_is_told_and_harms_no_other(install: Install, what: str, text: str, words: str) -> None:
    install("acme_list")
    broken = install(what, text)
    assert installed.tool("acme_list").name == "acme_list"
    with pytest.raises(LookupError, match=f"{broken} cannot be loaded: .*{words}"):
        installed.tool("acme_search")


def test_a_name_in_the_place_of_a_tool_is_told_with_the_remedy() -> None:
    tools: tuple[object, ...] = ("acme_search",)
    with pytest.raises(
        ValueError, match=r"agent 'a': tools are made by @tool\(\), or found by catalog\.installed\.tool"
    ):
        Agent("a", tools=tools)  # type: ignore[arg-type]
