"""Typed calls on threads, for programs that have a Temporal client."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any, TypeVar, overload

from client.generating import Answers, value_of
from client.retries import Retrying, retrying_of
from client.sender import CALL_TIMEOUT, Sender
from domain.approvals import Resolution, ResolveReceipt
from domain.content import Part
from domain.errors import InputRefusedError, UnavailableError
from domain.operators import OperatorReceipt, SayReceipt, read_hand_back, read_say, read_take_over
from domain.output import Output, output_of
from domain.prompts import Prompt, PromptOptions, ThreadStart, read_as
from domain.wishes import (
    Again,
    ChangeReceipt,
    InterruptReceipt,
    Receipt,
    TurnReport,
    read_again,
    read_edit,
    read_interrupt,
    read_withdraw,
)

ASK_AGAIN_S, ASK_AGAIN_LATER_S = 0.2, 2.0
T = TypeVar("T")
EXISTING = ThreadStart(must_exist=True)  # one that does not run is opened again, and none is made


class Threads(Sender):
    """Calls on the threads of one Temporal namespace, each safe to repeat under the same id."""

    async def submit(self, thread: str, prompt: Prompt, start: ThreadStart | None = None) -> Receipt:
        """Send a prompt, starting the thread if it does not run; safe to repeat with the same prompt id.

        Raises: InputRefusedError, PromptConflictError, InboxFullError, ThreadBusyError if the thread does not take it,
        UnknownThreadError if it must exist and does not;
        UnavailableError if Temporal does not answer, and then the outcome is unknown: send the same prompt, with its id,
        again.
        """
        return await self.update("submit", thread, _with_id(prompt), _start_for(prompt, start), Receipt)

    async def ask(
        self, thread: str, prompt: Prompt, start: ThreadStart | None = None, *, timeout_s: float = 600.0
    ) -> TurnReport:
        """Send a prompt and wait for the end of its turn, through rolls and outages; safe to repeat with the same id.

        Raises: as `submit` if the thread does not take it; TimeoutError after `timeout_s` seconds, and then the prompt
        is kept and goes on.
        """
        prompt, pause_s = _with_id(prompt), ASK_AGAIN_S
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    report = await self.update("ask", thread, prompt, _start_for(prompt, start), TurnReport)
                except UnavailableError:
                    report = None
                if report is not None and report.ended:
                    return report
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, ASK_AGAIN_LATER_S)

    @overload
    async def generate(
        self,
        thread: str,
        prompt: Prompt,
        output: type[T],
        answers: Answers,
        start: ThreadStart | None = None,
        *,
        timeout_s: float = 600.0,
    ) -> T: ...

    @overload
    async def generate(
        self,
        thread: str,
        prompt: Prompt,
        output: Any,
        answers: Answers,
        start: ThreadStart | None = None,
        *,
        timeout_s: float = 600.0,
    ) -> Any: ...

    async def generate(
        self,
        thread: str,
        prompt: Prompt,
        output: Any,
        answers: Answers,
        start: ThreadStart | None = None,
        *,
        timeout_s: float = 600.0,
    ) -> Any:
        """Ask for a value: of a pydantic type, of a JSON schema, or one of a list of texts; safe to repeat with the same id.

        `answers` knows the answers whole: a ThreadReader or a Gateway.
        Raises: OutputInvalidError if the answer was no such value; NotAnsweredError if there was none; as `ask`.
        """
        prompt, wanted = _asking_for(_with_id(prompt), output)
        report = await self.ask(thread, prompt, start, timeout_s=timeout_s)
        return value_of(wanted, report, await answers.answer_to(thread, report.prompt_id))

    async def interrupt(
        self, thread: str, *, turn: int | None = None, prompt_id: str | None = None, reason: str | None = None
    ) -> InterruptReceipt:
        """Stop the running turn, or only the one that is named. Raises: InputRefusedError; UnavailableError if it does
        not run or cannot be asked.
        """
        wanted = read_interrupt(_given(turn=turn, prompt_id=prompt_id, reason=reason))
        async with self.flight(thread, f"thread {thread} cannot be asked to stop"):
            receipt: InterruptReceipt = await self.handle(thread).execute_update(
                "interrupt", wanted, result_type=InterruptReceipt, rpc_timeout=CALL_TIMEOUT
            )
        return receipt

    async def withdraw(self, thread: str, prompt_id: str) -> ChangeReceipt:
        """Take back a prompt that waits. Raises: as `regenerate`, UnknownPromptError also if it does not wait any more."""
        wanted = read_withdraw({"prompt_id": prompt_id})
        return await self.update("withdraw", thread, wanted, EXISTING, ChangeReceipt)

    async def edit(self, thread: str, prompt_id: str, content: str | list[Part]) -> ChangeReceipt:
        """Say something else with a prompt that waits. Raises: as `withdraw`, InboxFullError if it is too much."""
        wanted = read_edit({"prompt_id": prompt_id, "content": content})
        return await self.update("edit", thread, wanted, EXISTING, ChangeReceipt)

    async def regenerate(
        self,
        thread: str,
        *,
        prompt_id: str | None = None,
        turn: int | None = None,
        agent: str | None = None,
        options: PromptOptions | None = None,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> Receipt:
        """Answer the prompt of an ended turn anew, of the last one if none is named; safe to repeat with the same `id`.

        `ask` with the same prompt waits for its end.
        Raises: UnknownPromptError, UnknownThreadError if there is none; InputRefusedError; UnavailableError if Temporal
        does not answer, and then the outcome is unknown.
        """
        again = _again(id, prompt_id, turn, agent, options)
        return await self.update("regenerate", thread, again, EXISTING, Receipt)

    async def resume(
        self,
        thread: str,
        *,
        prompt_id: str | None = None,
        turn: int | None = None,
        agent: str | None = None,
        options: PromptOptions | None = None,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> Receipt:
        """Go on with a turn where it ended: at a limit, by an interrupt, by an error. Otherwise as `regenerate`."""
        again = _again(id, prompt_id, turn, agent, options)
        return await self.update("resume", thread, again, EXISTING, Receipt)

    async def resolve(self, thread: str, resolution: Resolution) -> ResolveReceipt:
        """Decide about a call that waits; safe to repeat with the same `id`, which it is given if it has none.

        Raises: UnknownCallError if no such call waits, or not with these arguments; ResolvedAlreadyError if it was decided
        before; InboxFullError; UnknownThreadError; UnavailableError if Temporal does not answer, and then the outcome is
        unknown.
        """
        if resolution.id is None:
            resolution = resolution.model_copy(update={"id": str(uuid.uuid4())})
        return await self.update("resolve", thread, resolution, EXISTING, ResolveReceipt)

    async def take_over(self, thread: str, by: str, *, interrupt: bool = False, force: bool = False) -> OperatorReceipt:
        """Let a person answer in the agent's place. Raises: as `regenerate`, InputRefusedError if somebody else does."""
        wanted = read_take_over({"by": by, "interrupt": interrupt, "force": force})
        return await self.update("take_over", thread, wanted, EXISTING, OperatorReceipt)

    async def say(
        self,
        thread: str,
        content: str,
        by: str,
        *,
        prompt_id: str | None = None,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> SayReceipt:
        """Say something as the person who has the thread; safe to repeat with the same `id`.

        Raises: as `regenerate`, InputRefusedError if it is not the speaker's, UnknownPromptError if the prompt does not wait.
        """
        wanted = read_say(_given(id=id or str(uuid.uuid4()), content=content, by=by, prompt_id=prompt_id))
        return await self.update("say", thread, wanted, EXISTING, SayReceipt)

    async def hand_back(self, thread: str, by: str) -> OperatorReceipt:
        """Let the agent answer again. Raises: as `take_over`."""
        return await self.update("hand_back", thread, read_hand_back({"by": by}), EXISTING, OperatorReceipt)

    async def turn(self, thread: str, prompt_id: str | None = None) -> TurnReport:
        """What became of a prompt so far; of none, the turn that runs or was the last. Raises: RPCError if it is closed."""
        wanted = {"prompt_id": prompt_id} if prompt_id else {}
        report: TurnReport = await self.handle(thread).query(
            "turn", wanted, result_type=TurnReport, rpc_timeout=CALL_TIMEOUT
        )
        return report

    async def signal(self, thread: str, prompt: Prompt, start: ThreadStart | None = None) -> None:
        """Send a prompt without waiting to hear whether it is taken; a refusal is recorded on the thread.

        A thread that must exist and does not is one that failed with UnknownThreadError.
        Raises: UnavailableError if Temporal does not answer.
        """
        await self.start(thread, _start_for(prompt, start), start_signal="prompt", start_signal_args=[prompt])

    async def ensure_running(self, thread: str, start: ThreadStart | None = None) -> None:
        """Start the thread unless it runs, so that what it left unended goes on.

        Raises: UnavailableError if Temporal does not answer.
        """
        await self.start(thread, start or ThreadStart())

    async def status(self, thread: str) -> dict[str, Any]:
        """What the thread is doing, as its query `status` tells, and `retrying`: what fails meanwhile, see client.retries.

        Raises: RPCError if it does not run.
        """
        handle = self.handle(thread)
        status, retrying = await asyncio.gather(handle.query("status", rpc_timeout=CALL_TIMEOUT), self.retrying(thread))
        return dict(status) | {"retrying": [one.model_dump() for one in retrying]}

    async def retrying(self, thread: str) -> list[Retrying]:
        """What of the thread's work has failed and is tried again; needs no worker. Raises: RPCError if there is none."""
        description = await self.handle(thread).describe(rpc_timeout=CALL_TIMEOUT)
        return retrying_of(description.raw_description, time.time())


def _asking_for(prompt: Prompt, wanted: Any) -> tuple[Prompt, Output]:
    """Raises: InputRefusedError if it can be no output, or is too much to send."""
    try:
        output = output_of(wanted)
    except ValueError as error:
        raise InputRefusedError(f"output: {error}") from None
    fields = prompt.options.model_dump(mode="json") if prompt.options else {}
    options = read_as(PromptOptions, fields | {"output": output.schema}, "the options", '{"max_steps": 3}')
    # It is answered by itself: what joins another turn is not asked for a value of its own.
    return prompt.model_copy(update={"options": options, "mode": prompt.mode or "queue"}), output


def _start_for(prompt: Prompt, start: ThreadStart | None) -> ThreadStart:
    start = start or ThreadStart()
    return start.model_copy(update={"must_exist": True}) if prompt.must_exist else start


def _with_id(prompt: Prompt) -> Prompt:
    return prompt if prompt.id else prompt.model_copy(update={"id": str(uuid.uuid4())})


def _again(
    wish_id: str | None, prompt_id: str | None, turn: int | None, agent: str | None, options: PromptOptions | None
) -> Again:
    return read_again(
        _given(id=wish_id or str(uuid.uuid4()), prompt_id=prompt_id, turn=turn, agent=agent, options=options)
    )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
