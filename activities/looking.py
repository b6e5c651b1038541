"""The context of a model call without the call: what the model would see if something were said on a thread now."""

from __future__ import annotations

import time
from collections.abc import Callable

from activities.backlog import Backlog
from activities.calling import Estimates, model_request
from activities.consulting import Consulting
from activities.forms import Forms
from activities.lease import Lease
from activities.memory import Memory
from activities.past import PastReader
from activities.ports import Catalog, KnowledgeSearch, Store, Summaries, TokenCounter
from activities.remembering import Remembering
from activities.rows import asker_of, prompt_row
from activities.step import Step
from domain import ids
from domain.chat import ChatMessage
from domain.context_record import ContextView, ShownMessage
from domain.errors import UnknownThreadError
from domain.messages import preview
from domain.prompts import Prompt
from domain.steps import StepRequest

ANY_ID = "look"  # of a prompt that nobody sends


class ContextLooks:
    """Contexts over the same ports as model calls are made of; nothing is written, and no model is asked."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        budget_tokens: int,
        tokens: TokenCounter | None = None,
        memory: Memory | None = None,
        summaries: Summaries | None = None,
        knowledge: KnowledgeSearch | None = None,
        remembering: Remembering | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._budget = budget_tokens
        self._tokens = tokens or Estimates()
        self._memory = memory
        self._summaries = summaries
        self._remembering = remembering
        self._consulting = Consulting(knowledge)
        self._clock = clock
        self._forms = Forms()

    async def look(self, thread: str, text: str, agent: str | None = None) -> ContextView:
        """What the first model call of a turn of this text would see; tools of MCP servers are left out.

        Raises: UnknownThreadError, UnknownAgentError, HookError.
        """
        record = await self._store.get_thread(thread)
        if record is None:
            raise UnknownThreadError(f"there is no thread {preview(ascii(thread), 60)}")
        name = agent or record.agent or self._catalog.default
        turn, now = record.turns + 1, self._clock()
        request = StepRequest(thread=thread, epoch=record.epoch, prompt_id=ANY_ID, turn=turn, agent=name)
        step = Step(
            request,
            await self._catalog.agent(name, asker_of(thread, record)),
            0,
            Lease(float("inf")),
            record,
        )
        place = {"turn": turn, "seq": ids.first_seq(turn)}
        row = prompt_row(thread, Prompt(id=ANY_ID, content=text), record, now).model_copy(update=place)
        self._consulting.equip(step)
        step.see([row], now, now)
        await self._consulting.look_up(step)
        kept = (self._memory, self._summaries, self._remembering)
        past = await PastReader(Backlog(self._store, self._clock), *kept).of(step)
        asked = await model_request(step, past, self._budget, self._forms, self._tokens)
        assert step.context is not None
        return ContextView(
            thread=thread, agent=step.agent.name, record=step.context, messages=[_shown(m) for m in asked.messages]
        )


def _shown(message: ChatMessage) -> ShownMessage:
    images = [part.url for part in message.parts if part.type == "image"]
    return ShownMessage(
        role=message.role,
        text=message.text,
        tool_calls=list(message.tool_calls),
        call_id=message.call_id,
        name=message.name,
        images=images,
    )
