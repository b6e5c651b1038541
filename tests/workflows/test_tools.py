"""Tools on a real server: what the model reads of them, and how often they run."""

from __future__ import annotations

from typing import Any

import pytest

from domain import ids
from domain.messages import Message
from domain.steps import fence
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, said


def calls(*tool_calls: ToolCall, **fields: Any) -> Reply:
    return Reply(tool_calls=list(tool_calls), **fields)


READS = Reply(after_tool=True, text="I read: {tool}")


async def test_the_model_reads_the_result_in_its_next_call(system: System, thread: str) -> None:
    system.model.script(calls(ToolCall(name="look", arguments={"what": "the sea"}, id="c1")), READS)
    assert await system.ask(thread, "Look!", agent="helper", id="a") == "I read: I see the sea."
    assert system.bench.ran == [("look", "the sea")]
    first, second = system.model.requests
    assert first.body["tools"][0]["function"]["name"] == "look"
    assert second.body["messages"][-2]["tool_calls"][0]["id"] == "c1"
    assert second.body["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "I see the sea."}
    assert said(await system.rows(thread)) == [
        ("user", "answered", "Look!"),
        ("assistant", "complete", ""),
        ("tool", "complete", "I see the sea."),
        ("assistant", "complete", "I read: I see the sea."),
    ]


async def test_tools_of_one_step_run_side_by_side_and_are_read_in_order(system: System, thread: str) -> None:
    """The first waits until the test has seen the others end."""
    names = ["hold", "look", "sync"]
    system.model.script(
        calls(ToolCall(name="hold"), ToolCall(name="look"), ToolCall(name="sync", arguments={"number": 3})),
        Reply(after_tool=True, text="Done."),
    )
    await system.submit(thread, "All!", agent="helper", id="a")

    async def others_ended() -> bool:
        ended = [row.name for row in await system.rows(thread) if row.role == "tool" and row.final]
        return sorted(ended, key=str) == ["look", "sync"]

    await system.until(others_ended)
    system.bench.release()
    await system.ended(thread, "a")
    tools = [row for row in await system.rows(thread) if row.role == "tool"]
    assert [(row.name, row.text) for row in tools] == [
        ("hold", "Released."),
        ("look", "I see around."),
        ("sync", '{"number": 3}'),
    ]
    assert [message["content"] for message in system.asked()[-3:]] == [row.text for row in tools]
    assert [row.name for row in tools] == names


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            ToolCall(name="fly"),
            "There is no tool 'fly'. The tools are: look, sync, hold, pay, put, fail, exit, flood, sleep.",
        ),
        (
            ToolCall(name="sync", arguments={"number": "many"}),
            "Invalid arguments: number: Input should be a valid integer",
        ),
        (ToolCall(name="sync", arguments={}), "Invalid arguments: number: Field required"),
        (ToolCall(name="look", arguments={"where": 1}), "Invalid arguments: where: Extra inputs are not permitted"),
        (ToolCall(name="look", arguments='{"what": '), "Invalid arguments: arguments: Invalid JSON"),
        (ToolCall(name="look", arguments="[1]"), "Invalid arguments: arguments: Input should be an object"),
        (ToolCall(name="fail"), "The tool failed: LookupError: the drawer is empty\ufffd"),
        (ToolCall(name="exit"), "The tool failed: SystemExit: 2"),
        (ToolCall(name="sleep"), "The tool did not finish within 0.1 s."),
    ],
    ids=["unknown", "wrong type", "missing", "extra", "broken JSON", "no object", "raises", "exits", "too slow"],
)
async def test_what_goes_wrong_in_a_tool_is_for_the_model_to_read(
    system: System, thread: str, call: ToolCall, words: str
) -> None:
    system.model.script(calls(call), READS)
    answer = await system.ask(thread, "Go!", agent="helper", id="a")
    assert answer.startswith(f"I read: {words}")
    [result] = [row for row in await system.rows(thread) if row.role == "tool"]
    assert result.status == "failed"
    assert (await system.prompt(thread, "a")).status == "answered"


async def test_a_tool_name_of_no_shape_wedges_nothing(system: System, thread: str) -> None:
    system.model.script(calls(ToolCall(name="\x01" * 200)), READS)
    assert "There is no tool" in await system.ask(thread, "Go!", agent="helper")


async def test_a_turn_with_tools_stays_in_the_conversation(system: System, thread: str) -> None:
    system.model.script(calls(ToolCall(name="look"), when="Look"), READS, "Fine.")
    await system.ask(thread, "Look!", agent="helper")
    await system.ask(thread, "And now?", agent="helper")
    assert [message["role"] for message in system.asked()] == [
        *("system", "user", "assistant", "tool", "assistant", "user"),
    ]


async def test_calls_that_have_the_same_id_keep_their_own_results(system: System, thread: str) -> None:
    """Some providers number the calls of each step anew."""
    system.model.script(
        calls(ToolCall(name="look", arguments={"what": "one"}, id="call_0"), step=1),
        calls(ToolCall(name="look", arguments={"what": "two"}, id="call_0"), step=2),
        Reply(text="Done.", step=3),
    )
    await system.ask(thread, "Look twice!", agent="helper")
    results = [message for message in system.asked() if message["role"] == "tool"]
    assert [message["content"] for message in results] == ["I see one.", "I see two."]
    assert len({message["tool_call_id"] for message in results}) == 2


async def test_the_step_limit_ends_the_turn_with_a_call_without_tools(system: System, thread: str) -> None:
    system.model.script(calls(ToolCall(name="look"), step=1), Reply(text="Enough.", step=2))
    assert await system.ask(thread, "Look for ever!", agent="hasty", id="a") == "Enough."
    assert [request.body["tool_choice"] for request in system.model.requests] == ["auto", "none"]


async def test_a_model_that_calls_tools_at_the_limit_all_the_same_is_not_obeyed(system: System, thread: str) -> None:
    """Not every server heeds tool_choice."""
    system.model.script(
        calls(ToolCall(name="look"), step=1), calls(ToolCall(name="look"), step=2, text="Still looking")
    )
    assert await system.ask(thread, "Look for ever!", agent="hasty", id="a") == "Still looking"
    assert (await system.prompt(thread, "a")).status == "answered"
    assert len(system.bench.ran) == 1
    system.model.script("Fine.")
    await system.ask(thread, "And now?", agent="hasty", id="b")  # the context is valid: the scripted model checks it
    assert [message["role"] for message in system.asked()][-3:] == ["assistant", "tool", "user"]


# --- once


async def begun_before(system: System, thread: str, tool: str) -> None:
    """An earlier attempt, which was lost, had begun the call."""
    row = Message(
        id=ids.message_id(thread, "a", "tool:0"),
        thread=thread,
        prompt_id="a",
        slot="tool:0",
        role="tool",
        turn=1,
        seq=ids.seq(1, 0, ids.TOOL_ORDINAL),
        attempt=fence(1, 0, 1),
        call_id="c1",
        name=tool,
    )
    await system.store.insert([row])


async def test_a_write_tool_is_not_run_again_after_its_worker_was_lost(system: System, thread: str) -> None:
    await begun_before(system, thread, "pay")
    system.model.script(calls(ToolCall(name="pay", arguments={"amount": 5}, id="c1")), READS)
    answer = await system.ask(thread, "Pay!", agent="helper", id="a")
    assert answer == ("I read: The outcome is unknown: the worker was lost while the tool ran. It was not repeated.")
    assert system.bench.ran == []


@pytest.mark.parametrize("tool", ["put", "look"])
async def test_a_tool_that_may_be_repeated_is_run_again_after_its_worker_was_lost(
    system: System, thread: str, tool: str
) -> None:
    await begun_before(system, thread, tool)
    system.model.script(calls(ToolCall(name=tool, id="c1")), READS)
    await system.ask(thread, "Go!", agent="helper", id="a")
    assert [name for name, _ in system.bench.ran] == [tool]


async def test_a_result_that_is_there_is_not_made_again(system: System, thread: str) -> None:
    await begun_before(system, thread, "put")
    await system.store.amend(
        ids.message_id(thread, "a", "tool:0"), fence(1, 0, 1), {"status": "complete", "text": "Was put."}
    )
    system.model.script(calls(ToolCall(name="put", id="c1")), READS)
    assert await system.ask(thread, "Go!", agent="helper", id="a") == "I read: Was put."
    assert system.bench.ran == []
