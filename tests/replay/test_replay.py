"""Today's code understands yesterday's threads: every recorded history replays."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from runtime.temporal import DATA_CONVERTER
from tests.replay.record import FOLDER, KINDS, KINDS_THAT_ROLL
from workflows.erase import Erase
from workflows.memory import KeepMemory
from workflows.thread import AgentThread

FILES = sorted(FOLDER.glob("*.json"))
Events = list[dict[str, Any]]


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def events_of(file: Path) -> Events:
    events: Events = json.loads(text_of(file))["events"]
    return events


def has(*words: str) -> Callable[[Events], bool]:
    """Whether the history shows all of this, wherever."""
    return lambda events: all(word in json.dumps(events) or word in _payloads(events) for word in words)


def _payloads(value: Any) -> str:
    """All that the payloads of a history say."""
    if isinstance(value, list):
        return "\n".join(map(_payloads, value))
    if not isinstance(value, dict):
        return ""
    data = value.get("data")
    own = base64.b64decode(data).decode("utf-8", "replace") if isinstance(data, str) else ""
    return "\n".join([own, *map(_payloads, value.values())])


# What must have been recorded at least once, and how a history shows it.
SHOWN_BY: dict[str, Callable[[Events], bool]] = {
    "an answer": has("call_model", '"preview":"You said'),
    "a prompt by signal": has("WORKFLOW_EXECUTION_SIGNALED", '"content":"And you?"'),
    "a prompt by update": has("WORKFLOW_EXECUTION_UPDATE_ACCEPTED"),
    "a turn with tools": has('"name": "run_tool"', '"plan":'),
    "a failed turn": has('"name": "close_turn"', '"error":'),
    "refusals": has('"name": "close_turn"', '"refusals":'),
    "a start that does not parse": has("WORKFLOW_EXECUTION_FAILED", "InvalidStart"),
    "waiting prompts that were saved": has("save_prompts"),
    "a run that rolls": has("WORKFLOW_EXECUTION_CONTINUED_AS_NEW"),
    "a run that continues another in a turn": lambda events: (
        "continuedExecutionRunId" in str(events[0]) and '"running"' in _payloads(events[0])
    ),
    "a thread opened again": has('"epoch":2'),
    "an interrupted turn": has('"name": "close_turn"', '"status":"interrupted"'),
    "an interrupted activity": has("ACTIVITY_TASK_CANCEL_REQUESTED", '"finish":"interrupted"'),
    "a turn that was stopped before its activity ran": has("ACTIVITY_TASK_CANCELED", '"status":"interrupted"'),
    "an ask of what the thread had forgotten": has("find_turn"),
    "a steered prompt": has('"joined":["b"]'),
    "a turn that took another step for a prompt": has('"joined":["d"]'),
    "a replaced turn": has('"replaced_by":"g"'),
    "a prompt withdrawn, and one edited": has('"disposition":"withdrawn"', '"disposition":"edited"'),
    "a turn answered anew": has("regenerate", '"branch":1'),
    "a turn gone on with": has("resume", '"branch":1,"step":1'),
    "a turn that was routed": has('"agent":"desk"', '"agent":"router"'),
    "a turn that was handed over": has("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", '"agent":"poet"'),
    "an operator who takes over": has("note_operator", '"disposition":"taken_over"'),
    "what an operator says, and the hand-back": has("save_said", '"signalName": "hand_back"'),
    "a roll while an operator has the thread": lambda events: '"operator":"ada"' in _payloads(events[0]),
    "a reply": has('"name": "deliver"', '"status":"undeliverable"'),
    "an idle thread that ended": has("TIMER_FIRED", "WORKFLOW_EXECUTION_COMPLETED"),
    "a thread that does not exist": has("UnknownThreadError"),
    "a thread of which a turn was erased": has('"prompt_ids":["a"]', "WORKFLOW_EXECUTION_CONTINUED_AS_NEW"),
    "a deleted thread that is spoken to": has("UnknownThreadError", "was deleted"),
    "an erasure": has("bury_threads", "verify_erasure", "end_erasure", "TIMER_FIRED"),
    "memory that the next worker goes on with": lambda events: (
        sum("keep_memory" in json.dumps(event) for event in events) > 1
    ),
    "a cancelled thread": has("WORKFLOW_EXECUTION_CANCELED"),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_recorded_history_replays(file: Path) -> None:
    replayer = Replayer(workflows=[AgentThread, Erase, KeepMemory], data_converter=DATA_CONVERTER)
    await replayer.replay_workflow(WorkflowHistory.from_json(f"thread/replay-{file.stem}", text_of(file)))


@pytest.mark.parametrize("kind", SHOWN_BY)
def test_every_kind_of_turn_is_recorded(kind: str) -> None:
    assert any(SHOWN_BY[kind](events_of(file)) for file in FILES)


@pytest.mark.parametrize("kind", [*KINDS, *KINDS_THAT_ROLL], ids=lambda kind: kind.__name__)
def test_what_can_be_recorded_was_recorded(kind: Callable[..., Any]) -> None:
    assert [file for file in FILES if file.stem.rpartition("-")[0] == kind.__name__ or file.stem == kind.__name__]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recording_tells_nothing_of_the_machine(file: Path) -> None:
    events = events_of(file)
    told = text_of(file) + _payloads(events)
    assert not re.search(r"\d+@\w|/(home|root|tmp|work|Users|usr)/|site-packages|Traceback", told)
    assert set(re.findall(r'"identity": "([^"]*)"', told)) <= {"worker"}
