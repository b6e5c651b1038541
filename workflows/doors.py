"""What a thread can be sent and asked: the handlers of AgentThread.

They take any JSON, since Temporal drops a signal that does not fit a typed handler, and an error in one would wedge the
thread. They only change the state, and wait; the main loop works it off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.reopening import ReopeningActivities
    from activities.threads import ThreadActivities
    from domain import ids
    from domain.approvals import Resolution, ResolveReceipt, read_resolution
    from domain.errors import InputRefusedError, UnknownPromptError, UnknownThreadError
    from domain.gates import waiting_calls
    from domain.messages import describe, sketch
    from domain.prompts import Prompt, read_prompt
    from domain.state import Waiting
    from domain.steps import FindRequest, ReopenRequest
    from domain.thread import ThreadState
    from domain.wishes import (
        Again,
        ChangeReceipt,
        InterruptReceipt,
        Receipt,
        TurnReport,
        read_again,
        read_edit,
        read_interrupt,
        read_turn_query,
        read_withdraw,
    )
    from workflows import attributes, interface, options, turn
    from workflows.inputs import one_value

UNKNOWN_CALL_WAIT = timedelta(seconds=20)
MAX_ASKS = 4  # that wait; a further one is told at once how far its prompt is

Kind = Literal["regenerate", "resume"]


class Doors:
    """Of one run. `_problem` is why it cannot open, `_made` whether it made the thread, `_leaving` whether it is about to
    continue as new.
    """

    _thread: str
    _state: ThreadState

    def __init__(self) -> None:
        self._problem: InputRefusedError | None = None
        self._made = False
        self._leaving = False
        self._asked_to_roll = False
        self._asking = self._reopening = 0
        self._signals = self._updates = 0
        self._calls = turn.Calls()

    # --- signals

    @workflow.signal(name="prompt")
    def prompt(self, *inputs: Any) -> None:
        """Take a prompt, {"content": "…"}; see domain.prompts.Prompt."""
        given_id, prompt = self._signalled(), None
        try:
            prompt = read_prompt(one_value(inputs, "prompt"))
            self._admit(prompt, given_id)
        except InputRefusedError as error:
            self._refuse(error, inputs, prompt)

    @workflow.signal(dynamic=True)
    def unknown(self, name: str, args: Sequence[RawValue]) -> None:
        self._signalled()
        known = ", ".join(sorted(interface.names("signal")))
        self._refuse(InputRefusedError(f"signal {describe(name)} is not known; the signals are: {known}"), args)

    @workflow.signal(name="interrupt")
    def interrupt(self, *inputs: Any) -> None:
        """Stop the running turn, {} or {"turn": 3}; see domain.wishes.Interrupt."""
        self._signalled()
        with self._refusals_recorded(inputs):
            self._stop(inputs)

    @workflow.signal(name="withdraw")
    async def withdraw(self, *inputs: Any) -> None:
        """Take back a prompt that waits, {"prompt_id": "…"}."""
        self._signalled()
        with self._refusals_recorded(inputs):
            await self._withdraw(inputs)

    @workflow.signal(name="edit")
    async def edit(self, *inputs: Any) -> None:
        """Say something else with a prompt that waits, {"prompt_id": "…", "content": "…"}."""
        self._signalled()
        with self._refusals_recorded(inputs):
            await self._edit(inputs)

    @workflow.signal(name="regenerate")
    async def regenerate(self, *inputs: Any) -> None:
        """Answer an ended turn's prompt anew; see domain.wishes.Again."""
        given_id = self._signalled()
        with self._refusals_recorded(inputs):
            await self._again("regenerate", inputs, given_id)

    @workflow.signal(name="resume")
    async def resume(self, *inputs: Any) -> None:
        """Go on with an ended turn where it ended; see domain.wishes.Again."""
        given_id = self._signalled()
        with self._refusals_recorded(inputs):
            await self._again("resume", inputs, given_id)

    @workflow.signal(name="resolve")
    async def resolve(self, *inputs: Any) -> None:
        """Decide about a call that waits; see domain.approvals.Resolution."""
        self._signalled()
        with self._refusals_recorded(inputs):
            await self._resolve(inputs)

    @workflow.signal(name="roll")
    def roll(self, *inputs: Any) -> None:
        """Continue as new at the next step boundary, on the newest version of the workers."""
        self._signalled()
        self._asked_to_roll = True

    # --- updates

    @workflow.update(name="submit")
    async def submit(self, *inputs: Any) -> Receipt:
        """Take a prompt and say what becomes of it. Fails with the type of the InputRefusedError."""
        return await self._take(inputs, "submit")

    @submit.validator
    def _check_submit(self, *inputs: Any) -> None:
        self._check(inputs, "submit")

    @workflow.update(name="ask")
    async def ask(self, *inputs: Any) -> TurnReport:
        """Take a prompt and say what became of it, once its turn has ended.

        It is told earlier, as waiting or running, when the thread continues as new or too many wait already: ask again
        under the same id.
        """
        receipt = await self._take(inputs, "ask")
        return await self._outcome(receipt.prompt_id)

    @ask.validator
    def _check_ask(self, *inputs: Any) -> None:
        self._check(inputs, "ask")

    @workflow.update(name="interrupt")
    async def interrupt_now(self, *inputs: Any) -> InterruptReceipt:
        """Stop the running turn, and say whether it was the one that is meant."""
        with refusals_told():
            await self._updated()
            return self._stop(inputs)

    @workflow.update(name="withdraw")
    async def withdraw_now(self, *inputs: Any) -> ChangeReceipt:
        """Take back a prompt that waits, and say so once it is in the store."""
        with refusals_told():
            await self._updated()
            return await self._withdraw(inputs)

    @workflow.update(name="edit")
    async def edit_now(self, *inputs: Any) -> ChangeReceipt:
        """Say something else with a prompt that waits, and say so once it is in the store."""
        with refusals_told():
            await self._updated()
            return await self._edit(inputs)

    @workflow.update(name="regenerate")
    async def regenerate_now(self, *inputs: Any) -> Receipt:
        """Answer an ended turn's prompt anew, and say when that begins."""
        with refusals_told():
            return await self._again("regenerate", inputs, await self._updated())

    @workflow.update(name="resume")
    async def resume_now(self, *inputs: Any) -> Receipt:
        """Go on with an ended turn where it ended, and say when that begins."""
        with refusals_told():
            return await self._again("resume", inputs, await self._updated())

    @workflow.update(name="resolve")
    async def resolve_now(self, *inputs: Any) -> ResolveReceipt:
        """Decide about a call that waits, and hear whether that is taken."""
        with refusals_told():
            await self._updated()
            return await self._resolve(inputs)

    # --- queries

    @workflow.query(name="turn")
    def report(self, *inputs: Any) -> TurnReport:
        """What became of a prompt so far; see domain.wishes.TurnQuery."""
        wanted = read_turn_query(one_value(inputs, "turn") if inputs else None)
        return self._state.report(wanted.prompt_id, wanted.turn)

    @workflow.query(name="status")
    def status(self) -> dict[str, Any]:
        """What the thread is doing: agent, epoch, running turn, what waits."""
        state, running = self._state, self._state.running
        return {
            "thread": self._thread,
            "agent": state.agent,
            "epoch": state.epoch,
            "next_turn": state.next_turn,
            "running": running.model_dump(include={"prompt_id", "turn", "step", "agent"}) if running else None,
            "waiting": len(state.inbox),
            "waiting_ids": [waiting.id for waiting in state.inbox[:100]],
            "steered": len(state.steered),
            "undelivered": len(state.deliveries),
            "calls": [call.model_dump(mode="json") for call in waiting_calls(running)],
            "operator": state.operator or None,
        }

    # --- what they do

    def _signalled(self) -> str:
        """The id of a prompt or a wish that came by this signal without one."""
        self._signals += 1
        return ids.given_prompt_id(workflow.info().run_id, self._signals)

    async def _updated(self) -> str:
        """The same of an update, once the thread is open: only then it knows which prompts it had, and what runs.

        Raises: InputRefusedError if it cannot be opened.
        """
        self._updates += 1
        info = workflow.current_update_info()
        update_id = info.id if info else str(workflow.uuid4())
        await self._opened()
        return ids.updated_prompt_id(self._thread, update_id)

    async def _opened(self) -> None:
        await workflow.wait_condition(lambda: self._state.epoch > 0 or self._problem is not None)
        if self._problem is not None:
            raise self._problem

    async def _take(self, inputs: tuple[Any, ...], name: str) -> Receipt:
        early = self._state.epoch == 0
        with refusals_told():
            given_id = await self._updated()
            prompt = read_prompt(one_value(inputs, name))
            if prompt.must_exist and early and self._made:
                raise UnknownThreadError(f"there was no thread {self._thread} before this prompt")
            return self._admit(prompt, given_id)

    def _check(self, inputs: tuple[Any, ...], name: str) -> None:
        with refusals_told():
            if self._problem is not None:
                raise self._problem
            prompt = read_prompt(one_value(inputs, name))
            self._state.check(prompt)
            self._state.check_room(prompt)

    async def _outcome(self, prompt_id: str) -> TurnReport:
        state = self._state
        if self._asking >= MAX_ASKS:
            return state.report(prompt_id)
        self._asking += 1
        try:
            await workflow.wait_condition(lambda: self._leaving or not state.is_open(prompt_id))
        finally:
            self._asking -= 1
        report = state.report(prompt_id)
        return report if report.status != "unknown" or self._leaving else await self._find(prompt_id)

    def _stop(self, inputs: tuple[Any, ...]) -> InterruptReceipt:
        receipt = self._state.interrupt(read_interrupt(one_value(inputs, "interrupt") if inputs else None))
        if receipt.disposition == "interrupting":
            self._calls.stop()
        return receipt

    async def _resolve(self, inputs: tuple[Any, ...]) -> ResolveReceipt:
        wanted = read_resolution(one_value(inputs, "resolve"))
        await self._opened()
        await self._planned(wanted)
        receipt = self._state.resolve(wanted)
        self._show()
        return receipt

    async def _planned(self, wanted: Resolution) -> None:
        """Who reads the store, or hears the event, may know of a call before the thread does, or after its worker was lost.

        A thread that was lost itself comes to it again step by step.
        """
        state, running = self._state, self._state.running
        if running is None or running.stopped() or state.knows_call(wanted):
            return
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: bool(running.plan) or running.stopped() or state.running is not running or self._leaving,
                timeout=UNKNOWN_CALL_WAIT,
                timeout_summary="for a call that is not known yet",
            )

    async def _withdraw(self, inputs: tuple[Any, ...]) -> ChangeReceipt:
        prompt_id = read_withdraw(one_value(inputs, "withdraw")).prompt_id
        await self._opened()
        self._state.withdraw(prompt_id)
        self._show()
        await workflow.wait_condition(lambda: all(waiting.id != prompt_id for waiting in self._state.withdrawn))
        return ChangeReceipt(prompt_id=prompt_id, disposition="withdrawn")

    async def _edit(self, inputs: tuple[Any, ...]) -> ChangeReceipt:
        wanted = read_edit(one_value(inputs, "edit"))
        await self._opened()
        self._state.edit(wanted.prompt_id, wanted.content)
        self._show()
        await workflow.wait_condition(lambda: not self._state.is_revised(wanted.prompt_id))
        return ChangeReceipt(prompt_id=wanted.prompt_id, disposition="edited")

    async def _again(self, kind: Kind, inputs: tuple[Any, ...], given_id: str) -> Receipt:
        wanted = read_again(one_value(inputs, kind) if inputs else None)
        await self._opened()
        wish_id = wanted.id or given_id
        prompt_id = self._state.reopened.get(wish_id)
        if prompt_id is None:
            await self._noted_end(wanted)
            prompt_id = self._state.ended_prompt(wanted.prompt_id, wanted.turn)
            if self._state.is_open(prompt_id):
                # Its row must not be opened beneath it: the store may have an end that the thread has yet to note.
                raise UnknownPromptError(f"prompt {prompt_id} has not ended; interrupt its turn first, or wait")
            self._state.check_number(self._reopening)
            self._state.note_wish(wish_id, prompt_id)
        elif self._state.is_open(prompt_id):
            return Receipt(prompt_id=prompt_id, disposition="duplicate")
        return await self._reopen(kind, wish_id, prompt_id, wanted)

    async def _reopen(self, kind: Kind, wish_id: str, prompt_id: str, wanted: Again) -> Receipt:
        request = ReopenRequest(
            thread=self._thread,
            run_id=self._state.run_id or workflow.info().first_execution_run_id,
            id=wish_id,
            kind=kind,
            prompt_id=prompt_id,
            agent=wanted.agent,
            options=wanted.options,
        )
        self._reopening += 1
        try:
            reopened = await workflow.execute_local_activity_method(
                ReopeningActivities.reopen_turn, request, **options.short(f"{kind} {prompt_id[:40]}")
            )
        finally:
            self._reopening -= 1
        if reopened.refused:
            self._state.reopened.pop(wish_id, None)  # sent again, it is a new wish
            raise UnknownPromptError(reopened.refused)
        self._state.epoch = max(self._state.epoch, reopened.epoch)
        if reopened.waiting is None or self._state.is_open(prompt_id):
            return Receipt(prompt_id=prompt_id, disposition="duplicate")
        receipt = self._state.reopen(Waiting.model_validate(reopened.waiting))
        self._show()
        return receipt

    async def _noted_end(self, wanted: Again) -> None:
        """Who heard that a turn has ended may be quicker than the thread, which is then about to note it.

        Unless a prompt joins it and it goes on: a thread that is about to continue as new does not wait for that.
        """
        running = self._state.running
        if running is None or not (
            wanted.prompt_id == running.prompt_id or (wanted.prompt_id is None and wanted.turn in (None, running.turn))
        ):
            return
        if (await self._find(running.prompt_id)).ended:
            await workflow.wait_condition(lambda: self._leaving or not self._state.is_open(running.prompt_id))
            if self._state.is_open(running.prompt_id):  # it goes on in the next run
                raise UnknownPromptError(f"prompt {running.prompt_id} has not ended; interrupt its turn first, or wait")

    async def _find(self, prompt_id: str) -> TurnReport:
        """What the store knows of it."""
        request = FindRequest(thread=self._thread, prompt_id=prompt_id)
        return await workflow.execute_local_activity_method(
            ThreadActivities.find_turn, request, **options.short("find an earlier turn")
        )

    def _admit(self, prompt: Prompt, given_id: str) -> Receipt:
        if prompt.id is None:
            prompt = prompt.model_copy(update={"id": given_id})
        receipt = self._state.admit(prompt)
        if receipt.disposition == "interrupting":
            self._calls.stop()
        self._show()
        return receipt

    @contextmanager
    def _refusals_recorded(self, inputs: Any) -> Iterator[None]:
        """Of a signal, whose sender cannot be told."""
        try:
            yield
        except InputRefusedError as error:
            self._refuse(error, inputs)

    def _refuse(self, error: InputRefusedError, inputs: Any, prompt: Prompt | None = None) -> None:
        value = inputs[0] if inputs else None
        content = value.get("content") if isinstance(value, dict) else None
        prompt_id = value.get("id") if isinstance(value, dict) else None
        self._state.refuse(
            str(workflow.uuid4()),
            error,
            sketch(value if content is None else content),
            prompt_id if isinstance(prompt_id, str) and (prompt or prompt_id in self._state.recent) else None,
            prompt.reply_to if prompt else None,
        )

    def _show(self) -> None:
        workflow.set_current_details(attributes.details(self._thread, self._state))


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raises: ApplicationError of the same name, which is how whoever sent an update hears of a refusal."""
    try:
        yield
    except InputRefusedError as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from None
