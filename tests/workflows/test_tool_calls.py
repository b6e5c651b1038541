"""What a tool knows of its call and says while it runs, on a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from catalog.tool import tool
from domain import ids
from domain.agent import Agent, AgentFactory, Tool
from domain.errors import ToolError
from domain.messages import Message
from domain.tooling import Asker, ToolContext
from doubles.scripted_model import Reply, ToolCall
from runtime.settings import Settings
from runtime.wiring import Ports, make_worker, make_worker_of
from tests.system import System, said, started_with

READS = Reply(after_tool=True, text="I read: {tool}")
SAYS = Reply(text="All said.")  # for the scripted model a step is after a tool only if the result stands last


@dataclass
class Clients:
    """What the tools of a test need."""

    base: str


def calls(*names: str, **arguments: Any) -> Reply:
    return Reply(tool_calls=[ToolCall(name=name, arguments=arguments) for name in names])


def once(reply: Reply) -> Reply:
    return reply.model_copy(update={"times": 1})


def agent(*tools: Tool, **fields: Any) -> Agent:
    return Agent("special", tools=tools, **fields)


async def results(system: System, thread: str) -> list[Message]:
    return [row for row in await system.rows(thread) if row.role == "tool"]


async def use(system: System, thread: str, *tools: Tool, script: Any = None, **fields: Any) -> str:
    """A turn in which the model calls each of the tools, side by side, then reads. Returns what it says of the last."""
    system.add_agent(agent(*tools))
    system.model.script(*(script or [calls(*(made.name for made in tools)), READS]))
    return await system.ask(thread, "Go!", agent="special", id="a", **fields)


# --- the call


async def test_a_tool_is_told_who_asks_for_what(system: System, thread: str) -> None:
    seen: list[ToolContext[Clients]] = []

    @tool(effect="read")
    async def ask_around(what: str, context: ToolContext[Clients]) -> str:
        """Ask around."""
        seen.append(context)
        return f"{what} at {context.deps.base}"

    made = lambda asker: Clients(f"https://{asker.tenant}.example")
    system.add_agent(agent(ask_around, deps=made))
    system.model.script(calls("ask_around", what="tea"), READS)
    start = started_with(tenant="acme", owner="ada")
    answer = await system.ask(
        thread, "Tea?", agent="special", id="a", author="Ada", metadata={"plan": "free"}, start=start
    )
    assert answer == "I read: tea at https://acme.example"
    [context], [row] = seen, await results(system, thread)
    assert (context.tenant, context.owner, context.author, context.metadata) == ("acme", "ada", "Ada", {"plan": "free"})
    assert (context.thread, context.turn, context.step, context.agent) == (thread, 1, 0, "special")
    assert (context.tool, context.key, context.call_id, context.attempt) == ("ask_around", row.id, row.call_id, 1)
    assert list(ask_around.parameters["properties"]) == ["what"], "the model does not see it"


async def test_dependencies_that_fail_are_a_failed_result(system: System, thread: str) -> None:
    @tool(effect="read")
    async def look(context: ToolContext[Any]) -> str:
        """Look."""
        return "never"

    def broken(asker: Asker) -> None:
        raise LookupError(f"no database for {asker.tenant!r}")

    system.add_agent(agent(look, deps=broken))
    system.model.script(calls("look"), READS)
    assert (
        await system.ask(thread, "Go!", agent="special") == "I read: The tool failed: LookupError: no database for ''"
    )


# --- progress


async def test_progress_is_heard_while_the_tool_runs_in_order_and_before_its_end(system: System, thread: str) -> None:
    @tool(effect="read")
    async def dig(context: ToolContext[None]) -> str:
        """Dig."""
        context.progress("digging", 0.5)
        await system.until(lambda: heard(system, thread, "tool.progress", 1))
        context.progress(data={"depth": 3}, fraction=7)
        return "Gold."

    assert await use(system, thread, dig) == "I read: Gold."
    first, second = system.events.of(thread, "tool.progress")
    [row] = await results(system, thread)
    assert (first["message_id"], first["message"], first["fraction"], first["tool"]) == (row.id, "digging", 0.5, "dig")
    assert (second["data"], second["fraction"]) == ({"depth": 3}, 1.0)
    kinds = [kind for its, kind, _ in system.events.published if its == thread and kind.startswith("tool.")]
    kinds.remove("tool.delta")  # of the arguments, before that
    assert kinds == ["tool.started", "tool.progress", "tool.progress", "tool.finished"]


async def heard(system: System, thread: str, kind: Any, count: int) -> bool:
    return len(system.events.of(thread, kind)) >= count


async def test_a_sync_tool_reports_from_its_own_thread(system: System, thread: str) -> None:
    @tool(effect="read")
    def dig(context: ToolContext[None]) -> str:
        """Dig."""
        context.progress(f"in {threading.current_thread().name}")
        return "Gold."

    await use(system, thread, dig)
    assert [data["message"] for data in system.events.of(thread, "tool.progress")] == ["in tool"]


async def test_a_flood_of_reports_costs_neither_the_tool_nor_the_readers_much(system: System, thread: str) -> None:
    @tool(effect="read")
    def dig(context: ToolContext[None]) -> str:
        """Dig."""
        for number in range(100_000):
            context.progress(str(number), data=object() if number % 2 else {"big": "x" * 20})
        context.progress("last\ud83d", data="x" * 100_000)
        return "Gold."

    await use(system, thread, dig)
    told = system.events.of(thread, "tool.progress")
    assert (told[-1]["message"], told[-1]["data"]) == ("last\ufffd", {"bytes": 100_002})
    assert len(told) < 5_000


async def test_each_value_of_a_generator_is_told_and_the_last_is_the_result(system: System, thread: str) -> None:
    @tool(effect="read")
    async def count(to: int = 3) -> AsyncIterator[dict[str, int]]:
        """Count."""
        for number in range(1, to + 1):
            yield {"so_far": number}

    @tool(effect="read")
    def count_in_a_thread() -> Iterator[str]:
        """Count."""
        yield "one"
        yield "two"

    @tool(effect="read")
    async def nothing() -> AsyncIterator[str]:
        """Yield nothing."""
        for number in range(0):
            yield str(number)

    await use(system, thread, count, count_in_a_thread, nothing)
    assert [row.text for row in await results(system, thread)] == ['{"so_far": 3}', "two", "null"]
    told = system.events.of(thread, "tool.progress")
    assert [data["result"] for data in told if data["tool"] == "count"] == [f'{{"so_far": {n}}}' for n in (1, 2, 3)]
    assert [data["result"] for data in told if data["tool"] == "count_in_a_thread"] == ["one", "two"]
    assert count.output_schema == {"additionalProperties": {"type": "integer"}, "type": "object"}


async def test_a_value_on_the_way_that_nobody_can_read_does_the_call_no_harm(system: System, thread: str) -> None:
    circle: list[Any] = []
    circle.append(circle)

    @tool(effect="read", to_model=lambda value: value["answer"], output=dict[str, str])
    async def ponder() -> AsyncIterator[Any]:
        """Ponder."""
        yield circle
        yield "half\ud83d"
        yield {"answer": "Whole."}

    assert await use(system, thread, ponder) == "I read: Whole."
    told = [data["result"] for data in system.events.of(thread, "tool.progress")]
    assert told[0].startswith("[ValueError: Circular reference")
    assert told[1:] == ["half\ufffd", '{"answer": "Whole."}']


async def test_a_generator_that_is_stopped_is_closed(system: System, thread: str) -> None:
    closed = asyncio.Event()

    @tool(effect="read")
    async def count() -> AsyncIterator[int]:
        """Count for ever."""
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    system.add_agent(agent(count))
    system.model.script(calls("count"), READS)
    await system.submit(thread, "Go!", agent="special", id="a")
    await system.until(lambda: heard(system, thread, "tool.progress", 1))
    await system.threads.interrupt(thread)
    [row] = await system.ended(thread, "a")
    assert row.status == "interrupted"
    await asyncio.wait_for(closed.wait(), 5)


async def test_a_sync_tool_sees_that_its_call_was_given_up(system: System, thread: str) -> None:
    """Nothing can stop a thread, but it does not hold up the turn, and what it says later is not heard."""
    seen, contexts = threading.Event(), list[ToolContext[None]]()

    @tool(effect="read", timeout_s=0.1)
    def dig(context: ToolContext[None]) -> str:
        """Dig."""
        contexts.append(context)
        while not context.stopped:
            pass
        context.progress("too late")
        seen.set()
        return "never"

    assert await use(system, thread, dig) == "I read: The tool did not finish within 0.1 s."
    assert await asyncio.to_thread(seen.wait, 5)
    assert system.events.of(thread, "tool.progress") == []
    with pytest.raises(RuntimeError, match="the call has ended"):
        await contexts[0].say("Too late.")


async def test_more_sync_tools_than_a_pool_has_threads_run_side_by_side(system: System, thread: str) -> None:
    """Each waits until all of them run."""
    together = threading.Barrier(40, timeout=10)

    @tool(effect="read")
    def meet() -> str:
        """Meet the others."""
        together.wait()
        return "Met."

    system.add_agent(agent(meet, max_repeats=None))
    system.model.script(calls(*["meet"] * 40), READS)
    assert await system.ask(thread, "Go!", agent="special") == "I read: " + "\n".join(["Met."] * 40)


# --- messages


async def test_a_message_said_by_a_tool_never_parts_a_call_from_its_result(system: System, thread: str) -> None:
    @tool(effect="write")
    async def announce(context: ToolContext[None]) -> str:
        """Announce."""
        await context.say("I am on it.")
        return "Announced."

    @tool(effect="write")
    def announce_too(context: ToolContext[None]) -> str:
        """Announce, from a thread."""
        context.say_sync("So am I.")
        return "Announced too."

    await use(system, thread, announce, announce_too, script=[once(calls("announce", "announce_too")), SAYS])
    assert [(role, text) for role, _, text in said(await system.rows(thread))] == [
        ("user", "Go!"),
        ("assistant", ""),
        ("tool", "Announced."),
        ("tool", "Announced too."),
        ("assistant", "I am on it."),
        ("assistant", "So am I."),
        ("assistant", "All said."),
    ]
    roles = ["system", "user", "assistant", "tool", "tool", "assistant", "assistant"]
    assert [message["role"] for message in system.asked()] == roles, "later steps of the turn see it"
    live = [data["text"] for data in system.events.of(thread, "message.delta")]
    assert live[:2] == ["I am on it.", "So am I."] or live[:2] == ["So am I.", "I am on it."]
    system.model.script("Fine.")
    await system.ask(thread, "And now?", agent="special")
    assert [message["role"] for message in system.asked()] == [*roles, "assistant", "user"], "and later turns"


async def test_what_a_tool_says_is_said_once_however_often_it_is_tried(system: System, thread: str) -> None:
    tries: list[int] = []

    @tool(effect="idempotent", retries=1)
    async def announce(context: ToolContext[None]) -> str:
        """Announce."""
        tries.append(context.attempt)
        await context.say(f"Try {len(tries)}.")
        if len(tries) < 2:
            raise LookupError("not yet")
        return "Announced."

    assert await use(system, thread, announce, script=[once(calls("announce")), SAYS]) == "All said."
    assert [row.text for row in await system.rows(thread) if row.slot.startswith("said")] == ["Try 1."]
    assert len(tries) == 2


async def test_what_cannot_be_said_is_told_to_the_tool(system: System, thread: str) -> None:
    @tool(effect="read")
    async def chatter(context: ToolContext[None]) -> str:
        """Chatter."""
        words: list[str] = []
        for text in [" ", "x" * 100_001, *map(str, range(11))]:
            try:
                await context.say(text)
            except ValueError as error:
                words.append(str(error))
        with pytest.raises(RuntimeError, match=r"await context\.say"):
            context.say_sync("no")
        return "; ".join(words)

    await use(system, thread, chatter, script=[once(calls("chatter")), SAYS])
    [result] = await results(system, thread)
    assert result.text == (
        "say: the message is blank; say something; say: the message has 100001 characters, more than 100000; "
        "return it instead; say: one call may say 10 messages; use progress for more"
    )
    spoken = [row for row in await system.rows(thread) if row.slot.startswith("said")]
    assert [row.text for row in spoken] == [str(number) for number in range(10)]


# --- once more, elsewhere


async def test_a_tool_that_may_be_repeated_is_tried_as_often_as_it_says(system: System, thread: str) -> None:
    tries: list[int] = []

    @tool(effect="read", retries=1)
    async def flaky() -> str:
        """Work at last."""
        tries.append(len(tries))
        if len(tries) < 2:
            raise ConnectionError(f"try {len(tries)}")
        return "Worked."

    assert await use(system, thread, flaky) == "I read: Worked."
    [again] = system.events.of(thread, "tool.retrying")
    assert again["error"] == "The tool failed: ConnectionError: try 1"
    assert 0 < again["retry_in_s"] < 3


async def test_a_tool_that_fails_each_time_is_a_failed_result_after_its_last_try(system: System, thread: str) -> None:
    tries: list[str] = []

    @tool(effect="read", retries=1)
    async def broken() -> str:
        """Never work."""
        tries.append("broken")
        raise ConnectionError("down")

    @tool(effect="read", retries=5)
    async def hopeless() -> str:
        """Know that it never works."""
        tries.append("hopeless")
        raise ToolError("There is no such customer.")

    @tool(effect="read", retries=5)
    async def picky(number: int) -> int:
        """Want a number."""
        return number

    await use(system, thread, broken, hopeless, picky)
    assert sorted(tries) == ["broken", "broken", "hopeless"]
    words = [row.text for row in await results(system, thread)]
    assert words == [
        "The tool failed: ConnectionError: down",
        "There is no such customer.",
        "Invalid arguments: number: Field required",
    ]
    assert {row.status for row in await results(system, thread)} == {"failed"}


async def test_a_tool_runs_on_the_workers_of_its_own_queue(system: System, thread: str) -> None:
    queue = uuid4().hex
    ran: list[str] = []

    def made(where: str) -> Agent:
        @tool(effect="read", queue=queue)
        async def train() -> str:
            """Train."""
            ran.append(where)
            return "Trained."

        return agent(train)

    system.add_agent(made("here"))
    elsewhere = type(system.catalog)([made("there")], "special")
    system.model.script(calls("train"), READS)
    await system.submit(thread, "Go!", agent="special", id="a")
    ports = Ports(system.store, system.events, system.chat, elsewhere, 8_000)
    async with make_worker(system.client, queue, ports):
        await system.ended(thread, "a")
    assert ran == ["there"]
    assert (await system.answers(thread, "a"))[-1].text == "I read: Trained."


async def test_with_the_embedded_store_its_one_worker_runs_the_tools_of_every_queue(
    system: System, thread: str
) -> None:
    @tool(effect="read", queue=uuid4().hex)
    def train() -> str:
        """Train."""
        return "Trained."

    await system.stop_workers()
    ports = Ports(system.store, system.events, system.chat, system.catalog, 8_000)
    alone = Settings.model_validate({"task_queue": system.task_queue, "qdrant_url": None})
    async with make_worker_of(alone, system.client, ports):
        assert await use(system, thread, train) == "I read: Trained."


# --- results


async def test_of_a_long_result_the_model_reads_the_ends_and_the_rest_when_it_asks(system: System, thread: str) -> None:
    book = "".join(f"line {number} ä\U0001f600\n" for number in range(3_000))

    @tool(effect="read", max_result_chars=2_000)
    async def read_book() -> str:
        """Read a book."""
        return book

    row_id = ids.message_id(thread, "a", "tool:0")
    asks = [calls("read_result", result=row_id, offset=offset) for offset in (0, 10_000)]
    steps = [calls("read_book"), *asks, Reply(text="Read.")]
    script = [reply.model_copy(update={"step": number}) for number, reply in enumerate(steps, 1)]
    assert await use(system, thread, read_book, script=script) == "Read."
    whole, first, second = await results(system, thread)
    assert whole.blob is not None
    assert len(whole.text) <= 2_000
    assert whole.text.startswith("line 0 ")
    assert whole.text.endswith("line 2999 ä\U0001f600\n")
    assert f'read_result(result="{row_id}", offset=' in whole.text
    assert (await system.blobs.get(whole.blob["ref"]) or b"").decode() == book
    assert first.text == f"[characters 0 to 10000 of {len(book)}; go on with offset=10000]\n{book[:10_000]}"
    assert second.text.endswith(book[10_000:20_000])
    offered = [[given["function"]["name"] for given in request.body["tools"]] for request in system.model.requests]
    assert offered == [["read_book"], *[["read_book", "read_result"]] * 3], "only when there is one"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"result": "nothing"}, "This conversation has no long result 'nothing'."),
        ({"result": "OTHER"}, "This conversation has no long result"),
        ({"result": "x", "offset": -1}, "Invalid arguments: offset: Input should be greater than or equal to 0"),
        ({"result": "MINE", "offset": 10**9}, "offset 1000000000 is behind its end."),
    ],
)
async def test_a_result_is_read_by_its_own_thread_alone(
    system: System, thread: str, arguments: dict[str, Any], words: str
) -> None:
    @tool(effect="read", max_result_chars=1_000)
    async def long() -> str:
        """Say much."""
        return "x" * 5_000

    other = f"{thread}-other"
    await use(system, other, long)
    named = {"OTHER": ids.message_id(other, "a", "tool:0"), "MINE": ids.message_id(thread, "a", "tool:0")}
    arguments = arguments | {"result": named.get(arguments["result"], arguments["result"])}
    script = [
        calls("long").model_copy(update={"step": 1}),
        calls("read_result", **arguments).model_copy(update={"step": 2}),
        Reply(step=3, text="I read: {tool}"),
    ]
    await use(system, thread, long, script=script)
    assert words in (await results(system, thread))[-1].text


async def test_a_result_that_cannot_be_kept_is_cut_and_the_tool_is_not_run_again(
    system: System, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    @tool(effect="write", max_result_chars=1_000)
    async def long() -> str:
        """Say much."""
        ran.append(1)
        return "x" * 5_000

    async def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.blobs.FolderBlobs.put", full)
    assert "characters are left out here.]" in await use(system, thread, long)
    assert ran == [1]


async def test_a_tool_may_say_its_result_in_other_words_to_the_model(system: System, thread: str) -> None:
    @tool(effect="read", to_model=lambda value: f"{len(value)} rows", output=list[int])
    async def query() -> Any:
        """Query."""
        return ("1", 2, 10**30)

    assert await use(system, thread, query) == "I read: 3 rows"
    [row] = await results(system, thread)
    assert row.output == f"[1, 2, {10**30}]", "the result itself is kept"


async def test_a_result_that_is_not_what_the_tool_says_is_a_failed_result(system: System, thread: str) -> None:
    @tool(effect="read", output=list[int])
    async def query() -> Any:
        """Query."""
        return ["x"]

    words = "The tool has run, but what it returned cannot be used: ValueError: 0: Input should be a valid integer"
    assert (await use(system, thread, query)).startswith(f"I read: {words}")


async def test_whatever_a_tool_returns_or_raises_is_a_result(system: System, thread: str) -> None:
    circle: list[Any] = []
    circle.append(circle)

    class MuteError(Exception):
        def __str__(self) -> str:
            raise LookupError

    @tool(effect="write")
    def turn_round() -> Any:
        """Return what has no end."""
        return circle

    @tool(effect="write")
    def fall_silent() -> None:
        """Raise what cannot be read."""
        raise MuteError

    @tool(effect="write")
    def stop() -> None:
        """Raise what ends iterations."""
        raise StopIteration

    @tool(effect="write")
    def rave() -> str:
        """Say half a character and a zero."""
        return "\ud83d\x00"

    await use(system, thread, turn_round, fall_silent, stop, rave)
    round_, silent, stopped, raving = [row.text for row in await results(system, thread)]
    assert round_.startswith("The tool has run, but what it returned cannot be used: ValueError: Circular reference")
    assert silent == "The tool failed: MuteError"
    assert stopped == "The tool failed: RuntimeError: StopIteration()"
    assert raving == "\ufffd\x00"


# --- who asks


async def test_an_agent_is_made_for_whoever_asks(system: System, thread: str) -> None:
    def build(asker: Asker) -> Agent:
        @tool(effect="read")
        async def whoami() -> str:
            """Tell who asks."""
            return f"{asker.owner} of {asker.tenant}, {asker.metadata['plan']}"

        return Agent("anything", instructions=f"You work for {asker.tenant}.", tools=(whoami,))

    system.add_agent(AgentFactory("special", build))
    system.model.script(calls("whoami"), READS)
    start = started_with(tenant="acme", owner="ada", metadata={"plan": "free"})
    assert await system.ask(thread, "Who?", agent="special", start=start) == "I read: ada of acme, free"
    assert system.asked()[0]["content"] == "You work for acme."
    assert {row.agent for row in await results(system, thread)} == {"special"}


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda asker: None, "The build of agent 'special' returned a NoneType; return an Agent"),
        (lambda asker: asker.metadata["plan"], "The build of agent 'special' failed: KeyError: 'plan'"),
    ],
    ids=["returns nothing", "raises"],
)
async def test_an_agent_that_cannot_be_made_fails_the_turn_in_words(
    system: System, thread: str, build: Any, words: str
) -> None:
    system.add_agent(AgentFactory("special", build))
    await system.submit(thread, "Go!", agent="special", id="a")
    [row] = await system.ended(thread, "a")
    assert (row.status, row.error) == ("failed", words)
