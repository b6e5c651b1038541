"""What the Temporal Web UI shows of a thread: search attributes and the details page.

Search attributes are never encrypted and cannot be erased: no titles, no names, the owner only as an opaque id. They
change rarely, since each change costs two events; the details are a value in memory and cost none.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

with workflow.unsafe.imports_passed_through():
    from domain import ids
    from domain.gates import waiting_calls
    from domain.thread import ThreadState

AGENT = SearchAttributeKey.for_keyword("EverthreadAgent")
OWNER = SearchAttributeKey.for_keyword("EverthreadOwner")
TENANT = SearchAttributeKey.for_keyword("EverthreadTenant")
STATUS = SearchAttributeKey.for_keyword("EverthreadStatus")
ALL = (AGENT, OWNER, TENANT, STATUS)

_FOR = {"approval": "an approval", "result": "its result"}
_ESCAPED = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>#|~"})


def owner_id(tenant: str, owner: str) -> str:
    return ids.opaque(tenant, owner)


def announce(state: ThreadState) -> None:
    """Bring the search attributes up to date, if they are not."""
    wanted = {
        AGENT: state.agent,
        OWNER: owner_id(state.tenant, state.owner),
        TENANT: state.tenant,
        STATUS: state.status,
    }
    have: TypedSearchAttributes = workflow.info().typed_search_attributes
    changes = [key.value_set(value) for key, value in wanted.items() if (have.get(key) or "") != value]
    if changes:
        workflow.upsert_search_attributes(changes)


def started(agent: str, owner: str, tenant: str) -> TypedSearchAttributes:
    """The attributes a client gives a new thread, which saves the thread an event."""
    pairs = [(AGENT, agent), (OWNER, owner_id(tenant, owner)), (TENANT, tenant), (STATUS, "active")]
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs if value])


def details(thread: str, state: ThreadState) -> str:
    """The thread as a support engineer wants to read it, in Markdown: what it does now, then its last turns."""
    running = state.running
    now = f"answering turn {running.turn}, step {running.step + 1}" if running else "idle"
    now += f", {_plain(state.operator)} has the thread" if state.operator else ""
    waiting = f", {len(state.inbox)} waiting" if state.inbox else ""
    lines = [f"**{_plain(thread)}** · agent `{state.agent or '…'}` · {now}{waiting}", ""]
    for call in waiting_calls(running):
        lines += [f"⏸ `{call.call_id}` waits for {_FOR[call.kind]}: {_plain(call.tool)} {_plain(call.arguments)}", ""]
    for shown in state.shown:
        how = "" if shown.status == "answered" else f"{shown.status}: "
        lines += _turn(shown.turn, shown.prompt, how + shown.answer)
    if running:
        lines += _turn(running.turn, running.preview, "…")
    return "\n".join(lines)


def _turn(number: int, prompt: str, answer: str) -> list[str]:
    return [f"**{number}. {_plain(prompt)}**", "", f"> {_plain(answer)}", ""]


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return text.translate(_ESCAPED)
