"""The chat in a terminal: type, and watch the answer come. Other programs may talk to the same thread meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from contextlib import aclosing, suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import ANSI

from client.reading import ThreadReader
from client.threads import Threads
from domain.errors import EverthreadError, UnavailableError
from domain.events import Event
from domain.messages import Message
from domain.prompts import Prompt, ThreadStart, read_prompt
from gateway.decisions import Asked, Decisions
from gateway.notes import LINES, resolved_words
from gateway.transcript import BOLD, PLAIN, Transcript

RESEND_S = 2.0
ASIDE_S = 10.0  # for an answer to be stopped
RECALLED_ROWS = 40  # of a thread that is opened again
WRITTEN = {*LINES, "message.started", "model.retrying", "prompt.refused"}  # not into a line that is being typed
NO_TURN = ("refused", "withdrawn", "joined")  # prompts that began none, or came to another's


class Chat:
    """One thread in one terminal.

    While an answer comes there is no input line; what is typed then waits in the terminal. A prompt from elsewhere takes
    the input line away and gives it back, with what was typed so far, when it is answered.
    """

    def __init__(self, threads: Threads, reader: ThreadReader, *, thread: str, start: ThreadStart) -> None:
        self._threads = threads
        self._reader = reader
        self._thread = thread
        self._start = start
        self._session: PromptSession[str | None] = PromptSession()
        self._transcript = Transcript(_write, _terminal_size)
        self._decisions = Decisions(thread, start.owner or "you")
        self._overheard: dict[str, asyncio.Task[None]] = {}  # threads of agents that this one asks
        self._asked: Asked | None = None  # the call that the input line is about
        self._line = ""  # what the input line begins with
        self._typed: dict[str, str] = {}  # so far, by the line that it was typed into
        self._mine: set[str] = set()
        self._unended: set[str] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._input_closed = asyncio.Event()
        self._input_closed.set()
        self._hearing = asyncio.Lock()  # one event at a time, of whichever thread

    async def run(self) -> None:
        """Chat until the user leaves (Ctrl-C or Ctrl-D)."""
        await self._recall()
        follower = asyncio.create_task(self._follow())
        try:
            while True:
                await self._idle.wait()
                text = await self._read()
                if text is None or not text.strip():
                    continue
                if self._asked is not None:
                    await self._decide(self._asked, text)
                else:
                    await self._send(text)
        except (EOFError, KeyboardInterrupt):
            pass
        finally:  # also when a signal ends the program in the middle of an answer
            if self._stopping is not None:
                self._stopping.cancel()
            if self._unended:
                self._transcript.note("\nThe answer goes on when you start again.")
            self._stop_overhearing()
            follower.cancel()
            with suppress(asyncio.CancelledError):
                await follower

    def stop_answer(self) -> bool:
        """Stop the answer that comes, on Ctrl-C. Returns False if there is none, or it was asked to stop before."""
        if not self._unended or (self._stopping is not None and not self._stopping.done()):
            return False
        self._stopping = asyncio.create_task(self._stop())
        return True

    async def _stop(self) -> None:
        """Done when the turn has ended, so that a second Ctrl-C before that leaves."""
        with suppress(EverthreadError, TimeoutError):
            async with asyncio.timeout(ASIDE_S):
                await self._threads.interrupt(self._thread, reason="Ctrl-C")
                await self._idle.wait()

    async def _recall(self) -> None:
        """Show how a thread that is opened again ended, and what of it is not ended."""
        page = await self._reader.messages(self._thread, limit=RECALLED_ROWS, newest_first=True)
        prompts = [row for row in reversed(page.items) if row.role == "user" and row.status not in NO_TURN]
        ended = [row for row in prompts if row.final]
        for row in [*ended[-1:], *(row for row in prompts if not row.final)]:
            self._transcript.prompt(row.text, row.author)
            if row.final:
                await self._show_ended(row)
            else:
                self._unended.add(row.prompt_id)
        self._decisions.add(*await self._reader.waiting_calls(self._thread))
        for row in page.items:
            if row.child is not None and not row.final:
                self._overhear(row.child.thread)
        self._update()

    async def _follow(self) -> None:
        async with aclosing(self._reader.follow(self._thread, unended=self._unended)) as feed:
            async for event in feed:
                if event.kind == "tool.progress" and self._session.app.is_running:  # somebody is being asked something
                    continue
                async with self._hearing:
                    await self._hear(event)
                    if event.kind == "agent.asked":
                        self._overhear(event.data["child"])
                    self._update()

    def _overhear(self, thread: str) -> None:
        """Hear which calls of an agent that is asked wait for somebody: nobody else may be there to decide."""
        if thread not in self._overheard:
            self._overheard[thread] = asyncio.create_task(self._follow_asked(thread))

    async def _follow_asked(self, thread: str) -> None:
        async with aclosing(self._reader.follow(thread)) as feed:
            async for event in feed:
                async with self._hearing:
                    await self._hear_asked(event, thread)
                    self._update()

    async def _hear_asked(self, event: Event, thread: str) -> None:
        if event.kind == "agent.asked":
            self._overhear(event.data["child"])
        news = self._decisions.hear(event, thread)
        if event.kind == "snapshot":  # now all that waits later is heard
            news = self._decisions.add(*await self._reader.waiting_calls(thread))
        if news:
            await self._tell_decisions(event)

    async def _tell_decisions(self, event: Event) -> None:
        await self._close_input()
        if event.kind == "tool.resolved":
            self._transcript.note(resolved_words(event))

    def _stop_overhearing(self) -> None:
        for thread, task in self._overheard.items():
            task.cancel()
            self._decisions.forget(thread)
        self._overheard.clear()

    async def _hear(self, event: Event) -> None:
        prompt_id = event.data.get("prompt_id")
        if event.kind == "turn.started" and prompt_id not in self._mine | self._unended:
            await self._close_input()
            self._transcript.prompt(event.data["text"], event.data["author"] or "from elsewhere")
            self._unended.add(str(prompt_id))
        elif event.kind == "prompt.joined":
            if prompt_id not in self._mine | self._unended:
                self._transcript.prompt(event.data["text"], event.data["author"] or "from elsewhere")
            self._unended.discard(str(prompt_id))  # what it said is answered by the turn it joined
        elif event.kind in WRITTEN:
            await self._close_input()
        self._transcript.show(event)
        if self._decisions.hear(event):
            await self._tell_decisions(event)
        if event.kind == "turn.finished":
            self._stop_overhearing()
            if event.data["status"] == "answered" and event.data["message_id"] != self._transcript.shown:
                row = await self._reader.prompt(self._thread, str(prompt_id))
                if row is not None:
                    await self._show_ended(row)  # it was whole before we listened
            self._unended.discard(str(prompt_id))

    async def _decide(self, asked: Asked, text: str) -> None:
        try:
            await self._threads.resolve(*self._decisions.decide(asked, text))
        except EverthreadError as error:
            self._transcript.note(f"not taken: {error}")
        self._update()

    async def _show_ended(self, row: Message) -> None:
        if row.status == "answered":
            answer = await self._reader.answer(row)
            who = (answer.author or answer.agent) if answer else row.agent
            self._transcript.answer(who or "assistant", answer.text if answer else "")
        else:
            self._transcript.ended(row.status, row.error)

    async def _send(self, text: str) -> None:
        prompt_id = str(uuid.uuid4())
        self._mine.add(prompt_id)
        self._unended.add(prompt_id)
        self._update()
        try:
            await self._submit(read_prompt({"id": prompt_id, "content": text}))
        except EverthreadError as error:
            self._unended.discard(prompt_id)
            self._transcript.note(f"refused: {error}")
            self._update()

    async def _submit(self, prompt: Prompt) -> None:
        """Send it until it is taken or refused: under one id, so that it is taken once."""
        while True:
            try:
                await self._threads.submit(self._thread, prompt, self._start)
            except UnavailableError:
                self._transcript.note("Temporal does not answer; your prompt is sent again …")
                await asyncio.sleep(RESEND_S)
            else:
                return

    async def _read(self) -> str | None:
        """A line from the user. Returns None if a prompt from elsewhere took the input line away."""
        self._input_closed.clear()
        self._transcript.pass_on()
        try:
            # Its own handler of SIGINT would leave none behind, and Ctrl-C in the middle of an answer would do nothing.
            if self._asked != self._decisions.first:
                self._asked = self._decisions.first
                if self._asked and (arguments := self._decisions.rest()):  # what is approved is what was seen
                    self._transcript.note(arguments)
            self._line = f"{self._decisions.question()} › " if self._asked else f"{BOLD}you ›{PLAIN} "
            typed = self._typed.pop(self._line, "")
            return await self._session.prompt_async(ANSI(self._line), default=typed, handle_sigint=False)
        finally:
            self._input_closed.set()

    async def _close_input(self) -> None:
        line = self._session.app.future
        if line is not None and not line.done():  # else it was just sent
            self._typed[self._line] = self._session.app.current_buffer.text
            self._idle.clear()
            self._session.app.erase_when_done = True
            self._session.app.exit(result=None)
            await self._input_closed.wait()
            self._session.app.erase_when_done = False

    def _update(self) -> None:
        if self._unended and not self._decisions.pending:
            self._idle.clear()
        else:
            self._idle.set()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _terminal_size() -> tuple[int, int]:
    size = os.get_terminal_size()
    return size.columns, size.lines
