"""AgentThread: a conversation as a workflow, for as long as its owner wants.

- No prompt is lost, none is answered twice: handlers only append to the state, which exists before any handler runs;
  the main loop works it off, one turn at a time.
- It cannot die of old age: it continues as new, between two steps, before the server's limits, with all its state.
- No input can wedge it: handlers and the start take any JSON, and what cannot be understood is recorded as refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.threads import ThreadActivities
    from domain import ids
    from domain.errors import InputRefusedError
    from domain.messages import describe
    from domain.prompts import (
        InterruptReceipt,
        Prompt,
        Receipt,
        ThreadStart,
        TurnReport,
        read_interrupt,
        read_prompt,
        read_start,
        read_thread_id,
        read_turn_query,
    )
    from domain.state import Running
    from domain.steps import CheckpointRequest, FindRequest, OpenRequest, StepResult
    from domain.thread import ThreadState, must_roll, upgrade
    from workflows import attributes, interface, options, turn
    from workflows.inbox import Inbox
    from workflows.inputs import one_value

MAX_ASKS = 4  # that wait; a further one is told at once how far its prompt is
TASK_TIMEOUT = timedelta(seconds=5)  # so long does a lost worker hold up a thread that was just deciding


@workflow.defn(name=interface.WORKFLOW)
class AgentThread:
    """See the module. Start input: domain.prompts.ThreadStart; id: thread/<thread_id>."""

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        info = workflow.info()
        self._thread = ids.thread_of(info.workflow_id) or f"?{info.workflow_id}"
        self._start = ThreadStart()
        self._state = ThreadState()
        self._problem: InputRefusedError | None = None
        self._leaving = False  # to continue as new
        self._asking = 0
        self._asked_to_roll = False
        self._calls = turn.Calls()
        self._signals = self._updates = 0
        try:
            # Runs of a cron schedule and of a retry policy continue another too, with what the caller gave.
            continued = info.continued_run_id is not None and info.attempt == 1 and not info.cron_schedule
            self._read_start(inputs, continued=continued)
        except InputRefusedError as error:
            self._problem = error
        self._inbox = Inbox(self._thread, self._state)

    def _read_start(self, inputs: tuple[Any, ...], *, continued: bool) -> None:
        if ids.thread_of(workflow.info().workflow_id) is None:
            raise InputRefusedError(
                f"workflow id {describe(self._thread)}: a thread's is {ids.WORKFLOW_PREFIX}<thread_id>"
            )
        read_thread_id(self._thread)
        value = one_value(inputs, "AgentThread") if inputs else None
        # Only a run that continues another may bring state: a caller could forge budgets with it.
        if continued and isinstance(value, dict) and "state" in value:
            self._state = upgrade(value["state"])
        else:
            self._start = read_start(value)

    @workflow.run
    async def run(self, *inputs: Any) -> None:
        if self._problem is not None:
            await self._refuse_start(self._problem)
        try:
            await self._live()
        except BaseException as error:
            if is_cancelled_exception(error):
                await self._inbox.save_all()
            raise

    async def _live(self) -> None:
        """Work until the history is long enough, then go on in a new run."""
        if not self._state.epoch:
            await self._open()
        self._show()
        saver = asyncio.create_task(self._inbox.keep_saved())
        try:
            # An idle thread rolls too: signals that cause no work also count towards the server's limits.
            while True:
                await workflow.wait_condition(lambda: self._has_work() or self._rolls())
                if self._rolls():
                    break
                await self._work()
            await self._roll()
        finally:
            saver.cancel()

    # --- doors

    @workflow.signal(name="prompt")
    def prompt(self, *inputs: Any) -> None:
        """Take a prompt, {"content": "…"}; see domain.prompts.Prompt."""
        self._signals += 1
        try:
            given_id = ids.given_prompt_id(workflow.info().run_id, self._signals)
            self._admit(read_prompt(one_value(inputs, "prompt")), given_id)
        except InputRefusedError as error:
            self._refuse(error, inputs)

    @workflow.signal(dynamic=True)
    def unknown(self, name: str, args: Sequence[RawValue]) -> None:
        self._signals += 1
        known = ", ".join(sorted(interface.names("signal")))
        self._refuse(InputRefusedError(f"signal {describe(name)} is not known; the signals are: {known}"), args)

    @workflow.signal(name="interrupt")
    def interrupt(self, *inputs: Any) -> None:
        """Stop the running turn, {} or {"turn": 3}; see domain.prompts.Interrupt."""
        self._signals += 1
        try:
            self._stop(inputs)
        except InputRefusedError as error:
            self._refuse(error, inputs)

    @workflow.signal(name="roll")
    def roll(self, *inputs: Any) -> None:
        """Continue as new at the next step boundary, on the newest version of the workers."""
        self._signals += 1
        self._asked_to_roll = True

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
        await self._opened()
        with _refusals_told():
            return self._stop(inputs)

    @workflow.query(name="turn")
    def report(self, *inputs: Any) -> TurnReport:
        """What became of a prompt so far; see domain.prompts.TurnQuery."""
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
        }

    async def _take(self, inputs: tuple[Any, ...], name: str) -> Receipt:
        info = workflow.current_update_info()
        update_id = info.id if info else str(workflow.uuid4())
        await self._opened()
        with _refusals_told():
            given_id = ids.updated_prompt_id(self._thread, update_id)
            return self._admit(read_prompt(one_value(inputs, name)), given_id)

    async def _opened(self) -> None:
        """Of an update. Only an opened thread knows which prompts it had, and what runs."""
        self._updates += 1
        await workflow.wait_condition(lambda: self._state.epoch > 0)

    def _check(self, inputs: tuple[Any, ...], name: str) -> None:
        with _refusals_told():
            if self._problem is not None:
                raise self._problem
            self._state.check(read_prompt(one_value(inputs, name)))

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
        if report.status != "unknown" or self._leaving:
            return report
        request = FindRequest(thread=self._thread, prompt_id=prompt_id)
        return await workflow.execute_local_activity_method(
            ThreadActivities.find_turn, request, **options.short("find an earlier turn")
        )

    def _stop(self, inputs: tuple[Any, ...]) -> InterruptReceipt:
        receipt = self._state.interrupt(read_interrupt(one_value(inputs, "interrupt") if inputs else None))
        if receipt.disposition == "interrupting":
            self._calls.stop()
        return receipt

    def _admit(self, prompt: Prompt, given_id: str) -> Receipt:
        if prompt.id is None:
            prompt = prompt.model_copy(update={"id": given_id})
        receipt = self._state.admit(prompt)
        if receipt.disposition == "interrupting":
            self._calls.stop()
        self._show()
        return receipt

    def _refuse(self, error: InputRefusedError, inputs: Any) -> None:
        value = inputs[0] if inputs else None
        text = value.get("content") if isinstance(value, dict) else value
        prompt_id = value.get("id") if isinstance(value, dict) else None
        self._state.refuse(
            str(workflow.uuid4()),
            error,
            text.encode("utf-8", "replace").decode() if isinstance(text, str) else describe(text),
            prompt_id if isinstance(prompt_id, str) and prompt_id in self._state.recent else None,
        )

    # --- work

    def _has_work(self) -> bool:
        state = self._state
        return bool(state.running or state.refusals or state.ready())

    async def _work(self) -> None:
        state = self._state
        if state.refusals:
            await turn.record_refusals(self._thread, state.epoch, state.take_refusals(str(workflow.uuid4())))
            return
        running = state.running or state.start_turn()
        self._show()
        try:
            await self._step(running)
        except (ActivityError, asyncio.CancelledError) as error:
            if workflow.cancellation_reason() is not None and is_cancelled_exception(error):
                raise  # the thread is being cancelled: its next run finishes the turn
            if not running.stopped() and isinstance(error, ActivityError):
                await self._fail_turn(error)
            elif not running.stopped():
                raise
        if self._state.running is running and running.stopped():
            await self._end_interrupted(running)
        self._show()

    async def _step(self, running: Running) -> None:
        if running.stopped():  # while the thread continued as new
            return
        result = await turn.call_model(self._thread, self._state.epoch, running, self._calls)
        running.said, running.message_id = result.preview, result.message_id
        if result.finish == "interrupted":
            if workflow.cancellation_reason() is not None and not running.stopped():
                raise asyncio.CancelledError
            running.stop = running.stop or "interrupted"  # else it was, by a run that was lost before it could say so
        elif result.plan:
            await self._next_step(running, result)
        else:
            await self._end_turn(result)

    async def _next_step(self, running: Running, result: StepResult) -> None:
        """Run the tools the model asked for; the turn goes on with its next model call."""
        running.calls = len(result.plan)
        if running.stopped():
            return
        done = await turn.run_tools(self._thread, self._state.epoch, running, result.plan, self._calls)
        if running.stopped():
            return
        running.calls = 0
        running.expect = [result.message_id, *done]  # of this step; those of earlier ones follow from their plans
        running.prompt = None
        running.step += 1

    async def _end_turn(self, result: StepResult) -> None:
        state, running = self._state, self._state.running
        assert running is not None
        if result.finish in ("duplicate", "conflict"):
            state.drop_turn()
            if result.finish == "conflict":
                self._inbox.refuse_conflict(running.prompt_id, running.preview)
            return
        state.end_turn(result.preview, "answered", result.message_id)
        self._set_status("active")

    async def _end_interrupted(self, running: Running) -> None:
        await turn.close_interrupted(self._thread, self._state.epoch, running)
        self._state.end_turn(running.said, "interrupted", running.message_id)
        self._set_status("active")

    async def _fail_turn(self, error: ActivityError) -> None:
        state, running = self._state, self._state.running
        assert running is not None
        reason = await turn.close_failed(self._thread, state.epoch, running, error)
        state.end_turn(reason, "failed")
        self._set_status("failed")

    # --- opening, ending, rolling

    async def _open(self) -> None:
        request = OpenRequest(thread=self._thread, run_id=workflow.info().run_id, start=self._start)
        opened = await workflow.execute_local_activity_method(
            ThreadActivities.open_thread, request, **options.short("open")
        )
        for waiting, error in self._state.adopt(upgrade(opened.state)):
            self._state.refuse(str(workflow.uuid4()), error, waiting.preview, waiting.id)
        attributes.announce(self._state)

    async def _refuse_start(self, problem: InputRefusedError) -> NoReturn:
        """Record the start, and every prompt that came with it, as refused; then fail, saying why."""
        self._state.refuse(str(workflow.uuid4()), problem, "start of the thread")
        while self._state.refusals or self._state.inbox:
            for waiting in self._state.inbox:
                self._state.refuse(str(workflow.uuid4()), problem, waiting.preview, waiting.id)
            self._state.inbox.clear()
            refusals = self._state.take_refusals(str(workflow.uuid4()))
            await turn.record_refusals(self._thread, 0, refusals)
        raise ApplicationError(str(problem), type="InvalidStart", non_retryable=True)

    def _rolls(self) -> bool:
        info = workflow.info()
        if self._asked_to_roll or info.is_target_worker_deployment_version_changed():
            return True
        return must_roll(
            events=info.get_current_history_length(),
            size=info.get_current_history_size(),
            suggested=info.is_continue_as_new_suggested(),
            signals=self._signals,
            updates=self._updates,
        )

    async def _roll(self) -> None:
        """Continue as new with everything; what comes in meanwhile is in the state that is carried."""
        self._leaving = True
        await workflow.wait_condition(self._inbox.small_enough)
        state = self._state
        request = CheckpointRequest(thread=self._thread, epoch=state.epoch, turn=state.next_turn, state=state.carried())
        await workflow.execute_local_activity_method(
            ThreadActivities.save_checkpoint, request, **options.short("checkpoint")
        )
        await workflow.wait_condition(lambda: workflow.all_handlers_finished() and self._inbox.small_enough())
        # No await between here and the end: what a handler appends would be lost.
        workflow.continue_as_new(
            {"state": state.carried()},
            task_timeout=TASK_TIMEOUT,
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    # --- what people see

    def _set_status(self, status: Any) -> None:
        if self._state.status != status:
            self._state.status = status
            attributes.announce(self._state)

    def _show(self) -> None:
        workflow.set_current_details(attributes.details(self._thread, self._state))


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Raises: ApplicationError of the same name, which is how whoever sent an update hears of a refusal."""
    try:
        yield
    except InputRefusedError as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from None
