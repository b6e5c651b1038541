"""AgentThread: a conversation as a workflow, for as long as its owner wants.

- No prompt is lost, none is answered twice: handlers only append to the state, which exists before any handler runs;
  the main loop works it off, one turn at a time.
- It cannot die of old age: it continues as new, between two steps, before the server's limits, with all its state.
- No input can wedge it: handlers and the start take any JSON, and what cannot be understood is recorded as refused.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.threads import ThreadActivities
    from domain import ids
    from domain.errors import InputRefusedError, UnknownThreadError
    from domain.gates import open_gates
    from domain.messages import describe
    from domain.prompts import ThreadStart, read_start, read_thread_id
    from domain.state import Running
    from domain.steps import CheckpointRequest, OpenRequest, StepResult
    from domain.thread import IDLE_ROLL_S, ThreadState, must_roll, upgrade
    from workflows import attributes, interface, options, turn
    from workflows.deliveries import Deliveries
    from workflows.forgetting import ForgetfulDoors
    from workflows.gates import Gates
    from workflows.idle import Idle
    from workflows.inbox import Inbox
    from workflows.inputs import one_value
    from workflows.operator import say_next


@workflow.defn(name=interface.WORKFLOW)
class AgentThread(ForgetfulDoors):
    """See the module. Start input: domain.prompts.ThreadStart; id: thread/<thread_id>."""

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        super().__init__()
        info = workflow.info()
        self._thread = ids.thread_of(info.workflow_id) or f"?{info.workflow_id}"
        self._start = ThreadStart()
        self._state = ThreadState()
        try:
            # Runs of a cron schedule and of a retry policy continue another too, with what the caller gave.
            continued = info.continued_run_id is not None and info.attempt == 1 and not info.cron_schedule
            self._read_start(inputs, continued=continued)
        except InputRefusedError as error:
            self._problem = error
        self._inbox = Inbox(self._thread, self._state)
        self._deliveries = Deliveries(self._thread, self._state)
        self._idle = Idle(self._state)

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
                while self._state.said:
                    await say_next(self._thread, self._state)
            raise

    async def _live(self) -> None:
        """Work until the history is long enough, then go on in a new run."""
        if not self._state.epoch:
            await self._open()
        self._show()
        self._idle.touch()
        # They end with the run, without a word: what they have begun is begun anew by the next one.
        self._beside = [asyncio.create_task(self._deliveries.keep_sending()), asyncio.create_task(self._idle.watch())]
        saver = asyncio.create_task(self._inbox.keep_saved())
        try:
            # An idle thread rolls too: signals that cause no work also count towards the server's limits.
            while True:
                await workflow.wait_condition(lambda: self._has_work() or self._rolls() or self._idle.ends)
                if self._rolls():
                    await self._roll()
                elif self._has_work():
                    await self._work()
                    self._idle.touch()
                elif await self._fell_asleep():
                    return
        finally:
            saver.cancel()

    # --- work

    def _has_work(self) -> bool:
        state = self._state
        return bool(state.running or state.refusals or state.said or state.ready())

    def _awake(self) -> bool:
        return self._has_work() or self._state.busy

    async def _work(self) -> None:
        state = self._state
        if state.refusals:
            refusals = state.take_refusals(str(workflow.uuid4()))
            await turn.record_refusals(self._thread, state.epoch, refusals)
            state.deliveries += [refusal.id for refusal in refusals if refusal.reply_to is not None]
            return
        if state.said and state.running is None:
            await say_next(self._thread, state)
            self._show()
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
        if running.stopped() and not running.over:  # while the thread continued as new
            return
        if running.plan:  # likewise, while calls of the step waited for somebody
            await self._pass_gates(running)
            return
        if not running.stopped():
            self._state.join()
        if running.over and not running.joining:  # they were withdrawn meanwhile, or the turn was stopped
            self._answered(running.said, running.message_id)
            return
        running.over = False
        result = await turn.call_model(self._thread, self._state.epoch, running, self._calls)
        running.said, running.message_id = result.preview, result.message_id
        running.agent = result.agent or running.agent
        if result.finish not in ("interrupted", "duplicate", "conflict"):
            self._state.note_busy_mode(running.agent, result.busy_mode)
        if result.finish == "interrupted":
            if workflow.cancellation_reason() is not None and not running.stopped():
                raise asyncio.CancelledError
            running.stop = running.stop or "interrupted"  # else it was, by a run that was lost before it could say so
        elif result.plan:
            running.joining = []
            await self._run_tools(running, result)
        else:
            running.joining = []
            if await self._goes_on(result):
                running.over = True
                self._next_step(running, [result.message_id])
            else:
                await self._end_turn(result)

    async def _goes_on(self, result: StepResult) -> bool:
        """Whether prompts join the turn though the model has stopped, once they are in the store."""
        state, running = self._state, self._state.running
        if running is None or result.finish in ("duplicate", "conflict") or not state.steered:
            return False
        await workflow.wait_condition(lambda: running.stopped() or all(waiting.in_store for waiting in state.steered))
        return bool(state.steered) and not running.stopped()

    async def _run_tools(self, running: Running, result: StepResult) -> None:
        """Run the tools the model asked for; the turn goes on with its next model call."""
        running.calls = len(result.plan)
        if running.stopped():
            return
        if any(call.gate is not None for call in result.plan):
            open_gates(running, result, workflow.time())
            await self._pass_gates(running)
            return
        done = await turn.run_tools(self._thread, self._state.epoch, running, result.plan, self._calls)
        if running.stopped():
            return
        running.calls = 0
        self._next_step(running, [result.message_id, *done])

    async def _pass_gates(self, running: Running) -> None:
        """Wait for whoever has to decide about calls of the step; the thread may continue as new meanwhile."""
        self._set_status("waiting")
        self._show()
        recording = asyncio.create_task(self._keep_refusals())
        try:
            done = await Gates(self._thread, self._state, running, self._calls, self._rolls).passed()
        finally:
            recording.cancel()
        if running.stopped() or done is None:
            return
        self._state.leave_step()
        self._set_status("active")
        running.calls = 0
        assert running.message_id is not None
        self._next_step(running, [running.message_id, *done])

    async def _keep_refusals(self) -> None:
        """Calls may wait for weeks: what is refused meanwhile is recorded at once.

        It stays in the state until the store has it: what was being recorded when this is cancelled is recorded again.
        """
        while True:
            await workflow.wait_condition(lambda: bool(self._state.refusals))
            refusals = list(self._state.refusals)
            await turn.record_refusals(self._thread, self._state.epoch, refusals)
            self._state.note_recorded(refusals)

    def _hand_over(self) -> None:
        """Once the calls of a step have ended, however they did: what one of them handed over, the store has."""
        if self._state.hand_over():
            attributes.announce(self._state)

    def _next_step(self, running: Running, expect: list[str]) -> None:
        self._hand_over()
        running.expect = expect  # of this step; those of earlier ones follow from their plans
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
        self._answered(result.preview, result.message_id)

    def _answered(self, said: str, message_id: str | None) -> None:
        self._state.end_turn(said, "answered", message_id)
        self._set_status("active")

    async def _end_interrupted(self, running: Running) -> None:
        self._hand_over()
        closed = await turn.close_interrupted(self._thread, self._state.epoch, running)
        if closed.status == "answered":  # by a model call that was just done
            self._answered(closed.preview, closed.message_id)
            return
        self._state.end_turn(running.said, "interrupted", running.message_id)
        self._set_status("active")

    async def _fail_turn(self, error: ActivityError) -> None:
        state, running = self._state, self._state.running
        assert running is not None
        self._hand_over()
        reason = turn.sentence(error)
        closed = await turn.close_failed(self._thread, state.epoch, running, reason)
        if closed.status == "answered":  # and only then the worker was lost
            self._answered(closed.preview, closed.message_id)
            return
        state.end_turn(reason, "failed")
        self._set_status("failed")

    # --- opening, ending, rolling

    async def _open(self) -> None:
        request = OpenRequest(thread=self._thread, run_id=workflow.info().run_id, start=self._start)
        opened = await workflow.execute_local_activity_method(
            ThreadActivities.open_thread, request, **options.short("open")
        )
        if opened.refused:
            kind = UnknownThreadError if opened.unknown else InputRefusedError
            await self._refuse_start(kind(opened.refused))
        self._made = opened.new
        if opened.new:
            self._turn_away_strangers()
        for waiting, error in self._state.adopt(upgrade(opened.state)):
            self._state.refuse(str(workflow.uuid4()), error, waiting.preview, waiting.id)
        attributes.announce(self._state)

    def _turn_away_strangers(self) -> None:
        """Refuse the prompts that came first and were not to make a thread."""
        state = self._state
        for waiting in [w for w in state.inbox if w.prompt is not None and w.prompt.must_exist]:
            state.inbox.remove(waiting)
            problem = UnknownThreadError(f"there was no thread {self._thread} before this prompt")
            state.refuse(str(workflow.uuid4()), problem, waiting.preview, waiting.id)

    async def _refuse_start(self, problem: InputRefusedError) -> NoReturn:
        """Record the start, and every prompt that came with it, as refused; then fail, saying why.

        Of a thread that does not exist and was not to be made, there is nothing to record but prompts sent by signal.
        """
        unknown = isinstance(problem, UnknownThreadError)
        self._problem = problem
        if not unknown:
            self._state.refuse(str(workflow.uuid4()), problem, "start of the thread")
        while self._state.refusals or self._state.inbox:
            for waiting in self._state.inbox:
                self._state.refuse(str(workflow.uuid4()), problem, waiting.preview, waiting.id)
            self._state.inbox.clear()
            refusals = self._state.take_refusals(str(workflow.uuid4()))
            await turn.record_refusals(self._thread, 0, refusals)
        if unknown:  # updates are told so
            await workflow.wait_condition(workflow.all_handlers_finished)
        kind = type(problem).__name__ if unknown else "InvalidStart"
        raise ApplicationError(str(problem), type=kind, non_retryable=True)

    def _rolls(self) -> bool:
        info = workflow.info()
        if self._asked_to_roll or self._idle.rolls or info.is_target_worker_deployment_version_changed():
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
        await self._save_checkpoint()
        await workflow.wait_condition(lambda: workflow.all_handlers_finished() and self._inbox.small_enough())
        # No await between here and the end: what a handler appends would be lost.
        workflow.continue_as_new(
            {
                "state": {"idle_roll_s": IDLE_ROLL_S} | self._state.carried()
            },  # of an older release, which did not know it
            task_timeout=interface.TASK_TIMEOUT,
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    async def _fell_asleep(self) -> bool:
        """Whether nothing came in while the idle thread was laid down: then its run ends, and a prompt opens it again."""
        await workflow.wait_condition(self._inbox.small_enough)
        await self._save_checkpoint()
        # Who asks meanwhile waits for an answer, and so for us.
        await workflow.wait_condition(
            lambda: self._awake() or (workflow.all_handlers_finished() and self._inbox.small_enough())
        )
        if self._awake():
            self._idle.touch()
        return self._idle.ends

    async def _save_checkpoint(self) -> None:
        state = self._state
        request = CheckpointRequest(thread=self._thread, epoch=state.epoch, turn=state.next_turn, state=state.carried())
        await workflow.execute_local_activity_method(
            ThreadActivities.save_checkpoint, request, **options.short("checkpoint")
        )

    # --- what people see

    def _set_status(self, status: Any) -> None:
        if self._state.status != status:
            self._state.status = status
            attributes.announce(self._state)
