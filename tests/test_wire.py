"""docs/wire.md tells the truth: its names, its JSON and its commands are those of a thread that runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client

from doubles.scripted_model import Reply, ToolCall
from tests import wire_docs
from tests.server import TEMPORAL
from tests.system import System, WatchedStore, new_thread, run_system
from tests.wire_docs import PAGE, WORKFLOW_ID
from workflows.interface import ENTRIES, GATED_ARGUMENTS, GATED_TOOL, TASK_QUEUE, Entry, names
from workflows.thread import AgentThread

BY_TITLE = {f"{entry.kind} {entry.name}".lower(): entry for entry in ENTRIES}


def commands_of_the_page() -> list[tuple[Entry, str]]:
    """Every command that the page shows, with the name it is shown for."""
    found: list[tuple[Entry, str]] = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title = section.partition("\n")[0].lower()
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
            found += [(BY_TITLE[title], line) for line in block.replace("\\\n", " ").splitlines()]
    return found


def named(value: object) -> str:
    return f"{value.kind}-{value.name}" if isinstance(value, Entry) else " ".join(str(value).split()[2:4])


@pytest.fixture
async def wired(temporal: Client, shared_store: WatchedStore) -> AsyncIterator[System]:
    """A system on the task queue that the page names."""
    async with run_system(temporal, shared_store, task_queue=TASK_QUEUE) as system:
        yield system


# --- the table


def test_the_table_has_the_names_of_the_workflow() -> None:
    defined = workflow._Definition.must_from_class(AgentThread)
    assert names("start") == [defined.name]
    for kind, handlers in (("signal", defined.signals), ("update", defined.updates), ("query", defined.queries)):
        assert sorted(names(kind)) == sorted(name for name in handlers if name)  # type: ignore[arg-type]


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_examples_are_what_the_models_take_and_give(entry: Entry) -> None:
    assert bool(entry.takes) == (entry.example is not None)
    assert bool(entry.gives) == (entry.answer is not None)
    if entry.takes:
        entry.takes.model_validate(entry.example, extra="forbid")
    if entry.gives:
        entry.gives.model_validate(entry.answer, extra="forbid")


# --- the page


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == wire_docs.page()


def test_the_page_shows_a_command_for_every_name() -> None:
    shown = [entry for entry, _ in commands_of_the_page()]
    assert [entry for entry in ENTRIES if entry not in shown] == []


@pytest.mark.parametrize(("entry", "command"), commands_of_the_page(), ids=named)
async def test_a_command_of_the_page_does_what_it_says(wired: System, entry: Entry, command: str) -> None:
    """It succeeds, its answer is of the documented shape, and the thread refuses nothing of it."""
    thread = new_thread()
    if entry.kind != "start":
        await _prepare(wired, thread, entry)
    if entry.operated:
        await wired.workflow(thread).execute_update("take_over", {"by": "ada"})
    answer = await _run(wired, thread, command)
    if entry.gives:
        _validate(entry.gives, answer)
    if entry.busy:
        wired.model.script()
        await wired.workflow(thread).signal("interrupt", {"prompt_id": "p-3"})
    await wired.idle(thread)
    assert [row.text for row in await wired.rows(thread) if row.status == "refused"] == []


async def _prepare(system: System, thread: str, entry: Entry) -> None:
    """Bring the thread to where the page says that it is."""
    await system.ask(thread, "Hello", id="p-1")
    if "interrupt" in names("signal"):
        system.model.script(Reply(text="one two three", hang_after_chunks=2))
        await system.submit(thread, "Count!", id="p-2")
        await system.streaming(thread, "one")
        await system.workflow(thread).signal("interrupt", {"prompt_id": "p-2"})
        await system.ended(thread, "p-2")
    if entry.gated:
        call = ToolCall(name=GATED_TOOL, arguments=GATED_ARGUMENTS, id="call_1")
        system.model.script(Reply(tool_calls=[call], times=1), "Done.")
        await system.submit(thread, "Refund!", id="p-3", agent="cashier")
        await system.waiting(thread)
    elif entry.busy:
        system.model.script(Reply(text="four five six", hang_after_chunks=2))
        await system.submit(thread, "And on!", id="p-3")
        await system.submit(thread, "And on!", id="p-4")
        await system.streaming(thread, "four")
    else:
        system.model.script()
        await system.idle(thread)


async def _run(system: System, thread: str, command: str) -> str:
    program, *arguments = shlex.split(command.replace(WORKFLOW_ID, f"thread/{thread}"))
    assert program == "temporal"
    process = await asyncio.create_subprocess_exec(
        TEMPORAL,
        *arguments,
        "--output",
        "json",
        env=os.environ | {"TEMPORAL_ADDRESS": system.client.service_client.config.target_host},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, complaint.decode()
    return output.decode()


def _validate(model: type[BaseModel], answer: str) -> None:
    told: Any = json.loads(answer)
    [value] = [told[key] for key in ("result", "updateResult", "queryResult") if key in told]
    value = value[0] if isinstance(value, list) else value
    # The command line shows an empty list as null.
    model.model_validate({field: part for field, part in value.items() if part is not None}, extra="forbid")
