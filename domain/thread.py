"""The thread's own state and the rules by which it changes. No I/O, no clock, no randomness.

No prompt is lost and none is answered twice: a prompt enters `inbox` once (by its id), leaves it when its turn starts,
and stays in `running` until the turn has ended. Single writer: the thread's workflow. All of it is carried when the
workflow continues as new, and kept as a checkpoint in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from domain import ids
from domain.approvals import Resolution, ResolveReceipt
from domain.errors import (
    InboxFullError,
    InputRefusedError,
    PromptConflictError,
    ResolvedAlreadyError,
    ThreadBusyError,
)
from domain.gates import UNDECIDED, close_gates, decide, note_done, undone, waiting_calls
from domain.inbox import WAITING_CHARS, Inbox
from domain.ledger import ENDED_KEPT, MAX_JOINED, RECENT_IDS, VERSION
from domain.messages import preview
from domain.prompts import Mode, Prompt, Refusal, ReplyTo
from domain.state import Gated, Resolved, Running, Shown, Waiting
from domain.wire import json_size
from domain.wishes import Interrupt, InterruptReceipt, Receipt, TurnReport

# What makes of a state of one version one of the next: for a release that renames or removes a field, which counts the
# version up. (A new field needs none: it has a default.)
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
MAX_WAITING = 1_000
MAX_REFUSALS, MAX_TOLD = 100, 20
SHOWN_TURNS = 5
SHOWN_CHARS = 200
IDLE_ROLL_S, IDLE_ROLL_EVENTS = 600.0, 500  # a thread with so many events rolls when it has been idle for so long
MAX_DELIVERIES = 300  # replies on their way
CARRIED_BYTES = 1_900_000  # as JSON; the server takes no payload over 2 MiB
FRONT = -(10**12)  # added to the place of a prompt that comes before all that wait

# The server ends a run at 51,200 events, 50 MB, 10,000 signals or 2,000 updates: roll well before each.
ROLL_EVENTS, ROLL_BYTES, ROLL_SIGNALS, ROLL_UPDATES = 8_000, 8_000_000, 8_000, 1_500


class ThreadState(Inbox):
    """Everything the thread must remember. Its fields are in domain.ledger, what waits in domain.inbox."""

    # --- prompts in

    def check(self, prompt: Prompt) -> None:
        """Raises: PromptConflictError, InboxFullError, ThreadBusyError if the prompt cannot be taken."""
        self._check(prompt.id, prompt.digest())
        if prompt.id in self.recent:
            return
        if self.occupied and self._wanted_mode(prompt) == "reject":
            raise ThreadBusyError(
                "the thread is busy and the prompt's mode is reject; send it later, or with mode queue"
            )
        if prompt.reply_to and len(self.deliveries) + sum(waiting.replies for waiting in self.inbox) >= MAX_DELIVERIES:
            raise InboxFullError(f"{MAX_DELIVERIES} replies are on their way already; send this prompt again later")

    def note_busy_mode(self, agent: str, mode: Mode) -> None:
        """What the catalog says of an agent."""
        self.busy_modes.pop(agent, None)
        if mode != "queue":
            self.busy_modes[agent] = mode
        while len(self.busy_modes) > ENDED_KEPT:
            del self.busy_modes[next(iter(self.busy_modes))]

    def _wanted_mode(self, prompt: Prompt) -> Mode:
        return prompt.mode or self.busy_modes.get(prompt.agent or self.agent, "queue")

    def _mode(self, prompt: Prompt) -> Mode:
        """How the prompt is to be taken as things are now."""
        mode, running = self._wanted_mode(prompt), self.running
        if running is None:
            return "queue"
        if mode == "steer" and (
            running.stopped()
            or prompt.agent not in (None, running.agent)
            or running.step + 1 >= ids.MAX_STEPS
            or len(running.joined) + len(self.steered) >= MAX_JOINED
        ):
            return "queue"
        return mode

    def _check(self, prompt_id: str | None, digest: str) -> None:
        known = self.recent.get(prompt_id or "")
        if known is not None and known != digest:
            raise PromptConflictError(
                f"prompt id {preview(ascii(prompt_id), 60)} was used before for another text; send it under a new id"
            )
        if known is None:
            self.check_number()

    def check_number(self, coming: int = 0) -> None:
        """Raises: InboxFullError if no more can wait, with so many that are about to."""
        if len(self.inbox) + len(self.steered) + coming >= MAX_WAITING:
            raise InboxFullError(f"{MAX_WAITING} prompts wait already; send this one again when some are answered")

    def admit(self, prompt: Prompt) -> Receipt:
        """Take a prompt that has an id. Raises: PromptConflictError, InboxFullError."""
        assert prompt.id is not None
        self.check(prompt)
        if prompt.id in self.recent:
            return Receipt(prompt_id=prompt.id, disposition="duplicate")
        busy, mode = self.occupied, self._mode(prompt)
        interrupts = mode in ("interrupt", "replace")
        waiting = Waiting(
            id=prompt.id,
            digest=prompt.digest(),
            place=self._place() + (FRONT if interrupts else 0),
            agent=prompt.agent,
            preview=preview(prompt.text, WAITING_CHARS),
            size=prompt.size(),
            prompt=prompt,
            replies=prompt.reply_to is not None,
        )
        self.remember(prompt.id, waiting.digest)
        if mode == "steer":
            self.steered.append(waiting)
            return Receipt(prompt_id=prompt.id, disposition="joining")
        if not interrupts:
            self.inbox.append(waiting)
            return Receipt(prompt_id=prompt.id, disposition="queued" if busy else "started")
        self.inbox.insert(sum(other.place < 0 for other in self.inbox), waiting)
        self.interrupt(Interrupt(reason="another prompt came first"))
        if self.running is not None and mode == "replace":
            self.running.replaced_by = prompt.id
        return Receipt(prompt_id=prompt.id, disposition="interrupting")

    def interrupt(self, wanted: Interrupt) -> InterruptReceipt:
        """Mark the running turn as to be stopped, if it is the one that is meant."""
        running = self.running
        if (
            running is None
            or wanted.turn not in (None, running.turn)
            or wanted.prompt_id not in (None, running.prompt_id)
        ):
            return InterruptReceipt(disposition="not_running", turn=wanted.turn, prompt_id=wanted.prompt_id)
        running.stop = running.stop or wanted.reason or "interrupted"
        return InterruptReceipt(disposition="interrupting", turn=running.turn, prompt_id=running.prompt_id)

    def resolve(self, wanted: Resolution) -> ResolveReceipt:
        """Take a decision about a call that waits. Raises: UnknownCallError, ResolvedAlreadyError, InboxFullError."""
        known = self.resolved.get(wanted.call_id)
        if known is not None and known.decision is not None and known.is_of(wanted):
            # First: a later call may have the same id, and this one is not meant for it.
            if wanted.decision != known.decision:
                raise ResolvedAlreadyError(f"call {wanted.call_id} {known.sentence}; it has ended")
            left = len(list(waiting_calls(self.running)))
            return ResolveReceipt(call_id=wanted.call_id, decision=known.decision, turn=known.turn, left=left)
        if known is None or any(self._call_of(gated) == wanted.call_id for gated in undone(self.running)):
            return decide(self.running, wanted)
        raise ResolvedAlreadyError(f"call {wanted.call_id} {known.sentence}; it has ended")

    def knows_call(self, wanted: Resolution) -> bool:
        """Whether it waits, or did a while ago. A call of another turn may have had its id: each is its own within a turn."""
        running, known = self.running, self.resolved.get(wanted.call_id)
        if running is not None and any(call.call_id == wanted.call_id for call in running.plan):
            return True
        return known is not None and (running is None or known.turn == running.turn or known.is_of(wanted))

    def note_call_done(self, index: int, result_id: str) -> None:
        """A call of the running step, of which some had to wait, has ended."""
        assert self.running is not None
        decided = note_done(self.running, index, result_id)
        if decided is not None:
            self._note_resolved(decided.call_id, decided)

    def leave_step(self) -> None:
        """The step is over: what nobody has decided is not decided any more."""
        if self.running is not None:
            for gated in undone(self.running):
                self._note_resolved(self._call_of(gated), gated.resolution)
            close_gates(self.running)

    def _call_of(self, gated: Gated) -> str:
        return self.running.plan[gated.index].call_id if self.running else ""

    def _note_resolved(self, call_id: str, decided: Resolution | None) -> None:
        assert self.running is not None
        self.resolved.pop(call_id, None)
        self.resolved[call_id] = Resolved(
            id=decided.id if decided else None,
            turn=self.running.turn,
            decision=decided.decision if decided else None,
            sentence=preview(decided.sentence(), SHOWN_CHARS) if decided else UNDECIDED,
        )
        while len(self.resolved) > ENDED_KEPT:
            del self.resolved[next(iter(self.resolved))]

    def refuse(
        self,
        refusal_id: str,
        error: InputRefusedError,
        text: str,
        prompt_id: str | None = None,
        reply_to: ReplyTo | None = None,
    ) -> None:
        """Note what could not be taken, to be recorded; beyond a hundred unrecorded ones only their number is kept, and
        of these the first few senders are told, unless too many replies are on their way already: each is an
        activity, and the server stops a thread that has two thousand of them.
        """
        if len(self.refusals) >= MAX_REFUSALS:
            self.unlisted_refusals += 1
            return
        telling = sum(refusal.reply_to is not None for refusal in self.refusals)
        told = reply_to if telling < MAX_TOLD and len(self.deliveries) + telling < MAX_DELIVERIES else None
        self.refusals.append(
            Refusal(
                id=refusal_id,
                reason=str(error),
                text=preview(text),
                prompt_id=prompt_id,
                place=self._place(),
                reply_to=told,
            )
        )

    def note_recorded(self, refusals: list[Refusal]) -> None:
        """The store has them."""
        done = {refusal.id for refusal in refusals}
        self.refusals = [refusal for refusal in self.refusals if refusal.id not in done]
        self.deliveries += [refusal.id for refusal in refusals if refusal.reply_to is not None]

    def take_refusals(self, summary_id: str) -> list[Refusal]:
        """The refusals not recorded yet; they are the caller's to record from now on."""
        taken, self.refusals = self.refusals, []
        if self.unlisted_refusals:
            reason = f"{self.unlisted_refusals} more were refused, too many at once to keep each"
            taken.append(Refusal(id=summary_id, reason=reason, place=self._place()))
            self.unlisted_refusals = 0
        return taken

    # --- turns

    def ready(self) -> bool:
        """Whether the first prompt can start its turn."""
        return bool(self.inbox) and self.inbox[0].can_start and not self.operator

    def start_turn(self) -> Running:
        waiting = self.inbox.pop(0)
        self.running = Running(
            prompt_id=waiting.id,
            digest=waiting.digest,
            turn=waiting.turn or self.next_turn,
            branch=waiting.branch,
            step=waiting.step,
            agent=waiting.agent or self.agent,
            preview=waiting.preview,
            prompt=waiting.prompt,
            replies=waiting.replies,
        )
        if waiting.turn is None:
            self.next_turn += 1
        return self.running

    def join(self) -> None:
        """Saved prompts that were sent to the running turn come to it, with the step that is next."""
        running = self.running
        assert running is not None
        if running.step == 0:
            return
        come = [waiting for waiting in self.steered if waiting.in_store]
        self.steered = [waiting for waiting in self.steered if not waiting.in_store]
        running.joined |= {waiting.id: waiting.replies for waiting in come}
        running.joining += [waiting.id for waiting in come]

    def hand_over(self) -> bool:
        """Make the thread, and the running turn, the agent's to whom they were handed over in the step that is done.

        Returns whether the thread was another's.
        """
        running = self.running
        if running is None or not running.handed_over:
            return False
        before, self.agent = self.agent, running.handed_over
        running.agent, running.handed_over = running.handed_over, ""
        return before != self.agent

    def end_turn(
        self, answer: str, status: Literal["answered", "interrupted", "failed"], message_id: str | None = None
    ) -> None:
        """The running turn has ended and its end is in the store; `answer` is why, if it failed."""
        running = self.running
        assert running is not None
        ended = Shown(turn=running.turn, prompt=running.preview, answer=preview(answer, SHOWN_CHARS), status=status)
        self.shown = [*self.shown, ended][-SHOWN_TURNS:]
        error = {"answered": None, "interrupted": running.stop, "failed": preview(answer)}[status]
        report = TurnReport(
            prompt_id=running.prompt_id,
            status=status,
            turn=running.turn,
            message_id=message_id,
            text=preview(answer) if status != "failed" else "",
            error=error,
        )
        for prompt_id in running.joined:
            self.note_end(report.model_copy(update={"prompt_id": prompt_id, "status": "joined"}))
        self.note_end(report)  # last: so many may have joined that only the latest are kept
        told = {running.prompt_id: running.replies} | running.joined
        self.deliveries += [prompt_id for prompt_id, replies in told.items() if replies]
        self.leave_step()
        self.running = None
        self._keep_late()

    def _keep_late(self) -> None:
        """What came too late for the turn that has ended gets the next turn."""
        front = sum(waiting.place < 0 for waiting in self.inbox)
        self.inbox[front:front] = self.steered
        self.steered = []

    def drop_turn(self) -> None:
        """The running prompt turned out to be an older one's: its turn never was."""
        self.running = None
        self.next_turn -= 1
        self._keep_late()

    def forget(self, prompt_id: str) -> None:
        """Its text was refused, since the store has another under this id: the next one is looked up there again."""
        self.recent.pop(prompt_id, None)

    # --- opening, carrying

    def adopt(self, opened: ThreadState) -> list[tuple[Waiting, InputRefusedError]]:
        """Become what the store knows, keeping what came in meanwhile; return what of that cannot be taken, and why."""
        came, refusals, unlisted = self.inbox, self.refusals, self.unlisted_refusals
        for name, value in opened:
            setattr(self, name, value)
        refusals = [*self.refusals, *(r.model_copy(update={"place": self._place()}) for r in refusals)]
        self.refusals = refusals[:MAX_REFUSALS]
        self.unlisted_refusals += unlisted + len(refusals) - len(self.refusals)
        turned_away = []
        for waiting in came:
            try:
                self._check(waiting.id, waiting.digest)
            except InputRefusedError as error:
                turned_away.append((waiting, error))
                continue
            if waiting.id not in self.recent:
                self.remember(waiting.id, waiting.digest)
                self.inbox.append(waiting.model_copy(update={"place": self._place()}))
        return turned_away

    def carried(self) -> dict[str, Any]:
        """The state as JSON for the next run or the checkpoint: everything that differs from a new thread's.

        Should it ever be too large to travel, the oldest prompt ids are left out: the store knows them too.
        """
        state = {"version": self.version} | self.model_dump(mode="json", exclude_defaults=True)
        while json_size(state) > CARRIED_BYTES and state.get("recent"):
            state["recent"] = dict(list(state["recent"].items())[RECENT_IDS // 40 :])
        return state


def upgrade(raw: dict[str, Any]) -> ThreadState:
    """The state of this release from one that any earlier release carried or checkpointed.

    Fields of a newer release are kept, and so is its version, in case it comes back.
    """
    for version in range(raw.get("version", 1), VERSION):
        raw = UPGRADES[version](raw) | {"version": version + 1}
    return ThreadState.model_validate(raw)


def must_roll(*, events: int, size: int, suggested: bool, signals: int, updates: int) -> bool:
    """Whether a run should continue as new now; `size` is its history in bytes."""
    return (
        suggested or events >= ROLL_EVENTS or size >= ROLL_BYTES or signals >= ROLL_SIGNALS or updates >= ROLL_UPDATES
    )
