"""Prompts that wait: on their way to the store, taken back, changed; and ended turns that wait to go on."""

from __future__ import annotations

from domain.content import Content, text_of
from domain.errors import InboxFullError, UnknownPromptError
from domain.ledger import ENDED_KEPT, Ledger
from domain.messages import preview
from domain.prompts import Prompt
from domain.state import INLINE_PROMPT_BYTES, Waiting
from domain.wishes import Receipt, TurnReport

INLINE_INBOX_BYTES = 256_000
WAITING_CHARS = 80


class Inbox(Ledger):
    """Those rules of domain.thread.ThreadState that are about what has no turn yet."""

    # --- to the store

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

    # --- wishes about them, and about turns that ended

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

    def _changeable(self, prompt_id: str) -> Waiting:
        for waiting in self._waiting():
            if waiting.id == prompt_id and waiting.turn is None:
                return waiting
        status = self.report(prompt_id).status
        raise UnknownPromptError(
            f"prompt {prompt_id} does not wait: it is {status}"
            + ("; interrupt its turn instead" if status == "running" else "")
        )
