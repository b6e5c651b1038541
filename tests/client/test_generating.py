"""Values instead of texts, on the real parts: from a Temporal client, from the command line, from any language."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from client.commands import talk
from client.gateway import Gateway
from client.reading import ThreadReader
from domain.errors import InputRefusedError, NotAnsweredError, OutputInvalidError
from domain.prompts import Prompt, PromptOptions
from domain.stopping import step_count
from doubles.scripted_model import Reply, ReplyError, ToolCall
from tests.gateways import Shell, gateway
from tests.system import System
from tests.workflows.test_options import define


class Fruit(BaseModel):
    name: str
    count: int = Field(default=1, ge=0)


APPLE = '{"name": "apple", "count": 2}'
NO_FORMAT = ReplyError(message="response_format json_schema is not supported by this model")


@pytest.fixture
def reader(system: System) -> ThreadReader:
    return ThreadReader(system.store, system.events)


def bodies(system: System) -> list[dict[str, Any]]:
    return [request.body for request in system.model.requests]


async def test_a_value_of_a_pydantic_model(system: System, reader: ThreadReader, thread: str) -> None:
    system.model.script(APPLE)
    fruit = await system.threads.generate(thread, Prompt(id="a", content="Name one."), Fruit, reader)
    assert fruit == Fruit(name="apple", count=2)
    [body] = bodies(system)
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["name"] == "Fruit"
    [row] = await system.answers(thread, "a")
    assert (row.text, row.object) == (APPLE, {"name": "apple", "count": 2})


@pytest.mark.parametrize(
    ("wanted", "said", "value"),
    [
        (list[Fruit], '{"value": [{"name": "fig", "count": 0}]}', [Fruit(name="fig", count=0)]),
        (Literal["yes", "no"], '{"value": "yes"}', "yes"),
        (["yes", "no"], '{"value": "no"}', "no"),
        ({"type": "array", "items": {"type": "integer"}}, '{"value": [1, 2]}', [1, 2]),
        ({"type": "object", "properties": {"größe": {"type": "number"}}}, '{"größe": 1.5}', {"größe": 1.5}),
        (Fruit | None, '{"value": null}', None),
    ],
    ids=["array", "literal", "enum", "schema of an array", "schema of an object", "null"],
)
async def test_values_of_every_kind(
    system: System, reader: ThreadReader, thread: str, wanted: Any, said: str, value: Any
) -> None:
    system.model.script(said)
    assert await system.threads.generate(thread, Prompt(content="Go"), wanted, reader) == value


async def test_an_answer_is_mended_by_one_more_call(system: System, reader: ThreadReader, thread: str) -> None:
    system.model.script(Reply(text='{"name": "apple"', times=1), Reply(text=APPLE))
    fruit = await system.threads.generate(thread, Prompt(content="Name one."), Fruit, reader)
    assert fruit.count == 2
    assert "That answer cannot be used" in system.asked()[-1]["content"]
    assert len(system.model.requests) == 2


async def test_an_answer_that_cannot_be_mended_is_an_error_of_its_own(
    system: System, reader: ThreadReader, thread: str
) -> None:
    system.model.script("I would rather not.")
    with pytest.raises(OutputInvalidError, match="it is no JSON"):
        await system.threads.generate(thread, Prompt(id="a", content="Name one."), Fruit, reader)
    prompt = await system.prompt(thread, "a")
    assert (prompt.status, len(system.model.requests)) == ("failed", 2)
    [row] = await system.answers(thread, "a")
    assert (row.status, row.text, row.error_type) == ("failed", "I would rather not.", "OutputInvalidError")
    system.model.script("Fine.")
    assert await system.ask(thread, "Never mind.") == "Fine."
    assert "rather not" not in json.dumps(system.asked())


async def test_a_provider_that_knows_no_schemas_is_asked_otherwise(
    system: System, reader: ThreadReader, thread: str
) -> None:
    system.model.script(Reply(status=400, error=NO_FORMAT, times=2), Reply(text=f"```json\n{APPLE}\n```"))
    assert (await system.threads.generate(thread, Prompt(content="Name one."), Fruit, reader)).name == "apple"
    assert bodies(system)[-1]["response_format"] == {"type": "json_object"}
    assert "JSON schema" in system.asked()[0]["content"]


async def test_tools_come_first_and_the_value_after_them(system: System, reader: ThreadReader, thread: str) -> None:
    define(system, output=Fruit)
    look = Reply(text="Let me look.", tool_calls=[ToolCall(name="look")])
    system.model.script(look, Reply(after_tool=True, text=APPLE))
    receipt = await system.submit(thread, "Name one.", id="a", agent="mine")
    await system.ended(thread, receipt.prompt_id)
    first, last = await system.answers(thread, "a")
    assert (first.object, last.object) == (None, {"name": "apple", "count": 2})
    assert system.bench.ran == [("look", "around")]


async def test_a_turn_that_fails_for_another_reason_is_told_so(
    system: System, reader: ThreadReader, thread: str
) -> None:
    system.model.script(Reply(status=400, error=ReplyError(message="Nothing today.")))
    with pytest.raises(NotAnsweredError, match=r"failed: Nothing today.") as caught:
        await system.threads.generate(thread, Prompt(content="Name one."), Fruit, reader)
    assert caught.value.status == "failed"


async def test_to_ask_again_under_the_same_id_gives_the_same_value(
    system: System, reader: ThreadReader, thread: str
) -> None:
    system.model.script(Reply(text=APPLE, times=1), "Never said.")
    prompt = Prompt(id="a", content="Name one.")
    first = await system.threads.generate(thread, prompt, Fruit, reader)
    assert await system.threads.generate(thread, prompt, Fruit, reader) == first
    assert len(system.model.requests) == 1


async def test_a_turn_that_was_stopped_before_its_answer_has_no_value(
    system: System, reader: ThreadReader, thread: str
) -> None:
    define(system, stop=[step_count(1)])
    system.model.script(Reply(text="Looking.", tool_calls=[ToolCall(name="look")]))
    with pytest.raises(OutputInvalidError, match="before it had a value: Looking"):
        await system.threads.generate(thread, Prompt(content="Go", agent="mine"), Fruit, reader)


async def test_the_other_options_of_the_prompt_stay(system: System, reader: ThreadReader, thread: str) -> None:
    system.model.script(APPLE)
    prompt = Prompt(content="Name one.", options=PromptOptions(model="other"))
    await system.threads.generate(thread, prompt, Fruit, reader)
    assert bodies(system)[0]["model"] == "other"


async def test_what_can_be_no_output_is_refused_before_anything_is_sent(
    system: System, reader: ThreadReader, thread: str
) -> None:
    huge = {"type": "object", "description": "x" * 40_000}
    for wanted, told in ((["a", "a"], "each once"), (huge, "more than 32000"), (5, "an output is")):
        with pytest.raises(InputRefusedError, match=told):
            await system.threads.generate(thread, Prompt(content="Go"), wanted, reader)
    assert await system.store.get_thread(thread) is None


async def test_a_caller_of_another_language_gives_a_schema(system: System, thread: str) -> None:
    system.model.script('{"value": ["a"]}')
    handle = await system.start(thread)
    options = {"output": {"type": "array", "items": {"type": "string"}}}
    await handle.signal("prompt", {"id": "a", "content": "Go", "options": options})
    await system.ended(thread, "a")
    [row] = await system.answers(thread, "a")
    assert (row.text, row.object) == ('["a"]', ["a"])


@pytest.mark.parametrize("output", ["text", 5, [], ["a", 1]], ids=str)
async def test_an_output_of_the_wrong_shape_is_recorded_as_refused(system: System, thread: str, output: Any) -> None:
    handle = await system.start(thread)
    await handle.signal("prompt", {"id": "a", "content": "Go", "options": {"output": output}})

    async def refused() -> bool:
        return any(row.status == "refused" and "output" in (row.error or "") for row in await system.rows(thread))

    await system.until(refused)


# --- the command line, and the gateway


@pytest.fixture
async def shell(system: System) -> AsyncIterator[Shell]:
    async with gateway(system) as port:
        yield Shell(system, port)


async def test_ask_takes_a_schema_from_a_file(system: System, shell: Shell, thread: str, tmp_path: Path) -> None:
    system.model.script(APPLE)
    file = tmp_path / "fruit.json"
    file.write_text(json.dumps(Fruit.model_json_schema()))
    told = await shell.run("ask", thread, "Name one.", "--schema", str(file))
    assert (told.status, told.out.strip()) == (0, APPLE)


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    file = tmp_path / "fruit.json"
    file.write_text("{")
    with pytest.raises(InputRefusedError, match="is no JSON"):
        talk._prompt("Hi", None, {}, file)


async def test_a_gateway_knows_the_answers_too(system: System, shell: Shell, thread: str) -> None:
    system.model.script(APPLE)
    gateway = Gateway(f"http://127.0.0.1:{shell.port}")
    assert (await system.threads.generate(thread, Prompt(content="Name one."), Fruit, gateway)).count == 2
