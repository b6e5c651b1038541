"""Memory as an agent uses it: by its tools, and in the context of each step.

What a thread sees is its own owner's: the spaces that are searched come from the thread's record, never from the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from activities.calls import Call, failed
from activities.facts_ports import FactMemory, Recaller
from activities.results import Outcome
from domain.agent import Agent
from domain.errors import EverthreadError, InputRefusedError, UnavailableError
from domain.facts import FactFilter, NewFact, adds_nothing, digest_of
from domain.memory import Holder, Memory, NotesChange
from domain.memory_tools import Forget, Recall, Remember
from domain.messages import Message, ThreadRecord, preview
from domain.recall import Hit, RecallQuery, Scope
from domain.tokens import text_tokens

NO_MEMORY = "There is no memory here: this worker has none."
MEMORY_S = 10.0  # for what a step is shown
HIT_CHARS = 500
WORKING, FACTS = "working memory", "facts"  # names of parts of a context


class Remembering:
    """Over the ports it is given. Without a recaller, only facts are recalled."""

    def __init__(self, facts: FactMemory, recaller: Recaller | None = None) -> None:
        self._facts = facts
        self._recaller = recaller

    async def outcome(self, call: Call, agent: Agent, values: dict[str, Any]) -> Outcome:
        """What comes of a call of a tool of the memory."""
        wish, asked = values["arguments"], _Asked.of(call, agent)
        try:
            if isinstance(wish, Remember):
                return Outcome(await self._remember(asked, wish))
            if isinstance(wish, Recall):
                return Outcome(await self._recall(asked, wish))
            if isinstance(wish, Forget):
                return Outcome(await self._forget(asked, wish))
            notes = await self._facts.change_notes(asked.holder, NotesChange.model_validate(wish), call.row.id)
            return Outcome(f"Your working memory is changed; it is version {notes.version} now.")
        except (InputRefusedError, UnavailableError) as error:
            return failed(str(error))

    async def parts(self, record: ThreadRecord | None, agent: Agent, prompt: str) -> list[tuple[str, str]]:
        """Name and text of what the agent always sees: its document, and the facts nearest to the prompt, within their bounds.

        What cannot be had is left out: a memory that is away stops no turn.
        """
        memory = agent.memory
        if memory is None:
            return []
        holder = holder_of(record, agent)
        wanted = [self._notes_part(holder)] if memory.working else []
        if memory.facts and memory.shown_facts:
            wanted.append(self._facts_part(holder, prompt, memory.shown_facts, memory.facts_tokens))
        try:
            async with asyncio.timeout(MEMORY_S):
                found = await asyncio.gather(*wanted)
        except (EverthreadError, TimeoutError):
            return []
        return [part for part in found if part[1]]

    async def _notes_part(self, holder: Holder) -> tuple[str, str]:
        notes = await self._facts.read_notes(holder)
        text = notes.text or "(empty)"
        return WORKING, f"Your working memory (version {notes.version}; change it with update_memory):\n{text}"

    async def _facts_part(self, holder: Holder, prompt: str, most: int, tokens: int) -> tuple[str, str]:
        lines = ["What is remembered (known already: do not store it again):"]
        left = tokens - text_tokens(lines[0])
        for found in await self._facts.search(prompt, _current(holder), most):
            line = f"- {found.fact.text} [{found.fact.id}]"
            if (left := left - text_tokens(line)) < 0:
                break
            lines.append(line)
        return FACTS, "\n".join(lines) if len(lines) > 1 else ""

    async def _remember(self, asked: _Asked, wish: Remember) -> str:
        prompt = asked.prompt
        learned = await self._facts.remember(
            NewFact(
                holder=asked.holder,
                scope=asked.memory.scope,
                text=wish.text,
                replaces=wish.replaces,
                origin="tool",
                message=prompt.id if prompt else "",
                thread=asked.thread,
                turn=asked.turn,
                said_at=prompt.created_at if prompt else None,
                said=prompt.text if prompt else "",
            )
        )
        if learned.known and learned.fact.status != "current":
            return "Not remembered: it was known before, and is no longer so. It must be said anew."
        if learned.known:
            return f"Known already: {learned.fact.text} [{learned.fact.id}]"
        also = "".join(f"\n- {fact.text} [{fact.id}]" for fact in learned.near if fact.id != learned.fact.id)
        hint = f"\nRemembered before, and perhaps no longer so:{also}" if also else ""
        return f"Remembered [{learned.fact.id}].{hint}"

    async def _recall(self, asked: _Asked, wish: Recall) -> str:
        facts = await self._facts.search(wish.query, _current(asked.holder), wish.limit)
        lines = [f"- {found.fact.text} [{found.fact.id}] since {_day(found.fact.valid_from)}" for found in facts]
        said, note = await self._said(asked, wish)
        if not lines and not said:
            return f"Nothing is remembered about that.{note}"
        parts = [("Facts:", lines), ("Said before:", said)]
        return "\n".join(line for title, found in parts if found for line in [title, *found]) + note

    async def _said(self, asked: _Asked, wish: Recall) -> tuple[list[str], str]:
        if self._recaller is None:
            return [], ""
        scope = Scope(tenant=asked.holder.tenant, owner=asked.holder.owner)
        recalled = await self._recaller.recall(RecallQuery(text=wish.query, scope=scope, limit=wish.limit))
        hits = [hit for hit in recalled.hits if (hit.message.thread, hit.message.turn) != (asked.thread, asked.turn)]
        return [_line(hit) for hit in hits], f"\n({recalled.note})" if recalled.note else ""

    async def _forget(self, asked: _Asked, wish: Forget) -> str:
        if (wish.id is None) is (wish.text is None):
            raise InputRefusedError("give either the id of the fact or its text")
        own = [asked.holder.space(asked.memory.scope)]
        fact_id = wish.id or await self._meant(asked, own, wish.text or "")
        fact = await self._facts.forget(fact_id, own)
        if fact is None:
            raise InputRefusedError(
                f"id: there is no fact {preview(fact_id, 60)!r} that you may forget; recall tells them"
            )
        return f"Forgotten: {fact.text} [{fact.id}]"

    async def _meant(self, asked: _Asked, own: Sequence[str], text: str) -> str:
        """The id of the fact that says this. Raises: InputRefusedError, naming those that come near."""
        where = FactFilter(tenant=asked.holder.tenant, spaces=own, status="current")
        found = await self._facts.search(text, where, 5)
        for hit in found:
            if hit.fact.digest == digest_of(text) or adds_nothing(text, hit.fact.text, hit.dense or 0.0):
                return hit.fact.id
        near = "".join(f"\n- {hit.fact.text} [{hit.fact.id}]" for hit in found)
        raise InputRefusedError(f"text: no fact says that{f'; those that come near:{near}' if near else ''}")


@dataclass(frozen=True)
class _Asked:
    holder: Holder
    memory: Memory
    thread: str
    turn: int
    prompt: Message | None

    @classmethod
    def of(cls, call: Call, agent: Agent) -> _Asked:
        assert agent.memory is not None
        request = call.request
        return cls(holder_of(call.record, agent), agent.memory, request.thread, request.turn, call.prompt)


def holder_of(record: ThreadRecord | None, agent: Agent) -> Holder:
    return Holder(tenant=record.tenant if record else "", owner=record.owner if record else "", agent=agent.name)


def _current(holder: Holder) -> FactFilter:
    return FactFilter(tenant=holder.tenant, spaces=holder.visible, status="current")


def _line(hit: Hit) -> str:
    message: Message = hit.message
    return f"- {_day(message.created_at)}, {message.role}: {preview(message.text, HIT_CHARS)}"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
