"""A model looks things up: the call runs as any other, and finds what belongs to the thread's tenant."""

from __future__ import annotations

from pathlib import Path

from activities.consulting import SEARCH_KNOWLEDGE
from activities.library import Knowledge
from adapters.documents import Documents
from adapters.lexicon import WordLexicon
from adapters.webhooks import SignedWebhooks
from domain.agent import Agent
from domain.knowledge import KnowledgeSource
from doubles.scripted_model import Reply, ToolCall
from tests.library import FakeEmbedder, Room
from tests.system import System, started_with

LIBRARIAN = Agent("librarian", knowledge=(KnowledgeSource(description="About the house."),))


async def test_the_tool_is_called_and_finds_only_what_the_threads_tenant_has(
    system: System, thread: str, tmp_path: Path
) -> None:
    embedder = FakeEmbedder()
    room = Room(tmp_path, embedder)
    await room.read("The colour of the safe is blue.", "safe.md", tenant="acme")
    await room.read("The colour of the safe is red.", "safe.md", tenant="umbrella")
    system.add_agent(LIBRARIAN)
    knowledge = Knowledge(room.store, room.blobs, Documents(), SignedWebhooks(), WordLexicon(), embedder)
    await system.stop_workers()
    await system.start_worker(knowledge=knowledge)
    call = ToolCall(name=SEARCH_KNOWLEDGE, arguments={"query": "colour of the safe"}, id="c1")
    system.model.script(Reply(tool_calls=[call], step=1), Reply(text="It is blue.", step=2))

    start = started_with(tenant="acme", agent="librarian")
    assert await system.ask(thread, "Which colour has the safe?", start=start) == "It is blue."
    [result] = [row for row in await system.rows(thread) if row.role == "tool"]
    assert (result.status, result.text) == ("complete", "[1] safe.md\nThe colour of the safe is blue.")
    room.close()
