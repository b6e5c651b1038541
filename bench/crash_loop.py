"""Kills everything with -9, again and again, at random moments, and counts what became of each prompt.

A life begins with the start of `cli.py dev` and ends with the kill: while it starts, right after prompts were sent, or
while answers stream. Prompts go by signal and by update to several threads, some use a tool. A prompt whose sending was
cut is sent again under its id, as a caller would. Fails if a prompt is lost, answered twice or out of order.

SEED= repeats the moments of an earlier run.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from temporalio.service import RPCError

from bench.ground import figure, p95, play, samples, say, scripted_model
from domain.errors import UnavailableError
from tests.e2e.driver import Everthread, until

THREADS = 4
WORDS = " ".join(f"word{number}" for number in range(30))
AGENT = "timekeeper"
FIRST_TOKEN_S = 10.0
PACE_S = 0.1  # three seconds an answer
REPLIES: list[dict[str, Any]] = [
    {"when": "time", "tool_calls": [{"name": "current_time", "arguments": {"timezone": "UTC"}}]},
    {"after_tool": True, "text": WORDS, "delay_s": PACE_S},
    {"text": WORDS, "delay_s": PACE_S},
]
KINDS = {"starting": 2.5, "sending": 0.2, "streaming": 6.0}  # of lives, and how late the kill comes, at most
ENDED_S = 60.0


@dataclass
class Sent:
    """A prompt that was sent; `cut` if the outcome of the first sending is unknown, so that its place is open."""

    id: str
    thread: str
    text: str
    accepted: bool = False
    cut: bool = False


@dataclass
class Loop:
    everthread: Everthread
    model_url: str
    chance: random.Random
    prompts: list[Sent] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    first_tokens: list[float] = field(default_factory=list)
    # Texts of the prompts that this life found, if it is not noted yet.
    _going_on: set[str] = field(default_factory=set)

    async def run(self, kills: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.kills.total() < kills and time.monotonic() < end:
            kind = self.chance.choice(["starting", "sending", "sending", "streaming", "streaming"])
            await self.live(kind)
            self.kills[kind] += 1
            say(f"  kill {self.kills.total()}, {kind}: {len(self.prompts)} prompts so far")
        await self.start()
        await self.rest()

    async def live(self, kind: str) -> None:
        """One life, from start to kill."""
        moment = self.chance.uniform(0, KINDS[kind])
        if kind == "starting":
            self.expect()
            await self.everthread.launch()
            await asyncio.sleep(moment)
        else:
            await self.start()
            if self.chance.random() < 0.5:
                await self.rest()
            sending = asyncio.create_task(self.send())
            if kind == "streaming":
                await sending
            await asyncio.sleep(moment)
            sending.cancel()
            await asyncio.wait({sending})
        await self.note_first_token()
        await self.everthread.kill9_tree()

    def expect(self) -> None:
        self._going_on = {prompt.text for prompt in self.prompts if prompt.accepted}

    async def start(self) -> None:
        self.expect()
        await self.everthread.start()
        for prompt in self.prompts:
            if not prompt.accepted:
                await self.try_to_send(prompt)

    async def send(self) -> None:
        """A few prompts, here and there."""
        for _ in range(self.chance.randint(1, 3)):
            number = len(self.prompts) + 1
            ask = self.chance.choice(["what time is it?", "tell me something.", "tell me more.", "tell me all."])
            prompt = Sent(f"p{number}", f"crash-{self.chance.randrange(THREADS)}", f"Prompt {number}: {ask}", cut=True)
            self.prompts.append(prompt)
            await self.try_to_send(prompt)
            prompt.cut = not prompt.accepted

    async def try_to_send(self, prompt: Sent) -> None:
        by = self.chance.choice([self.everthread.signal, self.everthread.submit])
        with suppress(RPCError, RuntimeError, UnavailableError):  # killed meanwhile: sent again by the next life
            await by(prompt.thread, prompt.text, prompt.id, AGENT)
            prompt.accepted = True

    async def rest(self) -> None:
        """Until every prompt so far has ended."""
        await until(self.all_ended, ENDED_S, "all prompts ended", self.everthread.said)
        await self.note_first_token()

    async def all_ended(self) -> bool:
        rows = [row for thread in self.threads() for row in await self.everthread.messages(thread)]
        ended = {row["prompt_id"] for row in rows if row["role"] == "user" and row["status"] in ("answered", "failed")}
        return ended >= {prompt.id for prompt in self.prompts}

    async def note_first_token(self) -> None:
        """Of a life that had something to go on with: from the start of the process to the first that the model sent."""
        if sent := [
            request["first_chunk_at"]
            for request in await self.requests()
            if request["first_chunk_at"] and request["arrived_at"] > self.everthread.started_at
            if asked_in(request) in self._going_on
        ]:
            self.first_tokens.append(min(sent) - self.everthread.started_at)
            self._going_on = set()

    async def requests(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.model_url}/_control/requests")
            found: list[dict[str, Any]] = answer.raise_for_status().json()["requests"]
            return found

    def threads(self) -> list[str]:
        return sorted({prompt.thread for prompt in self.prompts})


@dataclass
class Count:
    """What the store and the logs say in the end; a fault is a sentence."""

    faults: list[str] = field(default_factory=list)
    lost: int = 0
    double: int = 0
    answers: int = 0
    unlogged: int = 0  # final in the store, and killed before the line was written


def asked_in(request: dict[str, Any]) -> str:
    return str([message["content"] for message in request["body"]["messages"] if message["role"] == "user"][-1])


async def count(loop: Loop) -> Count:
    found = Count()
    finished = Counter(line["message_id"] for line in loop.everthread.log("message.finished"))
    for thread in loop.threads():
        rows = await loop.everthread.messages(thread)
        sent = [prompt for prompt in loop.prompts if prompt.thread == thread]
        for prompt in sent:
            check_prompt(found, prompt, [row for row in rows if row["prompt_id"] == prompt.id], finished)
        strangers = {row["prompt_id"] for row in rows} - {prompt.id for prompt in sent}
        found.faults += [f"{thread} has a prompt nobody sent: {stranger}" for stranger in strangers]
        placed = [prompt.id for prompt in sent if not prompt.cut]
        order = [row["prompt_id"] for row in rows if row["role"] == "user" and row["prompt_id"] in placed]
        if order != placed:
            found.faults.append(f"{thread} has {order}, sent as {placed}")
    return found


def check_prompt(found: Count, prompt: Sent, rows: list[dict[str, Any]], finished: Counter[str]) -> None:
    uses_tool = "time" in prompt.text
    wanted = ["user", "assistant", "tool", "assistant"] if uses_tool else ["user", "assistant"]
    answers = [row for row in rows if row["role"] == "assistant"]
    if [row["role"] for row in rows] != wanted or rows[0]["status"] != "answered" or answers[-1]["text"] != WORDS:
        found.lost += 1
        found.faults.append(f"{prompt} ended as {[(r['role'], r['status'], r['text'][:40]) for r in rows]}")
    for row in answers:
        found.answers += 1
        found.unlogged += finished[row["id"]] == 0
        if finished[row["id"]] > 1:
            found.double += 1
            found.faults.append(f"{prompt} was finished {finished[row['id']]} times")


async def main() -> int:
    kills = samples(20)
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    # Temporal's client leaves an error unread where the sending of an update is cancelled.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    say(f"{kills} kills at random moments, SEED={seed}; {THREADS} threads, answers of {30 * PACE_S:g} s")
    with tempfile.TemporaryDirectory() as folder:
        async with scripted_model() as url:
            await play(url, *REPLIES)
            loop = Loop(Everthread(Path(folder), f"{url}/v1"), url, random.Random(seed))
            try:
                await loop.run(kills, float(os.environ.get("SECONDS") or "inf"))
                found, calls = await count(loop), len(await loop.requests())
                await loop.everthread.stop()
            finally:
                if loop.everthread.running:
                    await loop.everthread.kill9_tree()
            return report(loop, found, calls)


def report(loop: Loop, found: Count, calls: int) -> int:
    waits = sorted(loop.first_tokens)
    say(
        f"{dict(loop.kills)}; {found.answers} model steps, {calls} model calls, {found.unlogged} of them final but unlogged"
    )
    say(f"{sum(prompt.cut for prompt in loop.prompts)} prompts were cut while being sent, and sent again")
    if waits:
        say(
            f"first token after a start that had something to go on with, {len(waits)} of them: "
            f"p50 {median(waits):.2f} s, p95 {p95(waits):.2f} s, max {waits[-1]:.2f} s"
        )
        if waits[-1] > FIRST_TOKEN_S:
            found.faults.append(f"the first token came {waits[-1]:.1f} s after a start, later than {FIRST_TOKEN_S:g} s")
    errors = [line for event in ("tool.failed", "turn.failed") for line in loop.everthread.log(event)]
    found.faults += [f"the log has {line}" for line in errors]
    figure("crash.kills", loop.kills.total())
    figure("crash.prompts", len(loop.prompts))
    figure("crash.lost", found.lost)
    figure("crash.double_answers", found.double)
    figure("crash.extra_model_calls", calls - found.answers)
    if waits:
        figure("recovery.restart", waits[-1], "s")
    for fault in found.faults:
        say(f"BROKEN: {fault}")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
