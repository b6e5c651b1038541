"""Tools of MCP servers in the turns of agents, on a real server, with real child processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.mcp_servers import McpServers
from domain.approvals import ApprovalPolicy
from domain.hooks import StepChanges, StepInfo
from domain.mcp import McpServer
from domain.messages import Message
from domain.prompts import PromptOptions
from doubles.scripted_model import Reply, ToolCall
from runtime import leash
from tests.adapters.test_mcp_servers import TIME, odd
from tests.system import System, new_thread
from tests.workflows.test_approvals import resolve
from tests.workflows.test_options import define
from tests.workflows.test_tools import READS, begun_before, calls


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[McpServers]:
    servers = McpServers(leash=Path(leash.__file__), logs=tmp_path_factory.mktemp("servers"))
    yield servers
    await servers.close()


@pytest.fixture
async def served(system: System, servers: McpServers) -> System:
    """A system whose worker reaches MCP servers."""
    await system.stop_workers()
    await system.start_worker(servers=servers)
    return system


def one(tool: str, **arguments: Any) -> Reply:
    return calls(ToolCall(name=tool, arguments=arguments))


def offered(system: System, number: int = -1) -> list[str]:
    return [tool["function"]["name"] for tool in system.model.requests[number].body.get("tools", [])]


async def results(system: System, thread: str) -> list[Message]:
    return [row for row in await system.rows(thread) if row.role == "tool"]


# --- what it is for


async def test_an_agent_uses_a_server_that_nobody_here_wrote(served: System, thread: str) -> None:
    clock = McpServer("time", command=[TIME, "--local-timezone", "UTC"], effects={"*": "read"})
    define(served, mcp=(clock,), tools=())
    arguments = {"source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    served.model.script(one("time_convert_time", **arguments), READS)
    answer = await served.ask(thread, "What time is it in Tokyo?", agent="mine", id="a")
    assert json.loads(answer.removeprefix("I read: "))["target"]["timezone"] == "Asia/Tokyo"
    assert sorted(offered(served)) == ["time_convert_time", "time_get_current_time"]
    [tool] = [t["function"] for t in served.model.requests[0].body["tools"] if "convert" in t["function"]["name"]]
    assert tool["description"] == "Convert time between timezones"
    assert tool["parameters"]["required"] == ["source_timezone", "time", "target_timezone"]
    [result] = await results(served, thread)
    assert (result.name, result.status) == ("time_convert_time", "complete")


async def test_an_agents_own_tools_stand_beside_those_of_its_servers(served: System, thread: str) -> None:
    define(served, mcp=(odd(tools=["echo", "pid"]), odd(name="other", tools=["echo"])))
    served.model.script(
        calls(
            ToolCall(name="look"),
            ToolCall(name="odd_echo", arguments={"text": "one"}),
            ToolCall(name="other_echo", arguments={"text": "two"}),
        ),
        READS,
    )
    await served.ask(thread, "Go!", agent="mine")
    assert offered(served)[-3:] == ["odd_echo", "odd_pid", "other_echo"]
    assert [row.text for row in await results(served, thread)] == ["I see around.", "one", "two"]


async def test_two_agents_share_one_process(served: System) -> None:
    define(served, "one", mcp=(odd(tools=["pid"]),))
    define(served, "two", mcp=(odd(tools=["p*"]),))
    served.model.script(one("odd_pid"), READS)
    assert await served.ask(new_thread(), "Go!", agent="one") == await served.ask(new_thread(), "Go!", agent="two")


async def test_a_prompt_and_a_hook_choose_among_the_tools_of_servers(served: System, thread: str) -> None:
    async def hook(info: StepInfo) -> StepChanges:
        return StepChanges(tools=["odd_pid", "odd_not_there"])

    define(served, "one", mcp=(odd(),))
    define(served, "two", mcp=(odd(),), prepare_step=hook)
    await served.ask(thread, "Hi", agent="one", options=PromptOptions(tools=["look", "odd_echo"]))
    assert offered(served) == ["look", "odd_echo"]
    await served.ask(thread, "Hi", agent="one", options=PromptOptions(tools=[]))
    assert offered(served) == []
    await served.ask(thread, "Hi", agent="two")
    assert offered(served) == ["odd_pid"]


# --- a turn keeps its list


async def test_a_deploy_changes_no_running_turn(served: System, thread: str) -> None:
    """Between two steps the agent gets a tool of the same name, and its server is narrowed to nothing."""
    server = odd(tools=["echo"], effects={"*": "read"}, timeout_s=7)
    define(served, mcp=(server,))
    served.model.script(
        Reply(tool_calls=[ToolCall(name="hold")], step=1),
        Reply(tool_calls=[ToolCall(name="odd_echo", arguments={"text": "as before"})], step=2),
        Reply(text="{tool}", step=3),
    )
    await served.submit(thread, "Go!", agent="mine", id="a")

    async def held() -> bool:
        return ("hold", None) in served.bench.ran

    await served.until(held)
    define(served, mcp=(odd(tools=[], effects={"*": "write"}),))
    served.bench.release()
    await served.ended(thread, "a")
    assert [offered(served, n)[-1] for n in (0, 1, 2)] == ["odd_echo"] * 3
    answers = await served.answers(thread, "a")
    assert answers[-1].text == "as before"
    [planned] = (answers[1].result or {})["plan"]
    assert (planned["effect"], planned["timeout_s"]) == ("read", 7.0)
    await served.ask(thread, "And now?", agent="mine")
    assert offered(served)[-1] != "odd_echo"


async def test_a_tool_that_its_server_takes_away_in_the_turn_fails_in_the_servers_words(
    served: System, thread: str
) -> None:
    server = odd(tools=["vanish", "echo"], env={"OF": "this test"})
    define(served, mcp=(server,))
    served.model.script(
        Reply(tool_calls=[ToolCall(name="odd_vanish", arguments={"name": "echo"})], step=1),
        Reply(tool_calls=[ToolCall(name="odd_echo", arguments={"text": "?"})], step=2),
        Reply(text="Fine.", step=3),
        "Hi",
    )
    await served.ask(thread, "Go!", agent="mine", id="a")
    assert [(row.status, row.text) for row in await results(served, thread)] == [
        ("complete", "echo is gone"),
        ("failed", "There is no echo."),
    ]
    assert offered(served) == offered(served, 0)
    await served.ask(thread, "And now?", agent="mine")
    assert [name for name in offered(served) if name.startswith("odd_")] == ["odd_vanish"]


async def test_what_was_listed_is_recorded_with_the_turn_and_not_listed_with_its_rows(
    served: System, thread: str
) -> None:
    define(served, mcp=(odd(tools=["echo", "pid"], approve=["echo"]),))
    served.model.script(calls(ToolCall(name="odd_pid"), when="Go"), READS, "Hi")
    await served.ask(thread, "Go!", agent="mine", id="a")
    first, second = await served.store.get([row.id for row in await served.answers(thread, "a")])
    assert first.mcp is not None
    assert [(tool["tool"], tool["effect"], tool["approve"]) for tool in first.mcp["tools"]] == [
        ("echo", "write", True),
        ("pid", "write", False),
    ]
    assert second.mcp == {"whole": False, "tools": [], "away": {}}
    assert {row.mcp for row in await served.answers(thread, "a")} == {None}
    await served.ask(thread, "And without?", agent="assistant", id="b")
    [plain] = await served.store.get([row.id for row in await served.answers(thread, "b")])
    assert plain.mcp is None


# --- what goes wrong


async def test_a_server_that_is_away_is_done_without(served: System, thread: str) -> None:
    define(served, mcp=(McpServer("lost", command=["no-such-program"]), odd(tools=["echo"])))
    served.model.script(one("odd_echo", text="still here"), READS)
    assert await served.ask(thread, "Go!", agent="mine", options=PromptOptions(tools=["odd_echo", "lost_any"])) == (
        "I read: still here"
    )
    assert offered(served) == ["odd_echo"]
    for number in (0, 1):
        assert served.asked(number)[0]["content"].endswith(
            "Some of your tools are missing now, since their servers cannot be reached: lost. Do without them."
        )
    [event] = served.events.of(thread, "server.away")
    assert event["server"] == "lost"
    assert "No such file or directory" in event["error"]


@pytest.mark.parametrize(
    ("effects", "words"),
    [({}, " The outcome is unknown: it may have happened."), ({"note": "read"}, "")],
    ids=["write", "read"],
)
async def test_a_server_that_dies_in_a_call_leaves_a_result_and_is_there_again_for_the_next(
    served: System, thread: str, tmp_path: Path, effects: dict[str, Any], words: str
) -> None:
    define(served, mcp=(odd(effects=effects),))
    ran = tmp_path / "ran"
    served.model.script(
        Reply(tool_calls=[ToolCall(name="odd_note", arguments={"path": str(ran), "die": True})], step=1),
        Reply(tool_calls=[ToolCall(name="odd_note", arguments={"path": str(ran)})], step=2),
        Reply(text="Done.", step=3),
    )
    assert await served.ask(thread, "Go!", agent="mine") == "Done."
    lost, again = await results(served, thread)
    assert (lost.status, again.status) == ("failed", "complete")
    assert lost.text.startswith("The server of this tool was lost during the call: it ended with status 3")
    assert lost.text.endswith(f".{words}")
    assert ran.read_text() == "ran\nran\n"


async def test_a_call_that_does_not_end_is_given_up(served: System, thread: str, tmp_path: Path) -> None:
    define(served, mcp=(odd(timeout_s=0.2),))
    served.model.script(one("odd_note", path=str(tmp_path / "ran"), hang=True), READS)
    answer = await served.ask(thread, "Go!", agent="mine")
    assert answer == "I read: The tool did not finish within 0.2 s. The outcome is unknown: it may still happen."


async def test_an_interrupt_reaches_a_call(served: System, thread: str, tmp_path: Path) -> None:
    define(served, mcp=(odd(),))
    ran = tmp_path / "ran"
    served.model.script(one("odd_note", path=str(ran), hang=True), READS)
    await served.submit(thread, "Go!", agent="mine", id="a")

    async def runs() -> bool:
        return ran.exists()

    await served.until(runs)
    await served.threads.interrupt(thread)
    [prompt] = await served.ended(thread, "a", timeout_s=3)
    assert prompt.status == "interrupted"


async def test_an_interrupt_reaches_a_server_that_hangs_as_it_lists(served: System, thread: str) -> None:
    define(served, mcp=(odd("--hang-at", "tools/list", name="slow"),))
    await served.submit(thread, "Go!", agent="mine", id="a")

    async def began() -> bool:
        return bool(await served.answers(thread, "a"))

    await served.until(began)
    await served.threads.interrupt(thread)
    [prompt] = await served.ended(thread, "a", timeout_s=3)
    assert prompt.status == "interrupted"


async def test_a_turn_made_anew_lists_anew(served: System, thread: str) -> None:
    define(served, mcp=(odd(tools=["echo"]),), tools=())
    await served.ask(thread, "Go!", agent="mine", id="a")
    define(served, mcp=(odd(tools=["pid"]),), tools=())
    receipt = await served.threads.regenerate(thread, prompt_id="a")
    await served.ended(thread, receipt.prompt_id)

    async def anew() -> bool:
        return len(served.model.requests) == 2

    await served.until(anew)
    assert [offered(served, n) for n in (0, 1)] == [["odd_echo"], ["odd_pid"]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ToolCall(name="odd_fail"), "The drawer is empty."),
        (ToolCall(name="odd_nothing"), ""),
        (ToolCall(name="odd_echo", arguments="{"), "Invalid arguments: arguments: Invalid JSON"),
        (ToolCall(name="odd_echo", arguments="[1]"), "Invalid arguments: arguments: Input should be an object"),
        (ToolCall(name="odd_echo", arguments='{"text": NaN}'), "Invalid arguments: arguments: Invalid JSON"),
        (ToolCall(name="odd_fly"), "There is no tool 'odd_fly'."),
        (ToolCall(name="odd_nonsense"), "What the server answered cannot be used"),
        (ToolCall(name="odd_flood", arguments={"size": 3_000_000}), "xxx"),
        (ToolCall(name="odd_garbage"), "after the garbage"),
    ],
    ids=["fails", "nothing", "broken JSON", "no object", "no number", "unknown", "nonsense", "flood", "garbage"],
)
async def test_whatever_a_server_gives_is_for_the_model_to_read(
    served: System, thread: str, call: ToolCall, words: str
) -> None:
    define(served, mcp=(odd(),))
    served.model.script(calls(call), READS)
    answer = await served.ask(thread, "Go!", agent="mine", id="a")
    assert answer.startswith(f"I read: {words}")
    assert (await served.prompt(thread, "a")).status == "answered"


@pytest.mark.parametrize("effect", ["read", "write"])
async def test_a_call_whose_worker_was_lost_goes_by_the_effect_that_its_pattern_says(
    served: System, thread: str, effect: Any
) -> None:
    define(served, mcp=(odd(effects={"e*": effect}),))
    await begun_before(served, thread, "odd_echo")
    served.model.script(calls(ToolCall(name="odd_echo", arguments={"text": "ran"}, id="c1")), READS)
    answer = await served.ask(thread, "Go!", agent="mine", id="a")
    assert answer.startswith("I read: ran" if effect == "read" else "I read: The outcome is unknown")


async def test_a_worker_that_reaches_no_servers_answers_all_the_same(system: System, thread: str) -> None:
    define(system, mcp=(odd(),), tools=())
    assert await system.ask(thread, "Hi", agent="mine") == "You said: Hi"
    assert offered(system) == []


async def test_a_choice_of_a_tool_whose_server_is_away_is_no_choice(served: System, thread: str) -> None:
    define(served, mcp=(McpServer("lost", command=["no-such-program"]),), tool_choice="lost_any")
    assert await served.ask(thread, "Hi", agent="mine") == "You said: Hi"


# --- approvals


async def test_a_call_that_a_pattern_names_waits_for_an_approval_and_keeps_its_list_meanwhile(
    served: System, thread: str
) -> None:
    define(served, mcp=(odd(tools=["echo", "pid"], approve=["e*"]),))
    asked = [ToolCall(name="odd_echo", arguments={"text": "hi"}, id="c1"), ToolCall(name="odd_pid", id="c2")]
    served.model.script(Reply(tool_calls=asked), READS)
    await served.submit(thread, "Go!", agent="mine", id="a")
    [call] = await served.waiting(thread, 1)
    assert (call["tool"], call["arguments"]) == ("odd_echo", '{"text":"hi"}')
    define(served, mcp=(odd(tools=[]),))
    await resolve(served, thread, call, arguments={"text": "edited"})
    await served.ended(thread, "a")
    edited, _ = await results(served, thread)
    assert edited.text == "edited"


async def test_the_policy_of_an_agent_applies_to_the_names_that_the_model_sees(served: System, thread: str) -> None:
    define(served, mcp=(odd(tools=["echo"]),), approvals=ApprovalPolicy(require=["odd_*"]))
    served.model.script(Reply(tool_calls=[ToolCall(name="odd_echo", arguments={"text": "hi"}, id="c1")]), READS)
    await served.submit(thread, "Go!", agent="mine", id="a")
    [call] = await served.waiting(thread, 1)
    await resolve(served, thread, call, "deny", by="Eve", reason="no")
    await served.ended(thread, "a")
    assert [row.text for row in await results(served, thread)] == ["The call was denied by Eve: no"]
