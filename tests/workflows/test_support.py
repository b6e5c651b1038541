"""The scenario that everybody knows: a support agent with three tools, gone on with later, by itself or by another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog.agents.support import support
from catalog.tools.support import Desk
from domain.agent import Agent
from domain.prompts import PromptOptions
from doubles.scripted_model import Reply, ToolCall
from tests.adapters.test_local_model import chatting, child, needs_the_model
from tests.system import System, said, started_with

LOOKED_UP = '{"email": "ada@example.com", "name": "Ada", "plan": "pro", "orders": ["A-17: a kettle, sent on Monday"]}'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


@pytest.fixture
def shop(system: System, desk: Desk) -> System:
    """A system with the support agent, over a desk of the test's own."""
    system.add_agent(replace(support, deps=desk))
    system.add_agent(Agent("billing", instructions="You answer questions about bills."))
    return system


def call(name: str, **arguments: Any) -> Reply:
    return Reply(tool_calls=[ToolCall(name=name, arguments=arguments)])


def lines(desk: Desk, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (desk.folder / name).read_text(encoding="utf-8").splitlines()]


async def test_a_support_thread_is_answered_with_tools_and_gone_on_with_by_the_same_and_another_agent(
    shop: System, thread: str, desk: Desk
) -> None:
    first, second = "My kettle leaks. I am ada@example.com.", "Mail me the ticket, please."
    ticket = {"subject": "A leaking kettle", "description": "A-17 of ada@example.com leaks.", "priority": "high"}
    mail = {"to": "ada@example.com", "subject": "Your ticket", "body": "It is ticket 1."}
    replies = [
        call("accountLookup", email="ada@example.com"),
        call("fileTicket", **ticket),
        Reply(text="Sorry, Ada! I have filed ticket 1."),
    ]
    shop.model.script(*(reply.model_copy(update={"step": number}) for number, reply in enumerate(replies, 1)))
    start = started_with(agent="support", owner="ada", tenant="shop")
    assert await shop.ask(thread, first, start=start, id="a") == "Sorry, Ada! I have filed ticket 1."

    shop.model.script(call("sendEmail", **mail), Reply(after_tool=True, text="Done: {tool}"))
    assert await shop.ask(thread, second, id="b") == "Done: Sent as mail 1."

    shop.model.script("You owe nothing.")
    assert await shop.ask(thread, "What do I owe?", id="c", agent="billing") == "You owe nothing."

    assert said(await shop.rows(thread)) == [
        ("user", "answered", first),
        ("assistant", "complete", ""),
        ("tool", "complete", LOOKED_UP),
        ("assistant", "complete", ""),
        ("tool", "complete", "Filed as ticket 1."),
        ("assistant", "complete", "Sorry, Ada! I have filed ticket 1."),
        ("user", "answered", second),
        ("assistant", "complete", ""),
        ("tool", "complete", "Sent as mail 1."),
        ("assistant", "complete", "Done: Sent as mail 1."),
        ("user", "answered", "What do I owe?"),
        ("assistant", "complete", "You owe nothing."),
    ]
    [filed], [sent] = lines(desk, "tickets.jsonl"), lines(desk, "mails.jsonl")
    assert ticket.items() <= filed.items()
    assert mail.items() <= sent.items()
    assert filed["thread"] == sent["thread"] == thread
    asked = shop.asked()
    assert asked[0]["content"] == "You answer questions about bills."
    assert [message["role"] for message in asked[1:]] == [
        *("user", "assistant", "tool", "assistant", "tool", "assistant"),
        *("user", "assistant", "tool", "assistant"),
        "user",
    ]
    assert {row.agent for row in await shop.rows(thread) if row.role == "assistant"} == {"support", "billing"}


async def test_the_model_puts_right_what_it_asked_wrongly(shop: System, thread: str, desk: Desk) -> None:
    steps = [
        call("sendEmail", to="eve@example.com", subject="Hi", body="Hi."),
        call("fileTicket", subject="", description="x", priority="urgent"),
        Reply(text="Sorry."),
    ]
    shop.model.script(*(reply.model_copy(update={"step": number}) for number, reply in enumerate(steps, 1)))
    assert await shop.ask(thread, "Do something.", agent="support") == "Sorry."
    refused, invalid = [row for row in await shop.rows(thread) if row.role == "tool"]
    assert (refused.status, refused.text) == (
        "failed",
        "eve@example.com is no customer of ours: mails go to addresses that accountLookup finds.",
    )
    assert invalid.text == (
        "Invalid arguments: subject: String should have at least 1 character; "
        "priority: Input should be 'low', 'normal' or 'high'"
    )
    assert not desk.folder.exists(), "nothing was sent or filed"


@needs_the_model
@pytest.mark.timeout(120)
async def test_without_tools_a_real_model_answers_as_the_support_agent_and_goes_on(shop: System, thread: str) -> None:
    """It is small, and cannot call tools; which words it finds is its own affair."""
    async with child() as (_, address), chatting(address) as chat:
        await shop.stop_workers()
        await shop.start_worker(model=chat)
        options = PromptOptions(tools=[], settings={"max_tokens": 30})
        for number, content in enumerate(["My kettle leaks.", "What did I say leaks?"]):
            prompt_id = f"p{number}"
            await shop.submit(thread, content, agent="support", options=options, id=prompt_id)
            [row] = await shop.ended(thread, prompt_id, timeout_s=60)
            assert (row.status, row.error) == ("answered", None)
    answers = [row for row in await shop.rows(thread) if row.role == "assistant"]
    assert len(answers) == 2
    assert all(answer.text.strip() and answer.agent == "support" for answer in answers)
