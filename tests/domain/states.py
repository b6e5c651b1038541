"""Threads' states for tests: full ones, and the worst ones."""

from __future__ import annotations

from domain.content import Part
from domain.errors import InputRefusedError
from domain.prompts import Prompt, PromptOptions, Refusal, ReplyTo
from domain.state import Running, Said, Shown, Waiting
from domain.thread import MAX_DELIVERIES, MAX_JOINED, MAX_WAITING, ThreadState
from domain.wishes import TurnReport

ID_CHARS = 128


def every_field_set() -> ThreadState:
    """A state in which no field of any model has its default."""
    options = PromptOptions(
        model="m",
        instructions=["Be brief."],
        tools=["look"],
        settings={"temperature": 0.5},
        max_steps=2,
        max_tokens=100,
        max_seconds=9.5,
        recent_messages=3,
    )
    prompt = Prompt(
        id="p",
        content=[Part(type="text", text="Hi")],
        author="Ada",
        agent="poet",
        mode="interrupt",
        options=options,
        reply_to=ReplyTo(workflow_id="w", signal="heard", within_s=9.5),
        metadata={"a": [1.5, None]},
        must_exist=True,
    )
    ended = TurnReport(prompt_id="o", status="failed", turn=3, message_id="m", text="Well", error="why")
    waiting = Waiting(
        id="w",
        digest="d",
        place=3,
        agent="poet",
        preview="Hi",
        size=9,
        prompt=prompt,
        saved=True,
        revision="Ho",
        replies=True,
        turn=2,
        branch=1,
        step=3,
    )
    return ThreadState(
        version=2,
        epoch=2,
        agent="assistant",
        owner="ada",
        tenant="acme",
        next_turn=5,
        places=4,
        run_id="run",
        inbox=[waiting],
        steered=[waiting],
        withdrawn=[waiting],
        busy_modes={"poet": "steer"},
        deliveries=["o"],
        reopened={"x": "o"},
        active_at=1.5,
        idle_roll_s=60.0,
        idle_timeout_s=3600.0,
        expires_at=1e9,
        operator="ada",
        said=[Said(id="s", content="Hello", by="ada", prompt_id="w")],
        running=Running(
            prompt_id="r",
            digest="e",
            turn=4,
            branch=1,
            step=2,
            agent="poet",
            preview="Ho",
            prompt=prompt,
            expect=["x"],
            calls=1,
            over=True,
            handed_over="poet",
            stop="enough",
            said="So",
            message_id="n",
            replaced_by="w",
            replies=True,
            joined={"j": True},
            joining=["j"],
        ),
        ended={"o": ended},
        recent={"r": "e", "w": "d"},
        refusals=[Refusal(id="i", reason="why", text="what", prompt_id="w", place=2, reply_to=prompt.reply_to)],
        unlisted_refusals=7,
        status="failed",
        shown=[Shown(turn=3, prompt="Hm", answer="Well", status="answered")],
    )


def hostile_id(number: int) -> str:
    return f"{number:06d}".ljust(ID_CHARS, '"')


def hostile_prompt(number: int, char: str) -> Prompt:
    return Prompt(id=hostile_id(number), content=f"x{char * 999}", author=char * 200, agent="a" * 64)


def serve(state: ThreadState, answer: str) -> None:
    """The first prompt's whole turn."""
    state.start_turn()
    state.end_turn(answer, "answered")


def worst(char: str) -> ThreadState:
    """As much as a thread can be made to remember, all of it made of a character that is long in JSON."""
    state = ThreadState(epoch=10**6, agent="a" * 64, owner=char * 200, tenant=char * 200, unlisted_refusals=10**6)
    for number in range(2_000):
        state.admit(hostile_prompt(number, char))
        serve(state, f"x{char * 999}")
    state.admit(hostile_prompt(2_000, char))
    state.start_turn().expect = [f"{number:036d}" for number in range(1_000)]
    assert state.running is not None
    state.running.joined = {hostile_id(5_000 + number): True for number in range(MAX_JOINED)}
    state.running.joining = list(state.running.joined)
    state.deliveries = [hostile_id(6_000 + number) for number in range(MAX_DELIVERIES)]
    for number in range(MAX_WAITING):
        prompt = hostile_prompt(3_000 + number, char)
        state.admit(prompt.model_copy(update={"mode": "steer"}) if number < MAX_JOINED else prompt)
        state.saved([waiting.id for waiting in state.unsaved()], [])
    for number in range(1_000):
        state.refuse(f"{number:036d}", InputRefusedError("r" * 700), f"x{char * 999}", hostile_id(3_000))
    return state
