"""Search over HTTP and from the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from adapters.static_embed import StaticEmbedder
from tests.gateways import Shell, gateway
from tests.memories import memory_of, said
from tests.system import System


@pytest.fixture
def owner() -> str:
    return uuid4().hex


@pytest.fixture
async def shell(system: System, owner: str) -> AsyncIterator[Shell]:
    """A gateway over two owners who said the same."""
    memory = memory_of(system.store, StaticEmbedder.load())
    await system.store.insert(
        [
            said("My cat is called Mimi", thread=f"{owner}-1", owner=owner),
            said("It rains in May", thread=f"{owner}-1", owner=owner, turn=1),
            said("My cat is called Mimi", thread=f"{owner}-2", owner=f"{owner}-else"),
        ]
    )
    for chore in memory.chores:
        while await chore.work():
            pass
    async with gateway(system, memory=memory) as port:
        yield Shell(system, port)


async def get(shell: Shell, path: str, **query: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{shell.port}") as http:
        return await http.get(path, params={name: str(value) for name, value in query.items()})


async def test_a_search_gives_messages_with_scores_best_first(shell: Shell, owner: str) -> None:
    hits = (await get(shell, "/api/memory/search", text="what is the cat called", owner=owner)).json()["hits"]
    assert [hit["message"]["text"] for hit in hits] == ["My cat is called Mimi", "It rains in May"]
    assert hits[0]["score"] == 1.0
    assert "raw" not in hits[0]["message"]


async def test_a_search_is_of_one_owner_or_one_thread(shell: Shell, owner: str) -> None:
    answer = await get(shell, "/api/memory/search", text="cat")
    assert (answer.status_code, "owner" in answer.json()["detail"]) == (422, True)
    hits = (await get(shell, "/api/memory/search", text="cat", owner=owner)).json()["hits"]
    assert {hit["message"]["owner"] for hit in hits} == {owner}


async def test_nobody_finds_anything_under_another_tenant(shell: Shell, owner: str) -> None:
    answer = await get(shell, "/api/memory/search", text="cat", owner=owner, tenant="another")
    assert answer.json()["hits"] == []


@pytest.mark.parametrize(
    "query", [{"text": ""}, {"limit": 0}, {"limit": 1_000}, {"least_score": 2}, {"role": "tool"}, {"after": -1}]
)
async def test_what_cannot_be_searched_is_refused_by_the_name_of_its_field(
    shell: Shell, owner: str, query: dict[str, object]
) -> None:
    answer = await get(shell, "/api/memory/search", **({"text": "cat", "owner": owner} | query))
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


async def test_the_state_of_the_index_is_told(shell: Shell) -> None:
    state = (await get(shell, "/api/memory")).json()
    assert state["done"] >= 3
    assert state["state"]["active"]


async def test_the_command_line_searches(shell: Shell, owner: str) -> None:
    found = await shell.program("memory", "search", "what is the cat called", "--owner", owner)
    assert found.status == 0
    assert "My cat is called Mimi" in found.out.splitlines()[0]
    nothing = await shell.program("memory", "search", "cat", "--owner", "nobody")
    assert nothing.status == 1


async def test_the_command_line_says_what_a_search_lacks(shell: Shell) -> None:
    refused = await shell.program("memory", "search", "cat")
    assert (refused.status, "name one of them" in refused.err) == (2, True)


async def test_the_command_line_tells_how_far_the_index_is(shell: Shell) -> None:
    told = await shell.program("memory", "status")
    assert "messages indexed" in told.out
