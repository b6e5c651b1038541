"""A storm: many threads, prompts of every mode, and workers that are killed with -9 or frozen every few seconds.

50 threads get 2,000 prompts by signal and update mixed, in bursts; 5 % are sent twice, 10 % steer, interrupt or replace
or are followed by an interrupt, some are withdrawn, edited or want no waiting. Three workers run; every few seconds one
is killed and started again at once, or stopped and continued. Some calls wait for an approval, which comes from outside,
now and then twice and differently. Whoever sends does as a client should: what Temporal did
not confirm is sent again under its id. In the end every prompt must have exactly one end (see bench.chaos_count).

SECONDS= how long the storm lasts, N= prompts, SEED= repeats the choices of an earlier run, KEEP= a new folder for all
logs, and the rows and histories of threads that are broken.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from bench.agents.teller import LEDGER
from bench.chaos_count import Count, Sent, count
from bench.fleet import FLEET_LAYOUT, Fleet, Worker, fleet
from bench.ground import figure, p95, play, say
from client.sender import CALL_TIMEOUT
from domain.approvals import Resolution
from domain.errors import InputRefusedError, ThreadBusyError, UnavailableError
from domain.listing import CallFilter
from domain.messages import Message, preview
from domain.prompts import Prompt, ThreadStart
from domain.wishes import ChangeReceipt

THREADS, WORKERS = 50, 3
SECONDS, PROMPTS = 300.0, 2_000
BURST = 6  # prompts at most, without a pause
FROZEN_S = 8.0  # at most: longer than a heartbeat timeout
CALM_S = (1.5, 4.0)  # between two blows
KILLS = 0.6  # of all blows; the others are freezes
REST_S = 180.0
PACE_S = 0.05
WORDS = " ".join(f"word{number}" for number in range(20))
CALLS: dict[str, list[str]] = {"look": ["look"], "pay": ["pay"], "settle": ["pay", "look", "vouch"], "vouch": ["vouch"]}
REPLIES: list[dict[str, Any]] = [
    *({"when": word, "tool_calls": [{"name": name} for name in names]} for word, names in CALLS.items()),
    {"after_tool": True, "text": WORDS, "delay_s": PACE_S},
    {"text": WORDS, "delay_s": PACE_S},
]
ASKS = ["tell me."] * 8 + ["look around.", "pay.", "settle it.", "vouch for me."]
MODES = {"queue": 90.5, "steer": 2.5, "interrupt": 2.5, "replace": 2.5, "reject": 2.0}
AFTER = {"": 88.5, "again": 5.0, "interrupt": 2.5, "withdraw": 2.0, "edit": 2.0}  # what is done about a prompt, in %
AGAIN_S = 0.5
UNHEARD_CHARS = 120
BY_SIGNAL, TWICE = 0.2, 0.2  # of all decisions


@dataclass
class Storm:
    fleet: Fleet
    chance: random.Random
    prompts: list[Sent] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)  # why what was sent had to be sent again
    calm: bool = False
    decided: dict[str, str] = field(default_factory=dict)  # a call's row → what the thread has confirmed
    signalled: set[str] = field(default_factory=set)  # decisions that went by signal

    # --- sending

    async def send_all(self, prompts: int, seconds: float) -> None:
        shares = Counter(number % THREADS for number in range(prompts))
        await asyncio.gather(*(self.sender(f"chaos-{number}", shares[number], seconds) for number in shares))

    async def sender(self, thread: str, prompts: int, seconds: float) -> None:
        """One that sends to one thread, in order: the next prompt when this one is accepted."""
        began, sent = time.monotonic(), 0
        while sent < prompts:
            due = began + seconds * (sent / prompts) * 0.9 + self.chance.uniform(0, 1)
            await asyncio.sleep(due - time.monotonic())
            for _ in range(min(self.chance.randint(1, BURST), prompts - sent)):
                sent += 1
                await self.prompt(thread, sent)

    async def prompt(self, thread: str, number: int) -> None:
        mode, ask = pick(self.chance, MODES), self.chance.choice(ASKS)
        prompt = Sent(f"{thread}-{number}", thread, f"Prompt {number} of {thread}: {ask}", mode)
        prompt.by_signal = self.chance.random() < 0.5
        self.prompts.append(prompt)
        began = time.monotonic()
        await self.persist(self.deliver, prompt)
        prompt.took_s = time.monotonic() - began
        if prompt.accepted and mode != "reject":
            after = pick(self.chance, AFTER)
            self.did[after] += 1
            await self.follow(after, prompt)

    async def follow(self, after: str, prompt: Sent) -> None:
        """What comes after a prompt, to it or to one before it."""
        earlier = [other for other in self.prompts if other.thread == prompt.thread and other.mode != "reject"]
        if after == "again":
            other = self.chance.choice([prompt, *earlier[-10:]])
            await self.persist(self.deliver_again, other, by_signal=self.chance.random() < 0.5)
        elif after == "interrupt":
            await asyncio.sleep(self.chance.uniform(0, 2))
            await self.persist(self.interrupt, prompt)
        elif after in ("withdraw", "edit"):
            await self.persist(self.change, prompt, name=after)

    async def persist(self, send: Any, prompt: Sent, **how: Any) -> None:
        """As a client does: again, with the same id, until it is heard."""
        heard = False
        while not heard:
            try:
                await send(prompt, **how)
                heard = True
            except (UnavailableError, RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
                self.did["sent again"] += 1
                self.unheard[preview(str(error), UNHEARD_CHARS)] += 1
                await asyncio.sleep(AGAIN_S)

    async def deliver(self, sent: Sent) -> None:
        prompt, start = Prompt(id=sent.id, content=sent.text, mode=sent.mode), ThreadStart(agent="teller")
        if sent.by_signal:
            await self.fleet.threads.signal(sent.thread, prompt, start)
            sent.accepted = True
            return
        try:
            await self.fleet.threads.submit(sent.thread, prompt, start)
            sent.accepted = True
        except ThreadBusyError:
            assert sent.mode == "reject", sent

    async def deliver_again(self, sent: Sent, *, by_signal: bool) -> None:
        prompt = Prompt(id=sent.id, content=sent.text, mode=sent.mode)
        if by_signal:
            await self.fleet.threads.signal(sent.thread, prompt)
        else:
            receipt = await self.fleet.threads.submit(sent.thread, prompt)
            assert receipt.disposition == "duplicate", (sent, receipt)

    async def interrupt(self, sent: Sent) -> None:
        prompt_id = sent.id if self.chance.random() < 0.5 else None
        await self.fleet.threads.interrupt(sent.thread, prompt_id=prompt_id)

    async def change(self, sent: Sent, *, name: str) -> None:
        """Withdraw or edit it, if it still waits."""
        said = f"{sent.text} Please."
        wanted = {"prompt_id": sent.id} | ({"content": said} if name == "edit" else {})
        try:
            await self.fleet.threads.handle(sent.thread).execute_update(
                name, wanted, result_type=ChangeReceipt, rpc_timeout=CALL_TIMEOUT
            )
        except WorkflowUpdateFailedError:
            return
        sent.withdrawn, sent.said = name == "withdraw", said if name == "edit" else sent.text

    # --- deciding

    async def decide_all(self) -> None:
        """About every call that waits, for as long as the storm and the rest take."""
        while True:
            with suppress(UnavailableError):
                page = await self.fleet.store.waiting_calls(CallFilter(), cursor=None, limit=50)
                await asyncio.gather(*(self.decide(row) for row in page.items))
            await asyncio.sleep(AGAIN_S)

    async def decide(self, row: Message) -> None:
        """By update, or now and then by signal; and again, otherwise, which must not be taken."""
        one, other = self.chance.sample(["approve", "approve", "deny"], 2)
        wanted = Resolution.model_validate(
            {"id": f"d-{row.id}", "call_id": row.call_id, "decision": one, "digest": row.args_digest, "by": "chaos"}
        )
        try:
            if self.chance.random() < BY_SIGNAL:
                self.signalled.add(f"d-{row.id}")
                await self.fleet.threads.handle(row.thread).signal("resolve", wanted, rpc_timeout=CALL_TIMEOUT)
                return
            await self.fleet.threads.resolve(row.thread, wanted)
            self.decided[row.id] = one
            self.did[one] += 1
            if self.chance.random() < TWICE:
                twice = wanted.model_copy(update={"id": f"e-{row.id}", "decision": other})
                await self.fleet.threads.resolve(row.thread, twice)
                self.did["decided twice"] += 1
        except (InputRefusedError, UnavailableError, RPCError) as error:
            self.unheard[preview(str(error), 40)] += 1

    # --- blows

    async def blow(self, workers: list[Worker]) -> None:
        """Until it is calm. Only a worker that is up is hit: one that starts has nothing to lose."""
        while not self.calm:
            await asyncio.sleep(self.chance.uniform(*CALM_S))
            if not (up := [index for index, worker in enumerate(workers) if worker.started]):
                continue
            index = self.chance.choice(up)
            if self.chance.random() < KILLS:
                await workers[index].kill()
                workers[index] = await self.fleet.launch()
                self.did["kill"] += 1
            else:
                self.did["freeze"] += 1
                await workers[index].freeze(self.chance.uniform(1, FROZEN_S))

    async def tell(self, began: float) -> None:
        while True:
            await asyncio.sleep(10)
            accepted = sum(prompt.accepted for prompt in self.prompts)
            say(
                f"  {time.monotonic() - began:.0f} s: {len(self.prompts)} prompts, {accepted} accepted; "
                f"{self.did['kill']} kills, {self.did['freeze']} freezes, {self.did['sent again']} sent again"
            )

    # --- rest

    async def rest(self, threads: list[str]) -> list[str]:
        """Wait until nothing runs or waits. Returns what still does, a sentence a thread, when that takes too long."""
        deadline, busy = time.monotonic() + REST_S, list(threads)
        while busy and time.monotonic() < deadline:
            busy = [thread for thread in busy if await self.busy(thread)]
            await asyncio.sleep(0.2)
        return [f"{thread} does not come to rest: {await self.busy(thread)}" for thread in busy]

    async def busy(self, thread: str) -> str:
        """What it does, or waits for."""
        try:
            now = await self.fleet.threads.status(thread)
        except RPCError as error:
            return str(error)
        at_work = now["running"] or now["waiting"] or now["steered"] or not now["epoch"] or now["undelivered"]
        return str(now) if at_work else ""


def pick(chance: random.Random, shares: dict[str, float]) -> Any:
    return chance.choices(list(shares), list(shares.values()))[0]


async def storm(found: Fleet, chance: random.Random, prompts: int, seconds: float) -> tuple[Storm, Count]:
    workers = await found.start(WORKERS)
    s, began = Storm(found, chance), time.monotonic()
    telling, blows = asyncio.create_task(s.tell(began)), asyncio.create_task(s.blow(workers))
    deciding = asyncio.create_task(s.decide_all())
    await s.send_all(prompts, seconds)
    await asyncio.sleep(began + seconds - time.monotonic())
    s.calm = True
    await blows
    await found.ready(workers)
    threads = sorted({prompt.thread for prompt in s.prompts})
    stuck, asked = await s.rest(threads), len(s.prompts)
    say(f"  {time.monotonic() - began:.0f} s: at rest, but for {len(stuck)} threads")
    if not stuck:  # the next call of each thread, which the model must be able to take
        await asyncio.gather(*(s.persist(s.deliver, last(s, thread)) for thread in threads))
        stuck = await s.rest(threads)
    telling.cancel()
    deciding.cancel()
    result = await count(found, s.prompts, s.prompts[asked:], found.folder / "ledger", s.decided, s.signalled)
    result.faults += stuck
    if s.did["decided twice"]:
        result.faults.append(f"{s.did['decided twice']} second decisions were taken")
    return s, result


def last(s: Storm, thread: str) -> Sent:
    s.prompts.append(Sent(f"{thread}-last", thread, f"Last prompt of {thread}: tell me.", "queue"))
    return s.prompts[-1]


async def main() -> int:
    seconds = float(os.environ.get("SECONDS") or SECONDS)
    prompts = int(os.environ.get("N") or PROMPTS * min(1, seconds / SECONDS))
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    if seconds < SECONDS:
        say(f"shortened: {seconds:g} s and {prompts} prompts instead of {SECONDS:g} s and {PROMPTS}")
    say(f"{WORKERS} {FLEET_LAYOUT}; {THREADS} threads, SEED={seed}")
    # Temporal's client leaves an error unread where the sending of an update is cancelled.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with fleet("-m", "bench.chaos_worker") as found:
        found.settings[LEDGER] = str(found.folder / "ledger")
        await play(found.model_url, *REPLIES)
        began = time.monotonic()
        s, result = await storm(found, random.Random(seed), prompts, seconds)
        report(s, result, time.monotonic() - began)
        if "KEEP" in os.environ:
            slowest = max(s.prompts, key=lambda prompt: prompt.took_s)
            await result.keep(found, slowest.thread)
    return 1 if result.faults else 0


def report(s: Storm, found: Count, seconds: float) -> None:
    say(f"ends: {dict(found.ends.most_common())}; asked of the senders: {dict(s.did.most_common())}")
    say(f"{found.answers} model steps, {found.payments} payments, {found.unlogged} final but unlogged")
    by_update = [prompt.took_s for prompt in s.prompts if not prompt.by_signal]
    slowest = max(s.prompts, key=lambda prompt: prompt.took_s)
    say(
        f"an update was answered after {median(by_update):.2f} s (p50), {p95(by_update):.1f} s (p95); slowest: {slowest}"
    )
    say(f"{found.late_tasks} workflow tasks were not done in time")
    for what, why in (("sent again", s.unheard), ("refused or failed", found.errors)):
        for error, times in why.most_common(8):
            say(f"  {times} {what}: {error}")
    figure("chaos.seconds", seconds, "s")
    figure("chaos.kills", s.did["kill"])
    figure("chaos.freezes", s.did["freeze"])
    figure("chaos.prompts", len(s.prompts))
    figure("chaos.lost", found.lost)
    figure("chaos.double_answers", found.double_answers)
    figure("chaos.double_writes", found.double_writes)
    figure("chaos.invalid_histories", found.invalid)
    figure("chaos.decisions", len(s.decided))
    figure("chaos.wrong_decisions", found.wrong_decisions)
    for fault in found.faults:
        say(f"BROKEN: {fault}")


if __name__ == "__main__":
    status = asyncio.run(main())
    sys.stdout.flush()
    # Temporal's client may still answer calls that were given up, which crashes a Python that is ending.
    os._exit(status)
