"""What people see of a thread: its status, its details in the Temporal Web UI, its search attributes."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata

from domain.prompts import Prompt
from doubles.scripted_model import Reply, ToolCall
from tests.system import System, count, started_with
from workflows import attributes

UPSERTED = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES


async def details(system: System, thread: str) -> str:
    metadata: WorkflowMetadata = await system.workflow(thread).query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    return metadata.current_details


async def found(system: System, thread: str) -> dict[str, Any]:
    described = await system.workflow(thread).describe()
    return {key.name: described.typed_search_attributes.get(key) for key in attributes.ALL}


async def summaries(system: System, thread: str) -> list[str]:
    """What the Web UI shows beside each activity."""
    events = [event for event in await system.history(thread) if event.user_metadata.HasField("summary")]
    return [event.user_metadata.summary.data.decode() for event in events]


# --- status


async def test_the_status_of_an_idle_thread(system: System, thread: str) -> None:
    await system.ask(thread, "Hi")
    assert await system.idle(thread) == {
        "thread": thread,
        "agent": "assistant",
        "epoch": 1,
        "next_turn": 2,
        "running": None,
        "waiting": 0,
        "waiting_ids": [],
        "steered": 0,
        "undelivered": 0,
        "calls": [],
        "operator": None,
        "retrying": [],
    }


async def test_the_status_of_a_busy_thread_tells_what_runs_and_what_waits(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="hold")], times=1), Reply(after_tool=True, text="Ok."), "Fine.")
    await system.submit(thread, "Hold!", id="a", agent="helper")
    await system.submit(thread, "Hi", id="b")
    await system.submit(thread, "Ho", id="c")

    async def holding() -> bool:
        return bool(system.bench.ran)

    await system.until(holding)
    status = await system.threads.status(thread)
    assert status["running"] == {"prompt_id": "a", "turn": 1, "step": 0, "agent": "helper"}
    assert (status["waiting"], status["waiting_ids"]) == (2, ["b", "c"])
    shown = await details(system, thread)
    assert "answering turn 1, step 1, 2 waiting" in shown
    system.bench.release()
    await system.ended(thread, "a", "b", "c")


# --- details


async def test_the_details_read_like_the_last_turns_of_a_chat(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, when="bad"), "Hello *Ada*!")
    await system.ask(thread, "I am <Ada>.")
    await system.submit(thread, "bad", id="bad")
    await system.ended(thread, "bad")
    await system.idle(thread)
    shown = await details(system, thread)
    assert thread in shown
    assert "agent `assistant` · idle" in shown
    assert "**1. I am \\<Ada\\>.**\n\n> Hello \\*Ada\\*!" in shown
    assert "**2. bad**\n\n> failed: " in shown


async def test_details_stay_short_however_long_the_texts_are(system: System, thread: str) -> None:
    system.model.script(Reply(text="*" * 5_000), cycle=True)
    for number in range(7):
        await system.ask(thread, "#" * 5_000, id=f"p{number}")
    await system.idle(thread)
    assert len(await details(system, thread)) < 5_000


async def test_the_details_cost_no_event(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", start=started_with(agent="assistant"))
    await system.idle(thread)
    kinds = {EventType.Name(event.event_type) for event in await system.history(thread)}
    assert not {kind for kind in kinds if "MODIFIED" in kind or "TIMER" in kind}


async def test_every_activity_says_what_it_does(system: System, thread: str) -> None:
    system.model.script(Reply(tool_calls=[ToolCall(name="look")]), Reply(after_tool=True, text="Done."))
    await system.ask(thread, "Look around, and then look around once more, please!", agent="helper")
    await system.idle(thread)
    said = [text for text in await summaries(system, thread) if text != '"open"']
    assert said == [
        '"Thread with agent assistant"',
        '"1: Look around, and then look around once …"',
        '"1: look"',
        '"1: step 2"',
    ]


async def test_a_prompt_of_long_characters_fits_into_its_summary(system: System, thread: str) -> None:
    """The server takes 400 bytes."""
    for number, char in enumerate(["\x01", "\U0001f600", '"', "\u2028"]):
        await system.ask(thread, f"x{char * 1_000}", id=f"p{number}")


# --- search attributes


async def test_a_thread_can_be_found_by_agent_tenant_and_opaque_owner(system: System, thread: str) -> None:
    start = started_with(agent="poet", owner="ada@example.org", tenant="acme")
    await system.ask(thread, "Hi", start=start)
    await system.idle(thread)
    assert await found(system, thread) == {
        "EverthreadAgent": "poet",
        "EverthreadOwner": attributes.owner_id("acme", "ada@example.org"),
        "EverthreadTenant": "acme",
        "EverthreadStatus": "active",
    }
    assert "ada" not in attributes.owner_id("acme", "ada@example.org")


async def test_a_thread_started_by_any_client_gets_its_attributes(system: System, thread: str) -> None:
    await system.start(
        thread, {"owner": "ada"}, start_signal="prompt", start_signal_args=[{"id": "a", "content": "Hi"}]
    )
    await system.ended(thread, "a")
    attributes_found = await found(system, thread)
    assert attributes_found["EverthreadAgent"] == "assistant"
    assert attributes_found["EverthreadOwner"] == attributes.owner_id("", "ada")


async def test_attributes_that_the_client_gave_cost_no_event(system: System, thread: str) -> None:
    await system.ask(thread, "Hi", start=started_with(owner="ada"))
    await system.ask(thread, "Hi again")
    await system.idle(thread)
    assert count(await system.history(thread), UPSERTED) == 0


async def test_a_failed_turn_can_be_found_until_the_next_good_one(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, when="bad"), "Fine.")
    await system.submit(thread, "bad", id="a")
    await system.ended(thread, "a")
    await system.idle(thread)
    assert (await found(system, thread))["EverthreadStatus"] == "failed"
    await system.submit(thread, "bad", id="b")
    await system.ended(thread, "b")
    await system.idle(thread)
    assert count(await system.history(thread), UPSERTED) == 1
    await system.ask(thread, "good")
    await system.idle(thread)
    assert (await found(system, thread))["EverthreadStatus"] == "active"


async def test_no_title_no_name_and_no_text_is_in_an_attribute(system: System, thread: str) -> None:
    """They cannot be erased."""
    await system.threads.signal(thread, Prompt(id="a", content="SECRET", author="SECRET"), started_with(owner="SECRET"))
    await system.ended(thread, "a")
    described = await system.workflow(thread).describe()
    assert "SECRET" not in str(described.typed_search_attributes)
    assert "SECRET" not in str(await described.static_summary())


async def test_strange_names_wedge_nothing(system: System, thread: str) -> None:
    start = {"tenant": "\x00\U0001f600" * 100, "owner": "\x00" * 200, "agent": "x" * 64}
    await system.start(thread, start, start_signal="prompt", start_signal_args=[{"id": "a", "content": "Hi"}])
    [prompt] = await system.ended(thread, "a")
    assert prompt.status == "failed"  # no such agent
    assert await system.ask(thread, "Hi", agent="poet") == "You said: Hi"
