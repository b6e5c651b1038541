"""What the store, the logs and the ledger say after the storm, against what was sent. A fault is a sentence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from bench.agents.teller import VOUCHED
from bench.fleet import Fleet
from domain.messages import Message, preview
from domain.prompts import Mode

ENDS = ("answered", "joined", "interrupted", "withdrawn", "refused", "failed")
PAGE = 1_000


@dataclass
class Sent:
    """A prompt as its sender knows it. `accepted`: a signal that arrived, or an update that was not refused."""

    id: str
    thread: str
    text: str
    mode: Mode = "queue"
    by_signal: bool = False
    accepted: bool = False
    withdrawn: bool = False  # the thread has said so
    took_s: float = 0.0  # from the first sending until it was accepted or turned away
    said: str = ""  # what the thread has confirmed that it says now


@dataclass
class Count:
    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  # of turns that failed or prompts that were refused
    lost: int = 0
    double_answers: int = 0
    double_writes: int = 0
    invalid: int = 0
    answers: int = 0
    payments: int = 0
    wrong_decisions: int = 0  # that were confirmed and not kept
    unlogged: int = 0  # final in the store, and killed before the line was written
    late_tasks: int = 0
    broken: set[str] = field(default_factory=set)  # threads

    def fault(self, thread: str, sentence: str) -> None:
        self.faults.append(f"{thread}: {sentence}")
        self.broken.add(thread)

    async def keep(self, fleet: Fleet, *others: str) -> None:
        """What is needed to find a cause: rows and histories of the broken threads and some others, beside the logs."""
        for thread in sorted({*self.broken, *others}):
            rows = [row.model_dump_json(exclude_defaults=True) for row in await rows_of(fleet, thread)]
            (fleet.folder / f"{thread}.rows").write_text("\n".join(rows))
            (fleet.folder / f"{thread}.json").write_text((await _history(fleet, thread)).to_json())


async def _history(fleet: Fleet, thread: str) -> WorkflowHistory:
    return await fleet.threads.handle(thread).fetch_history()


async def rows_of(fleet: Fleet, thread: str) -> list[Message]:
    rows, cursor = list[Message](), None
    while True:
        page = await fleet.store.page(thread, cursor=cursor, limit=PAGE, newest_first=False)
        rows, cursor = rows + page.items, page.next
        if cursor is None:
            return rows


async def count(
    fleet: Fleet,
    prompts: Sequence[Sent],
    last: Sequence[Sent],
    ledger: Path,
    decided: Mapping[str, str],
    signalled: Collection[str],
) -> Count:
    found, by_thread = Count(), defaultdict[str, list[Sent]](list)
    finished = Counter(line["message_id"] for line in fleet.log("message.finished"))
    for prompt in prompts:
        by_thread[prompt.thread].append(prompt)
    next_calls: dict[str, Message] = {}
    for thread, sent in by_thread.items():
        rows = await rows_of(fleet, thread)
        next_calls |= {row.prompt_id: row for row in rows if row.slot == "prompt"}
        check_ends(found, sent, [row for row in rows if not _late_decision(row, signalled)])
        check_order(found, thread, sent, rows)
        check_answers(found, thread, rows, finished)
        check_calls(found, thread, rows)
        check_decisions(found, thread, rows, decided, ledger)
        events = (await _history(fleet, thread)).events
        found.late_tasks += sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT for event in events)
        if await fleet.store.open_prompts(thread, 1):
            found.fault(thread, "the store still has an open prompt")
    check_ledger(found, ledger)
    check_next_calls(found, last, next_calls)
    return found


def _late_decision(row: Message, signalled: Collection[str]) -> bool:
    """A decision that came by signal after another one: its sender cannot be told, so the thread keeps its refusal."""
    return row.status == "refused" and any(decision in row.text for decision in signalled)


def check_ends(found: Count, sent: Sequence[Sent], rows: Sequence[Message]) -> None:
    """Every accepted prompt has exactly one end, and what the thread confirmed to its sender is so."""
    prompted, turned_away = defaultdict[str, list[Message]](list), defaultdict[str, list[Message]](list)
    for row in rows:
        if row.role == "user" and row.status != "refused":
            prompted[row.prompt_id].append(row)
        elif row.role == "user":
            turned_away[row.text].append(row)
    for prompt in sent:
        ends = prompted.pop(prompt.id, []) + turned_away.pop(preview(prompt.text), [])
        found.ends.update(row.status for row in ends)
        found.errors.update(preview(row.error or "", 120) for row in ends if row.status in ("failed", "refused"))
        check_end(found, prompt, ends)
    for strangers in (prompted, turned_away):
        for name, others in strangers.items():
            found.fault(others[0].thread, f"it has {name!r}, which nobody sent: {[row.status for row in others]}")


def check_end(found: Count, prompt: Sent, ends: Sequence[Message]) -> None:
    states = [row.status for row in ends]
    if prompt.accepted and (len(ends) != 1 or states[0] not in ENDS):
        found.lost += 1
        found.fault(prompt.thread, f"{prompt} has the ends {states}")
    elif not prompt.accepted and ends:
        found.fault(prompt.thread, f"{prompt} was turned away and has the ends {states}")
    elif prompt.withdrawn and states != ["withdrawn"]:
        found.fault(prompt.thread, f"{prompt} was withdrawn and has the ends {states}")
    elif prompt.said and ends[0].text != prompt.said:
        found.fault(prompt.thread, f"{prompt} was edited and says {ends[0].text!r}")


def check_order(found: Count, thread: str, sent: Sequence[Sent], rows: Sequence[Message]) -> None:
    """Turns are numbered from 1 without a gap, each is one prompt's, and who queued first came first."""
    turns = {row.prompt_id: row.turn or 0 for row in rows if row.slot == "prompt" and row.status != "refused"}
    own = {row.prompt_id for row in rows if row.status in ("answered", "interrupted", "failed") and row.role == "user"}
    numbers = sorted(turns[prompt_id] for prompt_id in own)
    if numbers != list(range(1, len(numbers) + 1)):
        found.fault(thread, f"the turns are {numbers}")
    queued = [turns[prompt.id] for prompt in sent if prompt.mode == "queue" and prompt.id in own]
    if queued != sorted(queued):
        found.fault(thread, f"the prompts that queued had the turns {queued}")


def check_answers(found: Count, thread: str, rows: Sequence[Message], finished: Counter[str]) -> None:
    """A row becomes final once; a turn that was answered has all its steps, the last of which ends it."""
    steps = defaultdict[str, list[Message]](list)
    for row in rows:
        if row.status == "pending":
            found.fault(thread, f"row {row.id} ({row.role}, {row.prompt_id}, step {row.step}) is still open")
        if row.role != "assistant":
            continue
        steps[row.prompt_id].append(row)
        found.answers += 1
        found.unlogged += row.status == "complete" and not finished[row.id]
        if finished[row.id] > 1:
            found.double_answers += 1
            found.fault(thread, f"answer {row.id} of {row.prompt_id} was finished {finished[row.id]} times")
    for prompt in (row for row in rows if row.role == "user" and row.status == "answered"):
        said = steps[prompt.prompt_id]
        whole = [row.step for row in said] == list(range(len(said))) and all(row.status == "complete" for row in said)
        if not (said and whole and said[-1].text and said[-1].id == prompt.answer):
            found.lost += 1
            found.fault(thread, f"{prompt.prompt_id} was answered by {[(r.step, r.status, r.text[:20]) for r in said]}")


def check_calls(found: Count, thread: str, rows: Sequence[Message]) -> None:
    """Each call that was to be run has a result that is final."""
    results = {(row.prompt_id, row.step, row.slot): row.status for row in rows if row.role == "tool"}
    for row in _planning(rows):
        for index, call in enumerate((row.result or {})["plan"]):
            status = results.get((row.prompt_id, row.step, f"tool:{index}"), "nothing")
            if status in ("pending", "nothing"):
                found.fault(thread, f"call {index} ({call['tool']}) of {row.prompt_id}, step {row.step} has {status}")


def check_decisions(
    found: Count, thread: str, rows: Sequence[Message], decided: Mapping[str, str], ledger: Path
) -> None:
    """What was decided about a call is what became of it; what nobody approved was not done."""
    done = ledger.read_text() if ledger.exists() else ""
    for row in (row for row in rows if row.role == "tool" and row.args_digest is not None):
        kept, confirmed = (row.decision or {}).get("decision"), decided.get(row.id)
        if confirmed is not None and kept != confirmed and row.status != "interrupted":
            found.wrong_decisions += 1
            found.fault(thread, f"call {row.id} was decided as {confirmed} and has {kept}, {row.status}")
        if kept != "approve" and f"{VOUCHED} {row.id}" in done:
            found.wrong_decisions += 1
            found.fault(thread, f"call {row.id} has the decision {kept} and was run")


def _planning(rows: Sequence[Message]) -> Iterator[Message]:
    return (row for row in rows if row.role == "assistant" and (row.result or {}).get("plan"))


def check_ledger(found: Count, ledger: Path) -> None:
    """A payment is made once for one call."""
    paid = Counter(ledger.read_text().splitlines() if ledger.exists() else [])
    found.payments = paid.total()
    for line, times in paid.items():
        if times > 1:
            found.double_writes += 1
            found.fault(line.partition(" ")[0].removeprefix("thread/"), f"paid {times} times: {line}")


def check_next_calls(found: Count, last: Sequence[Sent], rows: dict[str, Message]) -> None:
    """After the storm each thread is asked once more: the model takes the thread's history."""
    for sent in last:
        row = rows.get(sent.id)
        if row is None or row.status != "answered":
            found.invalid += 1
            found.fault(sent.thread, f"its next call ended as {row and row.status}: {row and row.error}")
