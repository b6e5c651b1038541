"""All that a thread must remember, and what can be read of it. The rules by which it changes are in domain.thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from domain.errors import UnknownPromptError
from domain.gates import waiting_calls
from domain.prompts import Mode, Refusal
from domain.state import Kept, Resolved, Running, Said, Shown, Waiting
from domain.wire import json_size
from domain.wishes import TurnReport

VERSION = 1
RECENT_IDS = 1_000
MAX_JOINED = 100  # prompts that join one turn
ENDED_KEPT = 20


class Ledger(Kept):
    """The fields of domain.thread.ThreadState, which are carried and kept in the store."""

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

    # --- what it is doing

    @property
    def busy(self) -> bool:
        return self.running is not None or bool(self.inbox)

    @property
    def occupied(self) -> bool:
        """Whether a prompt that comes now has to wait."""
        return self.busy or bool(self.operator)

    def is_open(self, prompt_id: str) -> bool:
        running = self.running is not None and prompt_id in (self.running.prompt_id, *self.running.joined)
        return running or self.waits(prompt_id)

    def waits(self, prompt_id: str) -> bool:
        return any(waiting.id == prompt_id for waiting in self._waiting())

    def is_revised(self, prompt_id: str) -> bool:
        """Whether it waits, and the store does not have yet what it says now."""
        return any(waiting.id == prompt_id and waiting.revision is not None for waiting in self._waiting())

    def _waiting(self) -> list[Waiting]:
        return [*self.inbox, *self.steered]

    # --- what became of a prompt or a turn

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

    def ended_prompt(self, prompt_id: str | None, turn: int | None) -> str:
        """The prompt of an ended turn: of the one that is named, else of the last. Raises: UnknownPromptError."""
        if prompt_id is not None:
            return prompt_id
        for report in reversed(self.ended.values()):
            if report.status in ("answered", "interrupted", "failed") and turn in (None, report.turn):
                return report.prompt_id
        what = "no turn has ended" if turn is None else f"turn {turn} is not one of the last that ended"
        raise UnknownPromptError(f"{what}, as far as the thread remembers; name the turn by its prompt_id")

    # --- what is erased

    def erase(self, prompt_ids: Sequence[str], turns: Sequence[int]) -> list[str]:
        """Show turns no more, and of how they ended only that they did; return the prompts of those that have not.

        Their ids stay, so that a prompt that comes again is still known.
        """
        still_open = [prompt_id for prompt_id in prompt_ids if self.is_open(prompt_id)]
        gone = set(prompt_ids) - set(still_open)
        of_turns = set(turns) | {report.turn for report in self.ended.values() if report.prompt_id in gone}
        if self.running is not None:
            of_turns -= {self.running.turn}
        self.shown = [shown for shown in self.shown if shown.turn not in of_turns]
        self.resolved = {call: known for call, known in self.resolved.items() if known.turn not in of_turns}
        for prompt_id in gone & self.ended.keys():
            said = {"text": "", "message_id": None, "error": None}
            self.ended[prompt_id] = self.ended[prompt_id].model_copy(update=said)
        return still_open

    # --- what it remembers

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

    def note_end(self, report: TurnReport) -> None:
        self.ended.pop(report.prompt_id, None)
        self.ended[report.prompt_id] = report
        while len(self.ended) > ENDED_KEPT:
            del self.ended[next(iter(self.ended))]
