"""What a repair finds in a run's history: all that was taken and may not be dealt with, and nothing that is."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from client.salvage import Salvage, salvage
from runtime.temporal import DATA_CONVERTER


class Run:
    """A history as Temporal would have written it, event by event."""

    def __init__(self, start: dict[str, Any] | None = None) -> None:
        self.events: list[HistoryEvent] = []
        started = self._add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED).workflow_execution_started_event_attributes
        started.workflow_id, started.task_queue.name = "thread/t", "queue"
        started.input.CopyFrom(_payloads(start or {}))

    def _add(self, kind: EventType.ValueType) -> HistoryEvent:
        self.events.append(HistoryEvent(event_id=len(self.events) + 1, event_type=kind))
        return self.events[-1]

    def seen(self) -> Run:
        """The run has looked at all so far."""
        self._add(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        return self

    def signal(self, name: str, value: Any) -> Run:
        added = self._add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED).workflow_execution_signaled_event_attributes
        added.signal_name = name
        added.input.CopyFrom(_payloads(value))
        return self

    def update(self, name: str, value: Any, *, update_id: str = "u", outcome: str | None = "success") -> Run:
        accepted = self._add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
        request = accepted.workflow_execution_update_accepted_event_attributes.accepted_request
        request.meta.update_id, request.input.name = update_id, name
        request.input.args.CopyFrom(_payloads(value))
        if outcome:
            event = self._add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED)
            completed = event.workflow_execution_update_completed_event_attributes
            completed.accepted_event_id = accepted.event_id
            getattr(completed.outcome, outcome).SetInParent()
        return self

    def activity(self, name: str, request: dict[str, Any], *, done: bool = True) -> Run:
        event = self._add(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        event.activity_task_scheduled_event_attributes.activity_type.name = name
        event.activity_task_scheduled_event_attributes.input.CopyFrom(_payloads(request))
        if done:
            completed = self._add(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
            completed.activity_task_completed_event_attributes.scheduled_event_id = event.event_id
        return self

    async def found(self) -> Salvage:
        return await salvage("run-1", self.events, DATA_CONVERTER)


def _payloads(value: Any) -> Payloads:
    return Payloads(payloads=DATA_CONVERTER.payload_converter.to_payloads([value]))


def prompt(prompt_id: str, content: str = "Hi") -> dict[str, Any]:
    return {"id": prompt_id, "content": content}


async def texts(run: Run) -> dict[str, str]:
    return {prompt_id: str(found.content) for prompt_id, found in (await run.found()).prompts.items()}


# --- prompts


async def test_a_prompt_that_was_not_looked_at_is_found() -> None:
    assert await texts(Run().seen().signal("prompt", prompt("a"))) == {"a": "Hi"}


async def test_a_prompt_whose_model_call_is_not_done_is_found() -> None:
    run = Run().signal("prompt", prompt("a")).seen().activity("call_model", {"prompt_id": "a"}, done=False)
    assert await texts(run) == {"a": "Hi"}


async def test_a_prompt_whose_model_call_is_done_is_in_the_store() -> None:
    run = Run().signal("prompt", prompt("a")).seen().activity("call_model", {"prompt_id": "a"})
    assert await texts(run) == {}


async def test_a_prompt_that_was_sent_again_after_its_turn_is_not_found() -> None:
    run = Run().signal("prompt", prompt("a")).seen().activity("call_model", {"prompt_id": "a"})
    assert await texts(run.signal("prompt", prompt("a", "Another text"))) == {}


async def test_a_prompt_that_joined_another_turn_is_in_the_store() -> None:
    run = Run().signal("prompt", prompt("a")).signal("prompt", prompt("b")).seen()
    assert await texts(run.activity("call_model", {"prompt_id": "a", "joined": [prompt("b")]})) == {}


async def test_what_the_run_before_handed_over_unsaved_is_found_first() -> None:
    state = {
        "running": {"prompt_id": "a", "prompt": prompt("a")},
        "inbox": [
            {"id": "b", "prompt": prompt("b"), "saved": True},
            {"id": "c", "prompt": prompt("c")},
            {"id": "d", "saved": True},
        ],
        "steered": [{"id": "e", "prompt": prompt("e")}],
    }
    assert list(await texts(Run({"state": state}).signal("prompt", prompt("f")))) == ["a", "c", "e", "f"]


async def test_a_prompt_by_update_is_found_until_its_turn_is_done() -> None:
    assert list(await texts(Run().update("submit", prompt("a")).update("ask", prompt("b"), outcome=None))) == ["a", "b"]


async def test_a_prompt_whose_sender_was_told_no_is_not_found() -> None:
    assert await texts(Run().update("submit", prompt("a"), outcome="failure")) == {}


async def test_another_text_that_was_refused_under_its_id_does_not_count() -> None:
    run = Run().signal("prompt", prompt("a", "First")).signal("prompt", prompt("a", "Other")).seen()
    run.update("submit", prompt("a", "Other"), outcome="failure")
    run.activity("close_turn", {"refusals": [{"id": "r", "text": "Other", "prompt_id": "a"}]})
    assert await texts(run) == {"a": "First"}


async def test_a_prompt_without_an_id_gets_the_same_one_each_time_and_its_neighbour_another() -> None:
    run = Run().signal("prompt", {"content": "Hi"}).signal("prompt", {"content": "Hi"})
    run.update("submit", {"content": "Hi"}, update_id="u-1")
    once, again = await texts(run), await texts(run)
    assert len(once) == 3
    assert list(once) == list(again)


async def test_a_prompt_that_was_withdrawn_is_not_found() -> None:
    run = Run().signal("prompt", prompt("a")).signal("prompt", prompt("b"))
    run.signal("withdraw", {"prompt_id": "a"}).seen().update("withdraw", {"prompt_id": "b"})
    assert await texts(run) == {}


async def test_a_withdrawal_that_was_refused_does_not_count() -> None:
    run = Run().signal("prompt", prompt("a")).seen()
    assert list(await texts(run.update("withdraw", {"prompt_id": "a"}, outcome="failure"))) == ["a"]


async def test_a_prompt_that_was_edited_is_sent_as_it_was_with_its_edits_after_it() -> None:
    """The thread and the store know it by what was sent first, and would refuse another text under its id."""
    edits = [{"prompt_id": "a", "content": "Hello"}, {"prompt_id": "a", "content": "Good day"}]
    run = Run().signal("prompt", prompt("a")).signal("edit", edits[0]).seen().update("edit", edits[1])
    assert await texts(run) == {"a": "Hi"}
    assert (await run.found()).wishes == [("edit", edits[0]), ("edit", edits[1])]


async def test_an_edit_of_a_prompt_whose_turn_has_begun_is_in_the_store() -> None:
    run = Run().signal("prompt", prompt("a")).signal("edit", {"prompt_id": "a", "content": "Hello"}).seen()
    run.activity("call_model", {"prompt_id": "a"}, done=False)
    assert await texts(run) == {"a": "Hi"}
    assert (await run.found()).wishes == []


async def test_an_edit_of_a_prompt_that_was_withdrawn_after_it_is_not_repeated() -> None:
    run = Run().signal("prompt", prompt("a")).signal("edit", {"prompt_id": "a", "content": "Hello"})
    assert (await run.signal("withdraw", {"prompt_id": "a"}).seen().found()).wishes == []


async def test_a_prompt_that_was_refused_by_its_text_is_not_found() -> None:
    run = Run().signal("prompt", prompt("a", "No")).signal("prompt", prompt("b", "Yes")).seen()
    assert list(await texts(run.activity("close_turn", {"refusals": [{"id": "r", "text": "No"}]}))) == ["b"]


async def test_a_prompt_that_the_store_refused_is_known_by_the_start_of_its_text() -> None:
    run = Run().signal("prompt", prompt("a", "x" * 500)).signal("prompt", prompt("b", "x" * 500)).seen()
    run.activity("close_turn", {"refusals": [{"id": "r", "text": "x" * 79 + "…", "prompt_id": "a"}]})
    assert list(await texts(run)) == ["b"]


# --- other signals


async def test_what_was_said_of_a_prompt_and_not_looked_at_is_repeated() -> None:
    run = Run().seen().signal("withdraw", {"prompt_id": "a"}).signal("edit", {"prompt_id": "b", "content": "Hello"})
    run.signal("interrupt", {"prompt_id": "c"})
    assert [name for name, _ in (await run.found()).wishes] == ["withdraw", "edit", "interrupt"]


async def test_another_try_without_an_id_is_repeated_under_the_same_one() -> None:
    run = Run().seen().signal("regenerate", {"prompt_id": "a"})
    [(_, once)], [(_, again)] = (await run.found()).wishes, (await run.found()).wishes
    assert once["id"] == again["id"]


async def test_what_was_looked_at_is_not_repeated() -> None:
    assert (await Run().signal("interrupt", {"prompt_id": "a"}).seen().found()).wishes == []


async def test_an_interrupt_that_names_no_turn_is_told_and_not_repeated() -> None:
    """It would stop whatever runs by then."""
    found = await Run().seen().signal("interrupt", {}).signal("roll", None).found()
    assert (found.wishes, found.left) == ([], ["event 3: signal 'interrupt' names no turn"])


# --- the start


async def test_how_the_thread_was_started_is_found() -> None:
    found = await Run({"owner": "ada"}).found()
    assert (found.start.owner, found.task_queue) == ("ada", "queue")


async def test_a_start_that_cannot_be_read_is_an_empty_one() -> None:
    assert (await Run({"owner": 5}).found()).start.owner is None
