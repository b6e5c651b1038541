"""Records the histories that tests/replay/test_replay.py replays: one of every kind of turn, from a real run.

    python -m tests.replay.record

To be run when a release changes what the thread does. Histories of earlier releases stay, since their threads live on:
a recording that exists is kept, unless `--again` says that it was never released.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from temporalio.client import Client, WorkflowHistory

from adapters.static_embed import StaticEmbedder
from catalog.tool import tool
from client.erasing import Erasures
from domain import keeping
from domain.agent import Agent
from domain.approvals import ApprovalPolicy, Resolution
from domain.erasure import read_erasure
from domain.prompts import Prompt, ReplyTo, ThreadStart
from doubles.scripted_model import Reply, ToolCall
from runtime.wiring import keep_memory
from tests.memories import memory_of
from tests.server import ROLL_EARLY, dev_server
from tests.system import System, WatchedStore, run_system
from workflows.interface import erase_id

FOLDER = Path(__file__).parent / "histories"
TASK_QUEUE = "everthread"
SCRUBBED = {"identity": "worker", "stackTrace": "", "buildId": "build", "binaryChecksum": "build"}

Record = Callable[[System, str], Awaitable[None]]


async def answer(system: System, thread: str) -> None:
    """By update with start, by update, by signal."""
    await system.ask(thread, "I am Ada.", id="a")
    await system.ask(thread, "Who am I?", id="b")
    await system.threads.signal(thread, Prompt(id="c", content="And you?"))
    await system.ended(thread, "c")


async def tool_turn(system: System, thread: str) -> None:
    system.model.script(
        Reply(tool_calls=[ToolCall(name="look"), ToolCall(name="pay", arguments={"amount": 5}), ToolCall(name="fly")]),
        Reply(after_tool=True, text="I read: {tool}"),
    )
    await system.ask(thread, "Look and pay.", id="a", agent="helper")


async def queued_tool(system: System, thread: str) -> None:
    """On a task queue of its own, tried twice."""
    tries: list[int] = []

    @tool(effect="read", queue="gpu", retries=1)
    async def train() -> str:
        """Train."""
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return "Trained."

    system.add_agent(Agent("trainer", tools=(train,)))
    system.model.script(Reply(tool_calls=[ToolCall(name="train")]), Reply(after_tool=True, text="I read: {tool}"))
    await system.start_worker(task_queue="gpu")
    await system.ask(thread, "Train!", id="a", agent="trainer")


async def failed_turn(system: System, thread: str) -> None:
    system.model.script(Reply(status=400, when="bad"), "Fine.")
    await system.submit(thread, "bad", id="a")
    await system.ended(thread, "a")
    await system.submit(thread, "Who?", id="b", agent="nobody")
    await system.ended(thread, "b")
    await system.ask(thread, "good", id="c")


async def refusals(system: System, thread: str) -> None:
    handle = await system.start(thread, {"owner": "ada"})
    await system.ask(thread, "Hi", id="a")
    for wrong in ([5], [], [{"text": "Hi"}], [{"id": "a", "content": "Another text"}]):
        await handle.signal("prompt", args=wrong)
    await handle.signal("promtp", "Hi")
    await system.refused(thread, 5)
    await system.threads.submit(thread, Prompt(id="a", content="Hi"))


async def invalid_start(system: System, thread: str) -> None:
    prompt = {"id": "a", "content": "Hi"}
    handle = await system.start(thread, {"state": {}}, start_signal="prompt", start_signal_args=[prompt])
    await asyncio.gather(handle.result(), return_exceptions=True)


async def waiting(system: System, thread: str) -> None:
    """Prompts that are saved while a turn runs, one too large to travel, one that the store has already."""
    system.model.script(Reply(text="Wait …", when="first", first_delay_s=0.5), "Yes.")
    await system.submit(thread, "first", id="first")
    await system.submit(thread, "x" * 40_000, id="large")
    for name in "abc":
        await system.submit(thread, f"I am {name}", id=name)
    await system.ended(thread, "first", "large", *"abc")


async def reopened(system: System, thread: str) -> None:
    """A thread that was terminated in the middle of an answer, with a prompt waiting."""
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "Count!", id="a")
    await system.submit(thread, "And on!", id="b")

    async def saved() -> bool:
        return len(await system.store.open_prompts(thread, 9)) == 2

    await system.until(saved)
    await system.workflow(thread).terminate()
    system.model.script("one two three", cycle=True)
    await system.threads.ensure_running(thread)
    await system.ended(thread, "a", "b")


async def cancelled(system: System, thread: str) -> None:
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one")
    handle = system.workflow(thread)
    await handle.cancel()
    await asyncio.gather(handle.result(), return_exceptions=True)


async def interrupted(system: System, thread: str) -> None:
    """By signal in an answer, by a prompt in a tool, by update while the model is away."""
    system.model.script(
        Reply(when="Count", text="one two three", hang_after_chunks=2),
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold"), ToolCall(name="look")]),
        Reply(when="Away", status=503, headers={"retry-after": "30"}),
        "Yes.",
    )
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one two")
    await system.workflow(thread).signal("interrupt", {"turn": 1})
    await system.ended(thread, "a")
    await system.submit(thread, "Hold!", id="b", agent="helper")
    await system.until(lambda: _heard(system, thread, "tool.finished"))
    await system.submit(thread, "Away!", id="c", mode="interrupt")
    await system.until(lambda: _heard(system, thread, "model.retrying"))
    await system.threads.interrupt(thread, prompt_id="c")
    await system.ended(thread, "b", "c")


async def _heard(system: System, thread: str, kind: Any) -> bool:
    return bool(system.events.of(thread, kind))


async def asked(system: System, thread: str) -> None:
    """By `ask`, again under the same id after the thread was opened again, and before it was told to roll."""
    await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    await system.idle(thread)
    await system.workflow(thread).terminate()
    await system.threads.ask(thread, Prompt(id="a", content="Hi"))
    await system.threads.ask(thread, Prompt(id="b", content="Ho"))
    await system.workflow(thread).signal("roll")
    await system.threads.ask(thread, Prompt(id="c", content="Hm"))


async def steered(system: System, thread: str) -> None:
    """Into a turn with tools, behind the model's last word, and one too late for a turn that was replaced."""
    system.model.script(
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")]),
        Reply(when="Slow", text="one two three four", delay_s=0.2),
        Reply(when="Count", text="one two three", hang_after_chunks=2),
        "Fine.",
    )
    await system.submit(thread, "Hold!", id="a", agent="helper")
    await system.until(lambda: _heard(system, thread, "tool.started"))
    await system.submit(thread, "Hurry!", id="b", mode="steer")
    system.bench.release()
    await system.ended(thread, "a", "b")
    await system.submit(thread, "Slow!", id="c")
    await system.streaming(thread, "one")
    await system.submit(thread, "And?", id="d", mode="steer")
    await system.ended(thread, "d")
    await system.idle(thread)
    await system.submit(thread, "Count!", id="e")
    await system.streaming(thread, "one two")
    await system.submit(thread, "Late!", id="f", mode="steer")
    await system.submit(thread, "Never mind.", id="g", mode="replace")
    await system.ended(thread, "e", "f", "g")


async def changed(system: System, thread: str) -> None:
    """Prompts withdrawn and edited, turns answered anew and gone on with; replies to nobody."""
    reply_to = ReplyTo(workflow_id="nobody", within_s=0.1)
    handle = system.workflow(thread)
    system.model.script(Reply(text="one two three", when="Count", hang_after_chunks=2), "Yes.")
    await system.submit(thread, "Count!", id="a", reply_to=reply_to)
    await system.streaming(thread, "one two")
    for name in "bcd":
        await system.submit(thread, f"I am {name}", id=name, reply_to=reply_to)
    await handle.execute_update("withdraw", {"prompt_id": "b"})
    await handle.execute_update("edit", {"prompt_id": "c", "content": "I am Carl"})
    await handle.signal("withdraw", {"prompt_id": "d"})
    await handle.signal("edit", {"prompt_id": "a", "content": "too late"})
    await system.threads.interrupt(thread)
    await system.ended(thread, *"abcd")
    await system.idle(thread)
    system.model.script()
    for name in ("regenerate", "resume"):
        await handle.execute_update(name, {"prompt_id": "a"})
        await system.idle(thread)
        await handle.signal(name, {"prompt_id": "c"})
        await system.threads.ask(thread, Prompt(id=f"after-{name}", content="Hm"))


async def gated(system: System, thread: str) -> None:
    """Calls that wait: approved, denied, past their deadline, of a tool that others run, rolled over, interrupted."""
    calls = [ToolCall(name="refund", arguments={"amount": n}, id=f"c{n}") for n in (1, 2)]
    calls += [ToolCall(name="measure", id="m"), ToolCall(name="look", id="l")]
    system.model.script(
        Reply(when="Refund", step=1, tool_calls=calls),
        Reply(when="Pay", step=1, tool_calls=[ToolCall(name="pay", arguments={"amount": 3})]),
        "Done.",
    )
    system.catalog._agents["cashier"] = replace(
        await system.catalog.agent("cashier"),
        approvals=ApprovalPolicy(remind_s=0.1, notify=ReplyTo(workflow_id="nobody", within_s=0.1)),
    )
    policy = ApprovalPolicy(require=("pay",), deadline_s=0.2)
    system.catalog._agents["strict"] = Agent("strict", tools=system.bench.tools(), approvals=policy)
    handle = system.workflow(thread)
    await system.submit(thread, "Refund!", id="a", agent="cashier")
    waiting = {call["call_id"]: call for call in await system.waiting(thread, 3)}
    await handle.signal("resolve", {"call_id": "c2", "decision": "deny", "reason": "no"})
    await handle.signal("roll")
    await system.waiting(thread, 2)
    await system.threads.resolve(thread, Resolution(call_id="c1", decision="approve", digest=waiting["c1"]["digest"]))
    await handle.signal("resolve", {"call_id": "m", "decision": "result", "result": 5})
    await system.ended(thread, "a")
    await system.submit(thread, "Pay!", id="b", agent="strict")
    await system.ended(thread, "b")
    await system.submit(thread, "Refund!", id="c", agent="cashier")
    await system.waiting(thread, 3)
    await system.threads.interrupt(thread)
    await system.ended(thread, "c")


async def handed_over(system: System, thread: str) -> None:
    """To the agent that a route chose, then by that one to another, which asks a third."""
    asks = ToolCall(name="transfer_to_poet")
    system.model.script(
        Reply(when="desk", step=1, tool_calls=[asks, ToolCall(name="look")]), Reply(after_tool=True, text="Fine.")
    )
    await system.submit(thread, "desk: a rhyme?", id="a", agent="router")
    await system.ended(thread, "a")
    system.model.script(
        Reply(when="Ask", step=1, tool_calls=[ToolCall(name="ask_poet", arguments={"prompt": "A rhyme?"})]),
        Reply(when="Ask", step=2, text="{tool}"),
        "Time, dime.",
    )
    await system.ask(thread, "Ask!", id="b", agent="lead")


async def operated(system: System, thread: str) -> None:
    """Taken over in the middle of a turn, which goes on; by update and by signal; through a roll."""
    system.model.script(
        Reply(when="Hold", step=1, tool_calls=[ToolCall(name="hold")]), Reply(after_tool=True, text="So."), "Yes."
    )
    await system.submit(thread, "Hold!", id="a", agent="helper")
    await system.until(lambda: _heard(system, thread, "tool.started"))
    await system.threads.take_over(thread, "ada")
    await system.submit(thread, "Anybody?", id="b")
    system.bench.release()
    await system.threads.say(thread, "Yes, Ada here.", "ada", prompt_id="b")
    handle = system.workflow(thread)
    await handle.signal("roll")
    await system.threads.say(thread, "Unasked.", "ada")
    await handle.signal("say", {"content": "Unasked too.", "by": "ada"})
    await handle.signal("take_over", {"by": "bob"})
    await handle.signal("hand_back", {"by": "ada"})
    await handle.signal("hand_back", {"by": "ada"})
    await system.ask(thread, "And you?", id="c")


async def asleep(system: System, thread: str) -> None:
    """It ends when nobody talks to it."""
    await system.ask(thread, "Hi", id="a", start=ThreadStart(idle_timeout_s=0.3))
    await system.workflow(thread).result()


async def must_exist(system: System, thread: str) -> None:
    """It does not, and is not made."""
    start = {"must_exist": True}
    handle = await system.start(thread, start, start_signal="prompt", start_signal_args=[{"content": "Hi"}])
    await asyncio.gather(handle.result(), return_exceptions=True)


async def forgotten(system: System, thread: str) -> None:
    """A turn of it is erased; it goes on."""
    await system.ask(thread, "My card is 4711.", id="a")
    await system.ask(thread, "Thanks.", id="b")
    await erased(system, thread, {"thread": thread, "turns": {"first": 1, "last": 1}})
    await system.ask(thread, "What is my card?", id="c")


async def deleted(system: System, thread: str) -> None:
    """In the middle of an answer; then it is spoken to."""
    system.model.script(Reply(text="one two three", hang_after_chunks=2))
    await system.submit(thread, "Count!", id="a")
    await system.streaming(thread, "one")
    await erased(system, thread, {"thread": thread})
    await system.threads.signal(thread, Prompt(id="b", content="Are you there?"))
    await asyncio.gather(system.workflow(thread).result(), return_exceptions=True)


async def kept(system: System, thread: str) -> None:
    """Its memory is kept, by one worker and then by the next."""
    await _with_memory(system)
    await keep_memory(system.client, system.task_queue)
    await system.ask(thread, "Hello", id="a")

    async def indexed() -> bool:
        return all(row.index == "done" for row in await system.rows(thread))

    await system.until(indexed)
    await system.stop_workers()  # the activity ends with its worker
    await _with_memory(system)
    keeper = system.client.get_workflow_handle(keeping.workflow_id(system.task_queue))

    async def goes_on() -> bool:
        history = await keeper.fetch_history()
        return sum(event.HasField("activity_task_scheduled_event_attributes") for event in history.events) > 1

    await system.until(goes_on)
    await keeper.terminate()


async def _with_memory(system: System) -> None:
    await system.stop_workers()
    await system.start_worker(memory=memory_of(system.store, StaticEmbedder.load()))


async def erased(system: System, thread: str, what: dict[str, Any]) -> None:
    erasures = Erasures(system.threads)
    erasure = await erasures.begin(read_erasure({"id": f"e-{thread}"} | what), settle_s=0.1)
    await erasures.receipt(erasure, wait=True)


async def roll(system: System, thread: str) -> None:
    """In the middle of a turn: tools before, answer after."""
    system.model.script(
        *(Reply(step=step, tool_calls=[ToolCall(name="look")]) for step in range(1, 10)), Reply(step=10, text="Seen.")
    )
    await system.ask(thread, "Look nine times!", id="a", agent="helper")
    await system.ask(thread, "And again!", id="b", agent="helper")


KINDS: list[Record] = [
    answer,
    tool_turn,
    queued_tool,
    failed_turn,
    refusals,
    invalid_start,
    waiting,
    reopened,
    cancelled,
    interrupted,
    asked,
    steered,
    changed,
    gated,
    handed_over,
    operated,
    asleep,
    must_exist,
    forgotten,
    deleted,
    kept,
]
MEMORY = (kept,)  # of which the history of the memory's own workflow is recorded too
ERASED = (forgotten, deleted)  # of which the erasure's own history is recorded too
KINDS_THAT_ROLL: list[Record] = [roll]


def scrubbed(value: Any) -> Any:
    """Without what tells of the machine: its name, its processes, its folders."""
    if isinstance(value, dict):
        return {key: SCRUBBED.get(key) if key in SCRUBBED else scrubbed(inner) for key, inner in value.items()}
    return [scrubbed(inner) for inner in value] if isinstance(value, list) else value


def _without_sticky_queues(history: dict[str, Any]) -> dict[str, Any]:
    """A sticky queue is named after the process."""
    for event in history["events"]:
        queue = event.get("workflowTaskScheduledEventAttributes", {}).get("taskQueue", {})
        if queue.get("kind") == "TASK_QUEUE_KIND_STICKY":
            queue["name"] = "sticky"
    return history


def save(name: str, history: WorkflowHistory) -> None:
    FOLDER.mkdir(exist_ok=True)
    tidy = scrubbed(_without_sticky_queues(history.to_json_dict()))
    (FOLDER / f"{name}.json").write_text(json.dumps(tidy, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"{name}: {len(history.events)} events")  # noqa: T201


async def _record(client: Client, store: WatchedStore, kinds: list[Record], *, again: bool) -> None:
    for kind in kinds:
        name = kind.__name__
        if not again and list(FOLDER.glob(f"{name}*.json")):
            continue
        thread = f"replay-{name.replace('_', '-')}"
        async with run_system(client, store, task_queue=TASK_QUEUE) as system:
            await kind(system, thread)
            if kind not in (invalid_start, cancelled, asleep, must_exist, deleted):
                await system.idle(thread)
            runs = await system.runs(thread)
            if kind in ERASED:
                erasure = erase_id(f"e-{thread}")
                save(f"erase_{name}", await client.get_workflow_handle(erasure).fetch_history())
            if kind in MEMORY:
                keeper = client.get_workflow_handle(keeping.workflow_id(TASK_QUEUE))
                save(f"memory_{name}", await keeper.fetch_history())
        for number, events in enumerate(runs, start=1):
            suffix = f"-{number}" if len(runs) > 1 else ""
            save(name + suffix, WorkflowHistory(f"thread/{thread}", events))


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.replay.record", description=__doc__)
    parser.add_argument("--again", action="store_true", help="record also what is recorded")
    again = parser.parse_args().again
    logging.disable(logging.CRITICAL)  # calls that are cut off are part of the recording
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        store = WatchedStore(Path(folder))
        async with dev_server() as client:
            await _record(client, store, KINDS, again=again)
        async with dev_server(ROLL_EARLY) as client:
            await _record(client, store, KINDS_THAT_ROLL, again=again)
        store.close()


if __name__ == "__main__":
    asyncio.run(main())
