"""What is taken of a tool server's list, and under which names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from domain.agent import Agent
from domain.mcp import MAX_DESCRIPTION_CHARS, MAX_TOOLS, McpServer, ServerTool, listed

SERVER = McpServer("box", command=["box"])


def names(server: McpServer, *tools: str, taken: tuple[str, ...] = ()) -> list[str]:
    return [tool.name for tool in listed(server, [ServerTool(name) for name in tools], taken)]


def test_a_tool_is_named_after_its_server() -> None:
    assert names(SERVER, "open", "shut") == ["box_open", "box_shut"]


def test_only_what_the_patterns_name_is_offered() -> None:
    server = McpServer("box", command=["box"], tools=["get_*", "list"])
    assert names(server, "get_one", "set_one", "list", "list_all") == ["box_get_one", "box_list"]


def test_every_name_has_a_shape_that_providers_take_and_is_there_once() -> None:
    odd = ["a.b", "a/b", "a b", "\ud83d", "x" * 300, "x" * 301, "", "naïve"]
    given = names(SERVER, *odd, "open", taken=("box_open",))
    assert len(given) == len(set(given)) == len(odd) + 1
    assert "box_open" not in given
    for name in given:
        Agent("a", tools=())  # the rule of tools is the agent's:
        assert len(name) <= 64
        assert all(c.isascii() and (c.isalnum() or c in "_-") for c in name), name


def test_a_tool_keeps_its_name_from_turn_to_turn() -> None:
    assert names(SERVER, "a.b", "open") == [*names(SERVER, "a.b"), "box_open"]


def test_a_tool_that_is_listed_twice_is_offered_once() -> None:
    assert names(SERVER, "open", "open") == ["box_open"]


def test_no_more_tools_are_offered_than_a_provider_takes() -> None:
    assert len(names(SERVER, *(f"t{i}" for i in range(1_000)))) == MAX_TOOLS


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": []},
        {"description": "x" * 100_000},
        {"default": float("nan")},
        deep(5_000),
    ],
    ids=["array", "no properties", "huge", "NaN", "deep"],
)
def test_a_tool_whose_arguments_cannot_be_told_to_a_model_is_left_out(schema: dict[str, Any]) -> None:
    assert listed(SERVER, [ServerTool("bad", "", schema), ServerTool("good")], ()) == listed(
        SERVER, [ServerTool("good")], ()
    )


def test_descriptions_are_cut_and_mended() -> None:
    [tool] = listed(SERVER, [ServerTool("open", "\ud83d" + "x" * 100_000, {"properties": {"\udc00": {}}})], ())
    assert len(tool.description) == MAX_DESCRIPTION_CHARS
    assert (tool.description + str(tool.parameters)).encode()
    assert tool.parameters["type"] == "object"


def test_effects_go_by_pattern_and_a_tool_that_none_names_is_taken_to_write() -> None:
    server = McpServer("box", command=["box"], effects={"get_*": "read", "*": "idempotent"})
    found = listed(server, [ServerTool("get_one"), ServerTool("set_one")], ())
    assert [tool.effect for tool in found] == ["read", "idempotent"]
    hinted = ServerTool("get_one", hint="read")
    assert [tool.effect for tool in listed(SERVER, [hinted], ())] == ["write"]
    trusted = McpServer("box", command=["box"], trust_hints=True, effects={"set_*": "write"})
    found = listed(trusted, [hinted, ServerTool("set_one", hint="read"), ServerTool("other")], ())
    assert [tool.effect for tool in found] == ["read", "write", "write"]


def test_what_needs_approval_goes_by_pattern() -> None:
    server = McpServer("box", command=["box"], approve=["set_*"])
    assert [tool.approve for tool in listed(server, [ServerTool("get_one"), ServerTool("set_one")], ())] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a b", "command": ["x"]}, "a name is 1 to 32 letters"),
        ({"name": "a"}, "give either a command, as a list, or a url"),
        ({"name": "a", "command": ["x"], "url": "http://x"}, "give either a command, as a list, or a url"),
        ({"name": "a", "command": "npx server"}, "command is a list"),
        ({"name": "a", "url": "ftp://x"}, "url must begin with http:// or https://, not 'ftp://x'"),
        ({"name": "a", "command": ["x"], "headers": {"A": "b"}}, "headers go with a url"),
        ({"name": "a", "url": "http://x", "env": {"A": "b"}}, "env and cwd go with a command"),
        ({"name": "a", "command": ["x"], "tools": "get_*"}, "tools is a list of patterns, such as ['get_*']"),
        (
            {"name": "a", "command": ["x"], "effects": {"*": "safe"}},
            "effects['*'] must be one of read, idempotent, write",
        ),
        ({"name": "a", "command": ["x"], "timeout_s": 0}, "timeout_s must be above 0"),
        ({"name": "a", "command": ["x"], "connect_timeout_s": 1_000}, "connect_timeout_s must be above 0"),
    ],
)
def test_a_server_that_cannot_be_meant_is_refused_in_words(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="MCP server") as caught:
        McpServer(**fields)
    assert words in str(caught.value)


def test_two_servers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two MCP servers have the same name"):
        Agent("a", mcp=(SERVER, McpServer("box", url="http://x")))


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(ValueError, match="mcp is a list of McpServer"):
        Agent("a", mcp=({"url": "http://x"},))  # type: ignore[arg-type]


def test_secrets_are_not_shown() -> None:
    server = McpServer(
        "box", url="http://x", headers={"Authorization": "Bearer tell-nobody", "B": SecretStr("nor-this")}
    )
    assert "tell-nobody" not in repr(server) + server.connection
    assert "nor-this" not in repr(server) + server.connection


def test_a_connection_is_shared_by_all_who_mean_the_same() -> None:
    assert SERVER.connection == McpServer("box", command=("box",), tools=["a"], timeout_s=5).connection
    others = [
        McpServer("box", command=["box", "-v"]),
        McpServer("box", command=["box"], env={"KEY": SecretStr("1")}),
        McpServer("box", command=["box"], env={"KEY": SecretStr("2")}),
        McpServer("box", command=["box"], cwd="/"),
        McpServer("box", url="http://box"),
    ]
    assert len({SERVER.connection, *(server.connection for server in others)}) == len(others) + 1
