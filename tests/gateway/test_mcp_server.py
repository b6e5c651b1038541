"""Our agents as tools of other programs: the official client at /mcp of a gateway over a real system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp import Client

from client.reading import ThreadReader
from doubles.scripted_model import Reply, ToolCall
from gateway.mcp_door import McpDoor
from tests import gateways
from tests.system import System
from tests.workflows.test_approvals import REFUND, resolve


@asynccontextmanager
async def gateway(system: System) -> AsyncIterator[str]:
    """The address of a gateway's /mcp."""
    reader = ThreadReader(system.store, system.events)
    door = McpDoor(system.threads, reader, system.catalog, owner="local", version="test")
    try:
        async with gateways.gateway(system, [door.route]) as port:
            yield f"http://127.0.0.1:{port}/mcp"
    finally:
        await door.close()


@pytest.fixture
async def url(system: System) -> AsyncIterator[str]:
    async with gateway(system) as url:
        yield url


async def given(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_other_programs_find_the_agents_ask_one_and_read_its_thread(system: System, url: str, mode: str) -> None:
    """Of the newest protocol, and of the one before it."""
    async with Client(url, mode=mode) as client:
        await look_round(system, client)


async def look_round(system: System, client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"list_agents", "ask_agent", "read_thread"}
    assert tools["ask_agent"].input_schema["required"] == ["prompt"]
    agents = await given(client, "list_agents")
    assert (agents["default"], {agent["name"] for agent in agents["agents"]}) == (
        "assistant",
        set(system.catalog.names()),
    )

    first = await given(client, "ask_agent", prompt="Hello", agent="poet")
    assert (first["status"], first["text"]) == ("answered", "You said: Hello")
    second = await given(client, "ask_agent", prompt="And now?", thread=first["thread"])
    assert [message["content"] for message in system.asked()][1:] == ["Hello", "You said: Hello", "And now?"]

    page = await given(client, "read_thread", thread=first["thread"], limit=3)
    assert [(m["role"], m["text"], m["who"]) for m in page["messages"]] == [
        ("assistant", "You said: Hello", "poet"),
        ("user", "And now?", None),
        ("assistant", second["text"], "poet"),
    ]
    before = await given(client, "read_thread", thread=first["thread"], limit=3, cursor=page["next"])
    assert ([m["text"] for m in before["messages"]], before["next"]) == (["Hello"], None)
    record = await system.record(first["thread"])
    assert (record.owner, record.metadata, record.agent) == ("local", {"door": "mcp"}, "poet")


async def test_an_answer_that_takes_longer_can_be_waited_for_again(system: System, url: str, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="hold")]), Reply(after_tool=True, text="At last."))
    async with Client(url) as client:
        asked = {"prompt": "Wait!", "agent": "helper", "prompt_id": thread}
        first = await given(client, "ask_agent", **asked, timeout_s=0.2)
        assert (first["status"], first["text"]) == ("running", "")
        assert first["thread"] in first["hint"]
        system.bench.release()
        again = await given(client, "ask_agent", **asked)
        assert (again["thread"], again["status"], again["text"]) == (first["thread"], "answered", "At last.")
        assert [name for name, _ in system.bench.ran] == ["hold"]


async def test_who_asks_is_told_that_somebody_must_decide(system: System, url: str, thread: str) -> None:
    system.model.script(Reply(tool_calls=[REFUND], step=1), Reply(after_tool=True, text="{tool}"))
    async with Client(url) as client:
        asked = {"prompt": "Pay!", "agent": "cashier", "prompt_id": thread}
        place = (await given(client, "ask_agent", **asked, timeout_s=0.1))["thread"]
        await system.until(lambda: system.store.get_thread(place))
        [call] = await system.waiting(place)
        told = await given(client, "ask_agent", **asked, timeout_s=0.1)
        assert told["status"] == "running"
        assert "somebody decides about what it wants to do: refund (c1)" in told["hint"]
        await resolve(system, place, call)
        assert (await given(client, "ask_agent", **asked))["text"] == "Refunded 5."


async def test_an_agent_works_on_when_the_call_is_given_up(system: System, url: str, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="hold")]), Reply(after_tool=True, text="All the same."))
    async with Client(url) as client:
        asking = asyncio.create_task(given(client, "ask_agent", prompt="Go!", agent="helper", prompt_id=thread))

        async def holds() -> bool:
            return bool(system.bench.ran)

        await system.until(holds)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        system.bench.release()
        answer = await given(client, "ask_agent", prompt="Go!", agent="helper", prompt_id=thread)
        assert (answer["status"], answer["text"]) == ("answered", "All the same.")


async def test_many_ask_at_once(system: System, url: str) -> None:
    async with Client(url) as client:
        answers = await asyncio.gather(*(given(client, "ask_agent", prompt=f"Hi {i}") for i in range(10)))
    assert [answer["text"] for answer in answers] == [f"You said: Hi {i}" for i in range(10)]
    assert len({answer["thread"] for answer in answers}) == 10


async def test_what_cannot_be_done_is_said_in_words(system: System, url: str) -> None:
    async with Client(url) as client:
        assert "there is no agent 'nobody'; the agents are: assistant" in await refused(
            client, "ask_agent", prompt="Hi", agent="nobody"
        )
        assert "t-unheard-of" in await refused(client, "ask_agent", prompt="Hi", thread="t-unheard-of")
        assert "There is no thread 't-unheard-of'." in await refused(client, "read_thread", thread="t-unheard-of")
        assert "content" in await refused(client, "ask_agent", prompt="")
        assert "limit" in await refused(client, "read_thread", thread="a", limit=0)
        assert "cursor" in await refused(
            client, "read_thread", thread=(await given(client, "ask_agent", prompt="Hi"))["thread"], cursor="x"
        )
        known = await given(client, "ask_agent", prompt="one", prompt_id="taken")
        assert "taken" in await refused(
            client, "ask_agent", prompt="another", prompt_id="taken", thread=known["thread"]
        )


async def test_a_turn_that_fails_is_a_failed_call(system: System, url: str) -> None:
    system.model.script(Reply(status=400, text="no such model"))
    async with Client(url) as client:
        assert "The prompt was not answered (failed): " in await refused(client, "ask_agent", prompt="Hi")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
    ids=["host", "origin", "no JSON"],
)
async def test_pages_of_others_cannot_ask(url: str, headers: dict[str, str], status: int) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_agents", "arguments": {}}}
    given = {"content-type": "application/json", "accept": "application/json, text/event-stream"} | headers
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(url, content=json.dumps(call), headers=given)).status_code == status
