"""What a run took and may not have dealt with, read from its history, so that another run can be sent it again.

Whatever is in doubt is sent again: each prompt has an id, and a thread takes an id once. A prompt that came without an id
gets the one that the run itself gave it, or would have given it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from domain import ids
from domain.errors import InputRefusedError
from domain.messages import preview
from domain.prompts import Prompt, ThreadStart, read_prompt, read_start
from workflows.inputs import one_value
from workflows.interface import names

PROMPTS = names("update", Prompt)
# Signals that say something about a prompt: repeating them changes nothing. (An interrupt that names no turn would stop
# whatever runs by then.)
WISHES = ("withdraw", "edit", "regenerate", "resume", "interrupt")


@dataclass
class Salvage:
    """What is to be sent again, oldest first; `left` says of other things that were not looked at why they are not."""

    run_id: str
    start: ThreadStart = field(default_factory=ThreadStart)
    task_queue: str = ""
    prompts: dict[str, Prompt] = field(default_factory=dict)
    wishes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)  # ids of all prompts that the run was sent, and all wishes


async def salvage(run_id: str, events: Sequence[HistoryEvent], converter: DataConverter) -> Salvage:
    """From the history of one run."""
    reading = _Reading(Salvage(run_id), converter, _last_completed(events))
    for event in events:
        await reading.take(event)
    return reading.found


def wish_key(name: str, value: Any) -> str:
    """Tells whether two signals say the same."""
    return json.dumps([name, value], sort_keys=True)


def _last_completed(events: Sequence[HistoryEvent]) -> int:
    """The event up to which the run has seen its history: what came in later it has not looked at."""
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return max((event.event_id for event in events if event.event_type == done), default=0)


class _Reading:
    """Goes through the events in their order; what is found out to be dealt with is `settled`."""

    def __init__(self, found: Salvage, converter: DataConverter, seen: int) -> None:
        self.found, self._converter, self._seen = found, converter, seen
        self._thread, self._signals = "", 0
        self._settled: set[str] = set()
        self._requests: dict[int, dict[str, Any]] = {}  # of activities, by the event that scheduled them
        self._updates: dict[int, tuple[str, Any]] = {}  # accepted, by event: their name and input, or the prompt's id
        self._handlers = {
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: self._started,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: self._signalled,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: self._accepted,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: self._answered,
            EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: self._scheduled,
            EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: self._completed,
        }

    async def take(self, event: HistoryEvent) -> None:
        if handler := self._handlers.get(event.event_type):
            await handler(event)

    async def _started(self, event: HistoryEvent) -> None:
        started = event.workflow_execution_started_event_attributes
        self.found.task_queue = started.task_queue.name
        self._thread = ids.thread_of(started.workflow_id) or ""
        value = await self._value(started.input, "start")
        if isinstance(value, dict) and "state" in value:
            self._carried(value["state"])
        else:
            self.found.start = _read_start(value)

    def _carried(self, state: Mapping[str, Any]) -> None:
        """Prompts that the run before handed over, and that were not in the store yet."""
        for waiting in [state.get("running") or {}, *state.get("inbox", []), *state.get("steered", [])]:
            if waiting.get("prompt") and not waiting.get("saved"):
                self._prompt(waiting["prompt"], waiting["prompt"].get("id", ""))

    async def _signalled(self, event: HistoryEvent) -> None:
        signal = event.workflow_execution_signaled_event_attributes
        self._signals += 1
        given = ids.given_prompt_id(self.found.run_id, self._signals)
        value, seen = await self._value(signal.input, signal.signal_name), event.event_id <= self._seen
        self.found.heard.add(wish_key(signal.signal_name, value))
        if signal.signal_name == "prompt":
            self._prompt(value, given, event=0 if seen else event.event_id)
        elif seen:
            self._done(signal.signal_name, value)
        else:
            self._wish(signal.signal_name, value, given, event.event_id)

    def _prompt(self, value: Any, given: str, event: int = 0) -> str | None:
        """Note a prompt and return its id, unless the id came before. `event` is 0 if the run has looked at it."""
        try:
            prompt = read_prompt(value)
        except InputRefusedError as error:
            if event:
                self.found.left.append(f"event {event}: {error}")
            return None
        prompt_id = prompt.id or given
        self.found.heard.add(prompt_id)
        if prompt_id in self._settled or prompt_id in self.found.prompts:
            return None
        self.found.prompts[prompt_id] = prompt.model_copy(update={"id": prompt_id})
        return prompt_id

    def _wish(self, name: str, value: Any, given: str, event: int) -> None:
        """Note a signal that the run has not looked at."""
        about = (value.get("prompt_id") or value.get("turn")) if isinstance(value, dict) else None
        if name in WISHES and about:
            repeated = {"id": given} | value if name in ("regenerate", "resume") else value
            self.found.wishes.append((name, repeated))
        elif name != "roll":
            what = "names no turn" if name in WISHES else "cannot be repeated"
            self.found.left.append(f"event {event}: signal {preview(ascii(name), 40)} {what}")

    def _done(self, name: str, value: Any) -> None:
        """What the run was told of a prompt that may still wait."""
        prompt_id = str(value.get("prompt_id")) if isinstance(value, dict) else ""
        if name == "withdraw":
            self._settle(prompt_id)
        if name == "edit" and prompt_id in self.found.prompts:
            # The thread and the store know the prompt by what was sent first: so it is sent, and the edit again too.
            self.found.wishes.append((name, value))

    async def _accepted(self, event: HistoryEvent) -> None:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
        name, value = request.input.name, await self._value(request.input.args, request.input.name)
        if name in PROMPTS:
            value = self._prompt(value, ids.updated_prompt_id(self._thread, request.meta.update_id))
        self._updates[event.event_id] = (name, value)

    async def _answered(self, event: HistoryEvent) -> None:
        completed = event.workflow_execution_update_completed_event_attributes
        name, value = self._updates.pop(completed.accepted_event_id, ("", None))
        refused = completed.outcome.HasField("failure")
        if name in PROMPTS and refused and value:
            self._settle(value)  # the sender was told that it is not taken
        elif not refused:
            self._done(name, value)

    async def _scheduled(self, event: HistoryEvent) -> None:
        scheduled = event.activity_task_scheduled_event_attributes
        value = await self._value(scheduled.input, scheduled.activity_type.name)
        request = self._requests[event.event_id] = value if isinstance(value, dict) else {}
        self._settle_edits(request.get("prompt_id"))
        for joined in request.get("joined", []):
            self._settle_edits(joined["id"] if isinstance(joined, dict) else joined)

    async def _completed(self, event: HistoryEvent) -> None:
        """A model call or a close that is done has its prompts in the store, where the next run finds them."""
        completed = event.activity_task_completed_event_attributes
        request = self._requests.pop(completed.scheduled_event_id, {})
        self._settle(request.get("prompt_id", ""))
        for joined in request.get("joined", []):
            self._settle(joined["id"] if isinstance(joined, dict) else joined)
        for refusal in request.get("refusals", []):
            refused = [key for key, prompt in self.found.prompts.items() if _is_of(refusal, prompt)]
            for prompt_id in refused:
                self._settle(prompt_id)

    def _settle(self, prompt_id: str) -> None:
        self._settled.add(prompt_id)
        self.found.prompts.pop(prompt_id, None)
        self._settle_edits(prompt_id)

    def _settle_edits(self, prompt_id: str | None) -> None:
        """A prompt does not come to its turn before the store has its edits; after that, it is not to be edited."""
        wishes = self.found.wishes
        self.found.wishes = [(n, v) for n, v in wishes if n != "edit" or v.get("prompt_id") != prompt_id]

    async def _value(self, payloads: Payloads, name: str) -> Any:
        """The one JSON value that was sent, or None if it cannot be read."""
        decoded = await self._converter.decode(payloads.payloads) if payloads.payloads else []
        try:
            return one_value(decoded, name)
        except InputRefusedError:
            return None


def _is_of(refusal: Mapping[str, Any], prompt: Prompt) -> bool:
    """Whether it is this prompt that was refused, and not another under its id; a refusal has the start of the text."""
    text, content = refusal.get("text", ""), preview(prompt.text)
    same = content.startswith(text[:-1]) if text.endswith("…") else content == text
    return same and refusal.get("prompt_id") in (None, prompt.id)


def _read_start(value: Any) -> ThreadStart:
    try:
        return read_start(value)
    except InputRefusedError:
        return ThreadStart()
