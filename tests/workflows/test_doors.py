"""How prompts come in: from any client, in any language, of any shape. No input can wedge or mislead a thread."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WithStartWorkflowOperation, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.common import RawValue, RetryPolicy, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from domain import ids
from domain.prompts import Prompt
from domain.wishes import Receipt
from tests.server import TEMPORAL
from tests.system import System, said


def raw(data: bytes, encoding: bytes | None = b"json/plain", **metadata: bytes) -> RawValue:
    """A payload as only a foreign client could send it."""
    fields = metadata | ({"encoding": encoding} if encoding is not None else {})
    return RawValue(Payload(metadata=fields, data=data))


async def failure_of(system: System, thread: str) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(system.workflow(thread).result(), 10)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause


async def temporal_cli(system: System, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        TEMPORAL,
        *arguments,
        "--address",
        system.client.service_client.config.target_host,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    return output.decode()


# --- every way in


async def test_a_prompt_by_signal_with_start_is_answered(system: System, thread: str) -> None:
    system.model.script("Hello Ada!")
    await system.threads.signal(thread, Prompt(id="a", content="I am Ada."))
    await system.ended(thread, "a")
    assert said(await system.rows(thread)) == [
        ("user", "answered", "I am Ada."),
        ("assistant", "complete", "Hello Ada!"),
    ]


async def test_a_prompt_by_update_with_start_is_answered(system: System, thread: str) -> None:
    system.model.script("Hello Ada!")
    receipt = await system.submit(thread, "I am Ada.")
    assert receipt.disposition == "started"
    await system.ended(thread, receipt.prompt_id)
    assert said(await system.rows(thread)) == [
        ("user", "answered", "I am Ada."),
        ("assistant", "complete", "Hello Ada!"),
    ]


async def test_an_update_of_plain_json_gets_a_receipt_and_an_id(system: System, thread: str) -> None:
    """As a client of another language would."""
    handle = await system.start(thread, {})
    receipt = await handle.execute_update("submit", {"content": "Hi"})
    assert receipt == {"prompt_id": receipt["prompt_id"], "disposition": "started"}
    [prompt] = await system.ended(thread, receipt["prompt_id"])
    assert prompt.status == "answered"


async def test_a_signal_of_plain_json_without_an_id_is_answered(system: System, thread: str) -> None:
    handle = await system.start(thread, {})
    await handle.signal("prompt", {"content": "Hi", "agent": "poet", "author": "Ada", "metadata": {"a": 1}})

    async def answered() -> bool:
        return [row.status for row in await system.rows(thread)] == ["answered", "complete"]

    await system.until(answered)
    [prompt, answer] = await system.rows(thread)
    assert (prompt.text, prompt.author, prompt.agent, prompt.metadata) == ("Hi", "Ada", "poet", {"a": 1})
    assert answer.agent == "poet"
    assert system.asked()[0]["content"] == "Rhyme."


async def test_update_with_start_of_plain_json_is_answered(system: System, thread: str) -> None:
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "AgentThread",
        id=ids.workflow_id(thread),
        task_queue=system.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    receipt = await system.client.execute_update_with_start_workflow(
        "submit", {"content": "Hi", "id": "a"}, start_workflow_operation=start, result_type=Receipt
    )
    assert receipt == Receipt(prompt_id="a", disposition="started")
    await system.ended(thread, "a")


@pytest.mark.parametrize("inputs", [[], [None], [{}]], ids=["nothing", "null", "empty"])
async def test_a_thread_starts_with_nothing(system: System, thread: str, inputs: list[Any]) -> None:
    await system.start(thread, *inputs, start_signal="prompt", start_signal_args=[{"content": "Hi", "id": "a"}])
    [prompt] = await system.ended(thread, "a")
    assert (prompt.status, prompt.agent) == ("answered", "assistant")


async def test_a_start_input_says_who_owns_the_thread_and_who_answers(system: System, thread: str) -> None:
    start = {"agent": "poet", "owner": "ada \U0001f600\x00", "tenant": "acme", "metadata": {"a": 1.5}}
    await system.start(thread, start, start_signal="prompt", start_signal_args=[{"content": "Hi", "id": "a"}])
    await system.ended(thread, "a")
    record = await system.record(thread)
    assert record.model_dump(include={"agent", "owner", "tenant", "metadata"}) == start
    assert {(row.owner, row.tenant, row.agent) for row in await system.rows(thread)} == {
        (start["owner"], "acme", "poet")
    }


async def test_who_owns_a_thread_is_said_once(system: System, thread: str) -> None:
    """A start input counts only when the thread is opened for the first time."""
    await system.start(thread, {"owner": "ada", "agent": "poet"})
    await system.submit(thread, "Hi", id="a")
    await system.workflow(thread).terminate()
    await system.start(thread, {"owner": "eve", "agent": "assistant"})
    await system.ask(thread, "Hi again", id="b")
    record = await system.record(thread)
    assert (record.owner, record.agent, record.epoch) == ("ada", "poet", 2)
    assert (await system.prompt(thread, "b")).agent == "poet"


async def test_the_temporal_command_line_can_prompt_a_thread(system: System, thread: str) -> None:
    await temporal_cli(
        system,
        *("workflow", "signal-with-start", "--workflow-id", f"thread/{thread}", "--type", "AgentThread"),
        *("--task-queue", system.task_queue, "--signal-name", "prompt"),
        *("--signal-input", json.dumps({"content": "From a shell", "id": "a"}), "--input", "{}"),
    )
    await system.ended(thread, "a")
    await temporal_cli(
        system,
        *("workflow", "signal", "--workflow-id", f"thread/{thread}", "--name", "prompt"),
        *("--input", json.dumps({"content": "Once more", "id": "b"})),
    )
    await system.ended(thread, "b")
    assert [row.text for row in await system.rows(thread) if row.role == "user"] == ["From a shell", "Once more"]


# --- what is no prompt

WRONG_SIGNALS: list[tuple[str, list[Any], str]] = [
    ("number", [5], "a prompt is a JSON object"),
    ("nothing", [], "prompt takes one argument, a JSON object; 0 were sent"),
    ("two", [{"content": "a"}, {"content": "b"}], "prompt takes one argument, a JSON object; 2 were sent"),
    ("null", [None], "not null"),
    ("other field", [{"text": "Hi"}], "content is missing"),
    ("no text", [{"content": ["Hi"]}], "content part 1 is not of the form"),
    ("broken JSON", [raw(b'{"content": ')], "not valid JSON"),
    ("deep JSON", [raw(b"[" * 100_000)], "not valid JSON"),
    ("deep object", [raw(b'{"content": ' + b"[" * 500 + b"]" * 500 + b"}")], "content part 1 is not of the form"),
    ("no Unicode", [raw(b'{"content": "\xff\xfe"}')], "not valid JSON"),
    ("half a character", [raw(rb'{"content": "a\ud83d"}')], "half a surrogate pair"),
    ("half a character elsewhere", [raw(rb'"\ud83d"')], "not a string ('\\ud83d')"),
    ("a huge number", [raw(b"1" * 20_000)], "not valid JSON"),
    ("a large number", [raw(b'{"content": "a", "metadata": {"n": 1' + b"0" * 4_200 + b"}}")], "beyond 64 bits"),
    ("a large number alone", [raw(b"1" + b"0" * 4_299)], "not a number"),
    ("infinity", [raw(b'{"content": "a", "metadata": {"n": 1e999}}')], "NaN or Infinity"),
    ("bytes", [b"abc"], "not something else"),
    ("another encoding", [raw(b"x", b"acme/secret")], "the payload's encoding is 'acme/secret', send json/plain"),
    ("an encoding of no text", [raw(b"x", b"\xff\xfe")], "the payload's encoding is"),
    ("no encoding", [raw(b"{}", None)], "the payload's encoding is '', send json/plain"),
    ("an encrypted payload", [raw(b"\x00\x01", b"binary/encrypted")], "the payload's encoding is 'binary/encrypted'"),
    ("an unknown message", [raw(b"{}", b"json/protobuf", messageType=b"a.B")], "encoding is 'json/protobuf'"),
    (
        "a broken message",
        [raw(b"\xff", b"binary/protobuf", messageType=b"temporal.api.common.v1.Payload")],
        "encoding is 'binary/protobuf'",
    ),
    (
        "a broken JSON message",
        [raw(b'{"nope": 1}', b"json/protobuf", messageType=b"temporal.api.common.v1.Payload")],
        "encoding is 'json/protobuf'",
    ),
]


@pytest.mark.parametrize(("inputs", "words"), [wrong[1:] for wrong in WRONG_SIGNALS], ids=[w[0] for w in WRONG_SIGNALS])
async def test_a_signal_of_the_wrong_shape_is_recorded_and_the_thread_still_answers(
    system: System, thread: str, inputs: list[Any], words: str
) -> None:
    handle = await system.start(thread)
    await handle.signal("prompt", args=inputs)
    [refused] = await system.refused(thread)
    assert words in (refused.error or "")
    assert await system.ask(thread, "Hi", id="a") == "You said: Hi"
    assert [data["error"] for data in system.events.of(thread, "prompt.refused")] == [refused.error]


async def test_a_hundred_wrong_signals_at_once_are_all_told(system: System, thread: str) -> None:
    handle = await system.start(thread)
    await asyncio.gather(*(handle.signal("prompt", number) for number in range(150)))
    await system.ask(thread, "Hi", id="a")
    reasons = [row.error or "" for row in await system.refused(thread)]
    told = sum(int(reason.split()[0]) if "more were refused" in reason else 1 for reason in reasons)
    assert told == 150


async def test_a_signal_of_an_unknown_name_is_recorded(system: System, thread: str) -> None:
    handle = await system.start(thread)
    await handle.signal("promtp", {"content": "Hi"})
    await handle.signal("\x00" * 300, "x")
    first, second = await system.refused(thread, 2)
    assert (
        first.error
        == "signal a string ('promtp') is not known; the signals are: edit, hand_back, interrupt, prompt, regenerate, "
        "resolve, resume, roll, say, take_over, withdraw"
    )
    assert len(second.error or "") < 220
    assert await system.ask(thread, "Hi", id="a") == "You said: Hi"


@pytest.mark.parametrize(("inputs", "words"), [wrong[1:] for wrong in WRONG_SIGNALS], ids=[w[0] for w in WRONG_SIGNALS])
async def test_an_update_of_the_wrong_shape_is_refused_in_words(
    system: System, thread: str, inputs: list[Any], words: str
) -> None:
    handle = await system.start(thread)
    await system.idle(thread)
    before = len(await system.history(thread))
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await handle.execute_update("submit", args=inputs)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "InputRefusedError"
    assert words.replace("prompt takes", "submit takes") in cause.message
    assert len(await system.history(thread)) == before, "a refused update leaves no event"


# --- what is no start

WRONG_STARTS: list[tuple[str, list[Any], str]] = [
    ("number", [5], "the start input is a JSON object"),
    ("wrong field", [{"agent": 7}], "start input: agent"),
    ("unknown field", [{"agnet": "x"}], "start input: 'agnet' is not a field; the fields are agent, owner"),
    ("forged state", [{"state": {"epoch": 7, "next_turn": 99}}], "'state' is not a field"),
    ("two", [{}, {}], "AgentThread takes one argument"),
    ("broken JSON", [raw(b"{{")], "not valid JSON"),
    ("another encoding", [raw(b"x", b"acme/secret")], "the payload's encoding is 'acme/secret'"),
    (
        "a broken message",
        [raw(b"\xff", b"binary/protobuf", messageType=b"temporal.api.common.v1.Payload")],
        "encoding is 'binary/protobuf'",
    ),
]


@pytest.mark.parametrize(("inputs", "words"), [wrong[1:] for wrong in WRONG_STARTS], ids=[w[0] for w in WRONG_STARTS])
async def test_a_start_that_does_not_parse_fails_in_words_and_records_what_came_with_it(
    system: System, thread: str, inputs: list[Any], words: str
) -> None:
    await system.start(thread, *inputs, start_signal="prompt", start_signal_args=[{"content": "Hello?", "id": "a"}])
    failure = await failure_of(system, thread)
    assert failure.type == "InvalidStart"
    assert words in failure.message
    assert [(row.status, row.text) for row in await system.rows(thread)] == [
        ("refused", "start of the thread"),
        ("refused", "Hello?"),
    ]
    assert not system.model.requests


async def test_after_a_start_that_failed_the_thread_can_be_started_and_prompted(system: System, thread: str) -> None:
    await system.start(thread, 5, start_signal="prompt", start_signal_args=[{"content": "Hello?", "id": "a"}])
    await failure_of(system, thread)
    assert await system.ask(thread, "Hello?", id="a") == "You said: Hello?"
    assert (await system.record(thread)).epoch == 1


async def test_an_update_to_a_start_that_does_not_parse_is_refused(system: System, thread: str) -> None:
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "AgentThread",
        args=[{"state": {}}],
        id=ids.workflow_id(thread),
        task_queue=system.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await system.client.execute_update_with_start_workflow(
            "submit", {"content": "Hi"}, start_workflow_operation=start
        )
    assert "'state' is not a field" in str(failed.value.cause)
    assert (await failure_of(system, thread)).type == "InvalidStart"


async def test_a_workflow_id_that_names_no_thread_is_refused(system: System, thread: str) -> None:
    handle = await system.client.start_workflow("AgentThread", id=thread, task_queue=system.task_queue)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert "a thread's is thread/<thread_id>" in str(failed.value.cause)


async def test_a_thread_may_have_any_printable_name(system: System, thread: str) -> None:
    name = f"{thread}ä \U0001f600"
    await system.start(name, start_signal="prompt", start_signal_args=[{"content": "Hi", "id": "a"}])
    [prompt] = await system.ended(name, "a")
    assert prompt.status == "answered"


@pytest.mark.parametrize("ending", ["/b", "x" * 300, "\x7f", " "])
async def test_a_name_that_no_door_could_reach_is_refused_at_the_start(
    system: System, thread: str, ending: str
) -> None:
    name = thread + ending
    await system.start(name, start_signal="prompt", start_signal_args=[{"content": "Hi", "id": "a"}])
    failure = await failure_of(system, name)
    assert (failure.type, "printable characters" in failure.message) == ("InvalidStart", True)


async def test_a_cron_schedule_cannot_bring_state(system: System, thread: str) -> None:
    forged = {"state": {"epoch": 1_000_000, "next_turn": 777}}
    await system.client.start_workflow(
        "AgentThread", forged, id=f"thread/{thread}", task_queue=system.task_queue, cron_schedule="@every 1s"
    )
    handle = system.client.get_workflow_handle(f"thread/{thread}")
    first = (await handle.describe()).run_id

    async def second_has_ended() -> bool:
        runs = [r async for r in system.client.list_workflows(f'WorkflowId = "thread/{thread}"')]
        return any(r.run_id != first and r.close_time is not None for r in runs)

    await system.until(second_has_ended)
    await handle.terminate()
    rows = await system.rows(thread)
    assert {row.status for row in rows} == {"refused"}
    assert all("state' is not a field" in str(row.error) for row in rows)


async def test_a_retried_run_cannot_bring_state(system: System, thread: str) -> None:
    """It continues another, but with what the caller gave."""
    retry = RetryPolicy(maximum_attempts=3, initial_interval=timedelta(milliseconds=10))
    await system.start(thread, {"state": {"epoch": 7, "owner": "eve"}}, retry_policy=retry)
    assert "'state' is not a field" in (await failure_of(system, thread)).message
    assert await system.store.get_thread(thread) is None


async def test_a_thread_may_have_any_other_name(system: System, thread: str) -> None:
    name = f"Gr\u00fc\u00dfe an \U0001f600 {thread} \\ %2F ?#"
    assert await system.ask(name, "Hi") == "You said: Hi"
