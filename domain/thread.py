"""The thread's own state and the rules by which it changes. No I/O, no clock, no randomness.

No prompt is lost and none is answered twice: a prompt enters `inbox` once (by its id), leaves it when its turn starts,
and stays in `running` until the turn has ended. Single writer: the thread's workflow. All of it is carried when the
workflow continues as new, and kept as a checkpoint in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from pydantic import Field

from domain import ids
from domain.approvals import Resolution, ResolveReceipt
from domain.content import Content, text_of
from domain.errors import (
    InboxFullError,
    InputRefusedError,
    PromptConflictError,
    ResolvedAlreadyError,
    ThreadBusyError,
    UnknownPromptError,
)
from domain.gates import UNDECIDED, close_gates, decide, note_done, undone, waiting_calls
from domain.messages import preview
from domain.prompts import Mode, Prompt, Refusal, ReplyTo
from domain.state import INLINE_PROMPT_BYTES, Gated, Kept, Resolved, Running, Said, Shown, Waiting
from domain.wire import json_size
from domain.wishes import Interrupt, InterruptReceipt, Receipt, TurnReport

VERSION = 1
# What makes of a state of one version one of the next: for a release that renames or removes a field, which counts the
# version up. (A new field needs none: it has a default.)
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
RECENT_IDS = 1_000
MAX_WAITING = 1_000
INLINE_INBOX_BYTES = 256_000
MAX_REFUSALS, MAX_TOLD = 100, 20
SHOWN_TURNS = 5
SHOWN_CHARS = 200
WAITING_CHARS = 80
ENDED_KEPT = 20
IDLE_ROLL_S, IDLE_ROLL_EVENTS = 600.0, 500  # a thread with so many events rolls when it has been idle for so long
MAX_JOINED = 100  # prompts that join one turn
MAX_DELIVERIES = 300  # replies on their way
CARRIED_BYTES = 1_900_000  # as JSON; the server takes no payload over 2 MiB
FRONT = -(10**12)  # added to the place of a prompt that comes before all that wait

# The server ends a run at 51,200 events, 50 MB, 10,000 signals or 2,000 updates: roll well before each.
ROLL_EVENTS, ROLL_BYTES, ROLL_SIGNALS, ROLL_UPDATES = 8_000, 8_000_000, 8_000, 1_500


class ThreadState(Kept):
    """Everything the thread must remember."""

    version: int = VERSION
    epoch: int = 0  # 0: not opened yet
    run_id: str = ""  # of the run that opened it
    agent: str = ""
    owner: str = ""
    tenant: str = ""
    next_turn: int = 1
    places: int = 0  # prompts and refusals so far
    inbox: list[Waiting] = Field(default_factory=list)
    steered: list[Waiting] = Field(default_factory=list)  # that join the running turn at its next step
    withdrawn: list[Waiting] = Field(default_factory=list)  # until that is in the store
    running: Running | None = None
    recent: dict[str, str] = Field(default_factory=dict)  # prompt id → digest, oldest first
    refusals: list[Refusal] = Field(default_factory=list)
    unlisted_refusals: int = 0
    status: str = "active"  # failed: so did the last turn; waiting: the turn that runs waits for somebody
    busy_modes: dict[str, Mode] = Field(default_factory=dict)  # agent → what prompts for it do that do not say it
    deliveries: list[str] = Field(default_factory=list)  # ended prompts whose senders are not told yet
    active_at: float = 0.0  # seconds since 1970: when it last had work
    idle_roll_s: float | None = None  # None: of a release that did not know it
    idle_timeout_s: float | None = None
    expires_at: float | None = None
    reopened: dict[str, str] = Field(default_factory=dict)  # wish → the prompt whose turn it was about, the last few
    ended: dict[str, TurnReport] = Field(default_factory=dict)  # prompt id → its end, oldest first, the last few
    shown: list[Shown] = Field(default_factory=list)
    resolved: dict[str, Resolved] = Field(default_factory=dict)  # call → what was decided about it, the last few
    operator: str = ""  # the person who has the thread, see domain.operators
    said: list[Said] = Field(default_factory=list)

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

    def check_room(self, prompt: Prompt) -> None:
        """Raises: InboxFullError if more is on its way to the store than the thread should carry.

        For senders who hear of it: what a signal brings is taken all the same.
        """
        if prompt.id not in self.recent:
            self._check_room()

    def _check_room(self) -> None:
        size = sum(waiting.size for waiting in self._waiting() if not waiting.in_store)
        if size > INLINE_INBOX_BYTES:
            raise InboxFullError(
                f"{size} bytes wait to be saved, more than {INLINE_INBOX_BYTES}; send this prompt again in a second"
            )

    @property
    def busy(self) -> bool:
        return self.running is not None or bool(self.inbox)

    @property
    def occupied(self) -> bool:
        """Whether a prompt that comes now has to wait."""
        return self.busy or bool(self.operator)

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

    # --- waiting prompts to the store

    def unsaved(self) -> list[Waiting]:
        """Waiting prompts that must be saved: all that do not start at once, and any that is too large to travel."""
        starts = self.inbox and self.running is None and not self.operator
        first = self.inbox[0] if starts else None
        return [
            waiting
            for waiting in self._waiting()
            if not waiting.in_store and not (waiting is first and waiting.can_start)
        ]

    def saved(self, batch: list[str], duplicates: list[str]) -> None:
        """Note which prompts the store has; drop duplicates, and the text of what is too much to carry."""
        done, twice = set(batch), set(duplicates)
        self.inbox = [waiting for waiting in self.inbox if waiting.id not in twice]
        self.steered = [waiting for waiting in self.steered if waiting.id not in twice]
        carried = 0
        for waiting in self._waiting():
            waiting.saved = waiting.saved or waiting.id in done
            carried += waiting.size if waiting.prompt else 0
            if waiting.saved and (waiting.size > INLINE_PROMPT_BYTES or carried > INLINE_INBOX_BYTES):
                waiting.prompt = None

    def revised(self, prompt_id: str, content: Content) -> None:
        """Note that the store has what a prompt says now, unless it says something else again by now."""
        for waiting in self._waiting():
            if waiting.id == prompt_id and waiting.revision == content:
                waiting.revision = waiting.prompt = None

    # --- wishes about prompts that wait, and turns that ended

    def withdraw(self, prompt_id: str) -> None:
        """Take it out; that it was withdrawn is to be saved. Raises: UnknownPromptError unless it waits."""
        if self.report(prompt_id).status == "withdrawn":
            return
        waiting = self._changeable(prompt_id)
        for prompts in (self.inbox, self.steered):
            if waiting in prompts:
                prompts.remove(waiting)
        self.withdrawn.append(waiting)
        self.note_end(TurnReport(prompt_id=prompt_id, status="withdrawn"))

    def note_withdrawn(self, prompt_ids: list[str]) -> None:
        """The store has it."""
        for waiting in self.withdrawn:
            if waiting.id in prompt_ids and waiting.replies:
                self.deliveries.append(waiting.id)
        self.withdrawn = [waiting for waiting in self.withdrawn if waiting.id not in prompt_ids]

    def edit(self, prompt_id: str, content: Content) -> None:
        """Raises: UnknownPromptError unless it waits; InboxFullError."""
        waiting = self._changeable(prompt_id)
        self._check_room()
        waiting.revision, waiting.preview = content, preview(text_of(content), WAITING_CHARS)

    def note_wish(self, wish_id: str, prompt_id: str) -> None:
        """So that the same wish is about the same turn, whatever was the last when it comes again."""
        self.reopened[wish_id] = prompt_id
        while len(self.reopened) > ENDED_KEPT:
            del self.reopened[next(iter(self.reopened))]

    def reopen(self, waiting: Waiting) -> Receipt:
        """An ended turn goes on, or begins again, when it is its turn. The store has it as open."""
        if self.is_open(waiting.id):
            return Receipt(prompt_id=waiting.id, disposition="duplicate")
        busy = self.occupied
        self.ended.pop(waiting.id, None)
        self.recent.pop(waiting.id, None)  # it becomes the newest
        self.remember(waiting.id, waiting.digest)
        self.inbox.append(waiting.model_copy(update={"place": self._place()}))
        return Receipt(prompt_id=waiting.id, disposition="queued" if busy else "started")

    def is_revised(self, prompt_id: str) -> bool:
        """Whether it waits, and the store does not have yet what it says now."""
        return any(waiting.id == prompt_id and waiting.revision is not None for waiting in self._waiting())

    def ended_prompt(self, prompt_id: str | None, turn: int | None) -> str:
        """The prompt of an ended turn: of the one that is named, else of the last. Raises: UnknownPromptError."""
        if prompt_id is not None:
            return prompt_id
        for report in reversed(self.ended.values()):
            if report.status in ("answered", "interrupted", "failed") and turn in (None, report.turn):
                return report.prompt_id
        what = "no turn has ended" if turn is None else f"turn {turn} is not one of the last that ended"
        raise UnknownPromptError(f"{what}, as far as the thread remembers; name the turn by its prompt_id")

    def _waiting(self) -> list[Waiting]:
        return [*self.inbox, *self.steered]

    def _changeable(self, prompt_id: str) -> Waiting:
        for waiting in self._waiting():
            if waiting.id == prompt_id and waiting.turn is None:
                return waiting
        status = self.report(prompt_id).status
        raise UnknownPromptError(
            f"prompt {prompt_id} does not wait: it is {status}"
            + ("; interrupt its turn instead" if status == "running" else "")
        )

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

    def note_end(self, report: TurnReport) -> None:
        self.ended.pop(report.prompt_id, None)
        self.ended[report.prompt_id] = report
        while len(self.ended) > ENDED_KEPT:
            del self.ended[next(iter(self.ended))]

    # --- what became of it

    def is_open(self, prompt_id: str) -> bool:
        running = self.running is not None and prompt_id in (self.running.prompt_id, *self.running.joined)
        return running or self.waits(prompt_id)

    def waits(self, prompt_id: str) -> bool:
        return any(waiting.id == prompt_id for waiting in self._waiting())

    def report(self, prompt_id: str | None, turn: int | None = None) -> TurnReport:
        """Of the prompt or the turn that is named; of none, the turn that runs, else the last that ended."""
        meant = (r for r in self._reports() if prompt_id in (None, r.prompt_id) and turn in (None, r.turn))
        return next(meant, TurnReport(prompt_id=prompt_id or "", status="unknown", turn=turn))

    def _reports(self) -> Iterator[TurnReport]:
        if self.running is not None:
            calls = list(waiting_calls(self.running))
            for prompt_id in (self.running.prompt_id, *self.running.joined):
                yield TurnReport(prompt_id=prompt_id, status="running", turn=self.running.turn, calls=calls)
        yield from reversed(self.ended.values())
        for waiting in self._waiting():
            yield TurnReport(prompt_id=waiting.id, status="waiting")

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

    def inline_bytes(self) -> int:
        """Of prompts that are carried whole."""
        waiting = [*self._waiting(), *self.withdrawn]
        prompts = sum(w.size for w in waiting if w.prompt)
        return prompts + sum(json_size(w.revision) for w in waiting if w.revision is not None)

    def _place(self) -> int:
        self.places += 1
        return self.places

    def remember(self, prompt_id: str, digest: str) -> None:
        self.recent[prompt_id] = digest
        # What waits or runs is never forgotten: it is the newest, whatever its number.
        while len(self.recent) > RECENT_IDS + len(self._waiting()) + MAX_JOINED:
            del self.recent[next(iter(self.recent))]


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
