"""The thread's own state and the rules by which it changes. No I/O, no clock, no randomness.

No prompt is lost and none is answered twice: a prompt enters `inbox` once (by its id), leaves it when its turn starts,
and stays in `running` until the turn has ended. Single writer: the thread's workflow. All of it is carried when the
workflow continues as new, and kept as a checkpoint in the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain import ids
from domain.errors import InboxFullError, InputRefusedError, PromptConflictError, ThreadBusyError
from domain.messages import Message, ThreadRecord, preview
from domain.prompts import Interrupt, InterruptReceipt, Prompt, Receipt, Refusal, TurnReport

VERSION = 1
RECENT_IDS = 1_000
MAX_WAITING = 1_000
INLINE_PROMPT_BYTES = 32_000  # a larger prompt travels by its id
INLINE_INBOX_BYTES = 256_000
MAX_REFUSALS = 100
SHOWN_TURNS = 5
SHOWN_CHARS = 200
WAITING_CHARS = 80
ENDED_KEPT = 20
FRONT = -(10**12)  # added to the place of a prompt that comes before all that wait

# The server ends a run at 51,200 events, 50 MB, 10,000 signals or 2,000 updates: roll well before each.
ROLL_EVENTS, ROLL_BYTES, ROLL_SIGNALS, ROLL_UPDATES = 8_000, 8_000_000, 8_000, 1_500


class Kept(BaseModel):
    """Part of the state. Fields of a newer release are kept, in case it comes back."""

    model_config = ConfigDict(extra="allow")


class Waiting(Kept):
    """A prompt that waits. `prompt` is None once it is saved and too large, or one too many, to be carried."""

    id: str
    digest: str
    place: int  # order of arrival
    agent: str | None = None
    preview: str = ""
    size: int = 0
    prompt: Prompt | None = None
    saved: bool = False


class Running(Kept):
    """The turn that runs and how far it got: the next model call is `step`."""

    prompt_id: str
    digest: str
    turn: int
    branch: int = 0
    step: int = 0
    agent: str
    preview: str = ""
    prompt: Prompt | None = None  # until the first step has saved it
    expect: list[str] = Field(default_factory=list)
    calls: int = 0  # tools that the step planned, while they run
    stop: str | None = None  # why it is being interrupted
    said: str = ""  # the start of what its last model call said, and where that is
    message_id: str | None = None

    def stopped(self) -> bool:
        return self.stop is not None


class Shown(Kept):
    """A turn as the details page of the thread shows it."""

    turn: int
    prompt: str
    answer: str
    status: str


class ThreadState(Kept):
    """Everything the thread must remember."""

    version: int = VERSION
    epoch: int = 0  # 0: not opened yet
    agent: str = ""
    owner: str = ""
    tenant: str = ""
    next_turn: int = 1
    places: int = 0  # prompts and refusals so far
    inbox: list[Waiting] = Field(default_factory=list)
    running: Running | None = None
    recent: dict[str, str] = Field(default_factory=dict)  # prompt id → digest, oldest first
    refusals: list[Refusal] = Field(default_factory=list)
    unlisted_refusals: int = 0
    status: str = "active"  # or failed
    ended: dict[str, TurnReport] = Field(default_factory=dict)  # prompt id → its end, oldest first, the last few
    shown: list[Shown] = Field(default_factory=list)

    # --- prompts in

    def check(self, prompt: Prompt) -> None:
        """Raises: PromptConflictError, InboxFullError if the prompt cannot be taken."""
        self._check(prompt.id, prompt.digest())
        if prompt.mode == "reject" and self.busy and prompt.id not in self.recent:
            raise ThreadBusyError(
                "the thread is busy and the prompt's mode is reject; send it later, or with mode queue"
            )

    @property
    def busy(self) -> bool:
        return self.running is not None or bool(self.inbox)

    def _check(self, prompt_id: str | None, digest: str) -> None:
        known = self.recent.get(prompt_id or "")
        if known is not None and known != digest:
            raise PromptConflictError(
                f"prompt id {preview(ascii(prompt_id), 60)} was used before for another text; send it under a new id"
            )
        if known is None and len(self.inbox) >= MAX_WAITING:
            raise InboxFullError(f"{MAX_WAITING} prompts wait already; send this one again when some are answered")

    def admit(self, prompt: Prompt) -> Receipt:
        """Take a prompt that has an id. Raises: PromptConflictError, InboxFullError."""
        assert prompt.id is not None
        self.check(prompt)
        if prompt.id in self.recent:
            return Receipt(prompt_id=prompt.id, disposition="duplicate")
        busy, interrupts = self.busy, prompt.mode == "interrupt" and self.running is not None
        waiting = Waiting(
            id=prompt.id,
            digest=prompt.digest(),
            place=self._place() + (FRONT if interrupts else 0),
            agent=prompt.agent,
            preview=preview(prompt.text, WAITING_CHARS),
            size=prompt.size(),
            prompt=prompt,
        )
        self._remember(prompt.id, waiting.digest)
        if not interrupts:
            self.inbox.append(waiting)
            return Receipt(prompt_id=prompt.id, disposition="queued" if busy else "started")
        self.inbox.insert(sum(other.place < 0 for other in self.inbox), waiting)
        self.interrupt(Interrupt(reason="another prompt came first"))
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

    def refuse(self, refusal_id: str, error: InputRefusedError, text: str, prompt_id: str | None = None) -> None:
        """Note what could not be taken, to be recorded; beyond a hundred unrecorded ones only their number is kept."""
        if len(self.refusals) >= MAX_REFUSALS:
            self.unlisted_refusals += 1
            return
        self.refusals.append(
            Refusal(id=refusal_id, reason=str(error), text=preview(text), prompt_id=prompt_id, place=self._place())
        )

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
        first_starts = self.running is None
        return [
            waiting
            for index, waiting in enumerate(self.inbox)
            if not waiting.saved and (index > 0 or not first_starts or waiting.size > INLINE_PROMPT_BYTES)
        ]

    def saved(self, batch: list[str], duplicates: list[str]) -> None:
        """Note which prompts the store has; drop duplicates, and the text of what is too much to carry."""
        done, twice = set(batch), set(duplicates)
        self.inbox = [waiting for waiting in self.inbox if waiting.id not in twice]
        carried = 0
        for waiting in self.inbox:
            waiting.saved = waiting.saved or waiting.id in done
            carried += waiting.size if waiting.prompt else 0
            if waiting.saved and (waiting.size > INLINE_PROMPT_BYTES or carried > INLINE_INBOX_BYTES):
                waiting.prompt = None

    # --- turns

    def ready(self) -> bool:
        """Whether the first prompt can start its turn."""
        return bool(self.inbox) and (self.inbox[0].saved or self.inbox[0].size <= INLINE_PROMPT_BYTES)

    def start_turn(self) -> Running:
        waiting = self.inbox.pop(0)
        self.running = Running(
            prompt_id=waiting.id,
            digest=waiting.digest,
            turn=self.next_turn,
            agent=waiting.agent or self.agent,
            preview=waiting.preview,
            prompt=waiting.prompt,
        )
        self.next_turn += 1
        return self.running

    def end_turn(
        self, answer: str, status: Literal["answered", "interrupted", "failed"], message_id: str | None = None
    ) -> None:
        """The running turn has ended and its end is in the store; `answer` is why, if it failed."""
        running = self.running
        assert running is not None
        ended = Shown(turn=running.turn, prompt=running.preview, answer=preview(answer, SHOWN_CHARS), status=status)
        self.shown = [*self.shown, ended][-SHOWN_TURNS:]
        error = {"answered": None, "interrupted": running.stop, "failed": preview(answer)}[status]
        self.note_end(
            TurnReport(
                prompt_id=running.prompt_id,
                status=status,
                turn=running.turn,
                message_id=message_id,
                text=preview(answer) if status != "failed" else "",
                error=error,
            )
        )
        self.running = None

    def note_end(self, report: TurnReport) -> None:
        self.ended.pop(report.prompt_id, None)
        self.ended[report.prompt_id] = report
        while len(self.ended) > ENDED_KEPT:
            del self.ended[next(iter(self.ended))]

    # --- what became of it

    def is_open(self, prompt_id: str) -> bool:
        running = self.running is not None and self.running.prompt_id == prompt_id
        return running or any(waiting.id == prompt_id for waiting in self.inbox)

    def report(self, prompt_id: str | None, turn: int | None = None) -> TurnReport:
        """Of the prompt or the turn that is named; of none, the turn that runs, else the last that ended."""
        meant = (r for r in self._reports() if prompt_id in (None, r.prompt_id) and turn in (None, r.turn))
        return next(meant, TurnReport(prompt_id=prompt_id or "", status="unknown", turn=turn))

    def _reports(self) -> Iterator[TurnReport]:
        if self.running is not None:
            yield TurnReport(prompt_id=self.running.prompt_id, status="running", turn=self.running.turn)
        yield from reversed(self.ended.values())
        for waiting in self.inbox:
            yield TurnReport(prompt_id=waiting.id, status="waiting")

    def drop_turn(self) -> None:
        """The running prompt turned out to be an older one's: its turn never was."""
        self.running = None
        self.next_turn -= 1

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
                self._remember(waiting.id, waiting.digest)
                self.inbox.append(waiting.model_copy(update={"place": self._place()}))
        return turned_away

    def carried(self) -> dict[str, Any]:
        """The state as JSON for the next run or the checkpoint: everything that differs from a new thread's."""
        return {"version": self.version} | self.model_dump(mode="json", exclude_defaults=True)

    def inline_bytes(self) -> int:
        return sum(waiting.size for waiting in self.inbox if waiting.prompt)

    def _place(self) -> int:
        self.places += 1
        return self.places

    def _remember(self, prompt_id: str, digest: str) -> None:
        self.recent[prompt_id] = digest
        # What waits or runs is never forgotten: it is the newest, whatever its number.
        while len(self.recent) > RECENT_IDS + len(self.inbox) + 1:
            del self.recent[next(iter(self.recent))]


def rebuild(
    checkpoint: ThreadState | None,
    record: ThreadRecord,
    recent: Sequence[Message],
    unended: Sequence[Message],
    lost: Sequence[Waiting],
) -> ThreadState:
    """The state of a thread whose workflow is gone, from what the store has of it.

    `recent` are its last prompts and `unended` those not ended yet, both oldest first; `lost` those of the checkpoint's
    waiting prompts that never reached the store themselves.
    """
    state = checkpoint.model_copy(deep=True) if checkpoint else ThreadState()
    started = [row for row in unended if row.turn is not None]
    turns = [row.turn for row in [*recent, *started] if row.turn is not None]
    state.epoch, state.agent, state.owner, state.tenant = record.epoch, record.agent, record.owner, record.tenant
    state.next_turn = max([*turns, record.turns]) + 1
    state.running = None
    if started:
        first = started[0]
        state.running = Running(
            prompt_id=first.prompt_id,
            digest=first.digest or "",
            turn=first.turn or 1,
            agent=first.agent or state.agent,
            preview=preview(first.text, WAITING_CHARS),
        )
    state.recent = {row.prompt_id: row.digest or "" for row in [*recent, *unended]} | {
        waiting.id: waiting.digest for waiting in lost
    }
    waiting_rows = [waiting_of(row) for row in unended if row not in started[:1]]
    state.inbox = sorted([*waiting_rows, *lost], key=lambda waiting: waiting.place)
    state.places = max([state.places, *(waiting.place for waiting in state.inbox)])
    return state


def waiting_of(row: Message) -> Waiting:
    """A saved prompt as the inbox knows it, by reference."""
    place = row.seq - ids.WAITING_SEQ if row.turn is None else 0
    agent, shown = row.agent or None, preview(row.text, WAITING_CHARS)
    return Waiting(id=row.prompt_id, digest=row.digest or "", place=place, agent=agent, preview=shown, saved=True)


def upgrade(raw: dict[str, Any]) -> ThreadState:
    """The state of this release from one that any earlier release carried or checkpointed.

    Fields of a newer release are kept. (There is one version so far.)
    """
    return ThreadState.model_validate(raw)


def must_roll(*, events: int, size: int, suggested: bool, signals: int, updates: int) -> bool:
    """Whether a run should continue as new now; `size` is its history in bytes."""
    return (
        suggested or events >= ROLL_EVENTS or size >= ROLL_BYTES or signals >= ROLL_SIGNALS or updates >= ROLL_UPDATES
    )
