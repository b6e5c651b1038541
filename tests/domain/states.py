"""Threads' states for tests: full ones, and the worst ones."""

from __future__ import annotations

from domain import ids
from domain.approvals import MAX_RESULT_BYTES, SHOWN_OF_STEP, Gate, Resolution, Terms, WaitingCall
from domain.content import Part
from domain.errors import InputRefusedError
from domain.gates import MAX_CARRIED_BYTES
from domain.ledger import MAX_JOINED
from domain.messages import preview
from domain.prompts import Prompt, PromptOptions, Refusal, ReplyTo
from domain.state import Gated, Resolved, Running, Said, Shown, Waiting
from domain.steps import PlannedCall
from domain.thread import MAX_DELIVERIES, MAX_WAITING, ThreadState
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
        exclude_tool_messages=True,
        context_prompt="Say hello, in verse.",
        output=["yes", "no"],
        tool_choice="look",
        parallel_tool_calls=False,
        stop_after_tools=["look"],
        searchable=False,
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
    calls = [WaitingCall(call_id="c", tool="pay", kind="result", digest="d", arguments="{}", since=1.5, deadline=2.5)]
    ended = TurnReport(prompt_id="o", status="failed", turn=3, message_id="m", text="Well", error="why", calls=calls)
    decided = {"id": "x", "call_id": "c", "digest": "0" * 20, "by": "Eve", "reason": "No."}
    approved = Resolution.model_validate(decided | {"decision": "approve", "arguments": {"a": 1}})
    given = Resolution.model_validate(decided | {"decision": "result", "result": [1]})
    gate = Gate(kind="result", digest="d", arguments="{}")
    planned = PlannedCall(call_id="c", tool="pay", effect="read", timeout_s=9.5, offered=False, queue="q", gate=gate)
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
            plan=[planned],
            terms=Terms(
                deadline_s=9.5,
                remind_s=1.5,
                escalate_s=2.5,
                default="approve",
                notify=prompt.reply_to,
                escalate_to=prompt.reply_to,
            ),
            gated=[Gated(index=1, since=2.5, told=["asked"], resolution=decided) for decided in (approved, given)],
            done={1: "m"},
        ),
        ended={"o": ended},
        recent={"r": "e", "w": "d"},
        refusals=[Refusal(id="i", reason="why", text="what", prompt_id="w", place=2, reply_to=prompt.reply_to)],
        unlisted_refusals=7,
        status="failed",
        resolved={"c": Resolved(id="x", turn=3, decision="deny", sentence="was denied by Eve")},
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
    gate = Gate(digest="d" * 20, arguments=preview(char * (SHOWN_OF_STEP // ids.MAX_CALLS)))
    state.running.plan = [
        PlannedCall(call_id=char * 40, tool=preview(char * 64), gate=gate, timeout_s=86_400.5)
        for _ in range(ids.MAX_CALLS)
    ]
    url = "https://" + "x" * 1_990
    state.running.terms = Terms(notify=ReplyTo(url=url), escalate_to=ReplyTo(url=url), deadline_s=1e6, remind_s=1e6)
    state.running.gated = [
        Gated(index=index, since=1e9 + 0.123456, told=["asked", "reminder", "escalated"])
        for index in range(ids.MAX_CALLS)
    ]
    state.running.gated[0].resolution = _decided(char, MAX_RESULT_BYTES - 10)
    state.running.gated[1].resolution = _decided(char, MAX_CARRIED_BYTES - MAX_RESULT_BYTES - 3_500)
    state.running.done = dict.fromkeys(range(2, ids.MAX_CALLS), "0" * 36)
    state.resolved = {
        hostile_id(n): Resolved(id=hostile_id(n), turn=1, sentence=preview(char * 200)) for n in range(20)
    }
    state.deliveries = [hostile_id(6_000 + number) for number in range(MAX_DELIVERIES)]
    for number in range(MAX_WAITING):
        prompt = hostile_prompt(3_000 + number, char)
        state.admit(prompt.model_copy(update={"mode": "steer"}) if number < MAX_JOINED else prompt)
        state.saved([waiting.id for waiting in state.unsaved()], [])
    for number in range(1_000):
        state.refuse(f"{number:036d}", InputRefusedError("r" * 700), f"x{char * 999}", hostile_id(3_000))
    return state


def _decided(char: str, size: int) -> Resolution:
    return Resolution(call_id=char * 40, decision="result", by=char * 200, result="x" * size)
