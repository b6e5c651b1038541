"""What a tool may say of itself, and how it is refused when it cannot be so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from catalog.tool import tool
from domain.tooling import Notebook, ToolContext


@dataclass
class Desk:
    name: str


class Place(BaseModel):
    name: str
    height_m: int = 0


def test_the_call_is_given_to_the_parameter_of_its_type_and_not_shown_to_the_model() -> None:
    @tool()
    def file(text: str, where: ToolContext[Desk]) -> str:
        """File something."""
        where.progress("filing")
        where.say_sync("Filed.")
        return f"{text} at {where.deps.name}"

    assert file.context == "where"
    assert file.parameters["required"] == ["text"]
    context = ToolContext(Desk("d"))
    assert file.function(**file.parse('{"text": "x"}'), where=context) == "x at d"
    assert isinstance(context.line, Notebook)
    assert ([report.message for report in context.line.reports], context.line.said) == (["filing"], ["Filed."])
    with pytest.raises(ValueError, match="where: Extra inputs are not permitted"):
        file.parse('{"text": "x", "where": {"tenant": "another"}}')


def test_examples_are_in_the_schema() -> None:
    @tool(examples=[{"place": {"name": "Bern"}}])
    def climb(place: Place) -> str:
        """Climb."""
        return place.name

    assert climb.parameters["examples"] == [{"place": {"name": "Bern"}}]
    json.dumps(climb.parameters)


def test_a_strict_schema_requires_every_argument_and_allows_no_other() -> None:
    @tool(strict=True, examples=[{"place": {"name": "Bern", "height_m": 1}, "tags": [], "how": None}])
    def climb(place: Place, tags: list[str], how: str | None = "slowly") -> str:
        """Climb."""
        return place.name

    schema = climb.parameters
    assert schema["required"] == ["place", "tags", "how"]
    assert schema["$defs"]["Place"]["required"] == ["name", "height_m"]
    assert schema["additionalProperties"] is schema["$defs"]["Place"]["additionalProperties"] is False
    assert "default" not in json.dumps(schema)
    assert climb.description.endswith('Example: {"place": {"name": "Bern", "height_m": 1}, "tags": [], "how": null}')


@pytest.mark.parametrize(
    ("returned", "schema"),
    [
        (int, {"type": "integer"}),
        (list[Place], "array"),
        (str, None),
        (None, None),
        (Any, None),
        (Callable[[], int], None),
    ],
)
def test_the_shape_of_a_result_comes_from_its_annotation(returned: Any, schema: Any) -> None:
    def look() -> Any:
        """Look."""

    look.__annotations__["return"] = returned
    found = tool()(look).output_schema
    assert (found["type"] if schema == "array" and found else found) == schema


def test_the_shape_of_a_generators_result_is_that_of_what_it_yields() -> None:
    @tool()
    async def count() -> AsyncIterator[int]:
        """Count."""
        yield 1

    @tool()
    def spell() -> Iterator[list[str]]:
        """Spell."""
        yield ["a"]

    assert count.output_schema == {"type": "integer"}
    assert spell.output_schema == {"items": {"type": "string"}, "type": "array"}


def look(what: str = "") -> str:
    """Look."""
    return what


def two_contexts(one: ToolContext[None], two: ToolContext[None]) -> None:
    """Look."""


def any_keys(what: dict[str, int]) -> None:
    """Look."""


def no_json(what: threading_lock) -> None:  # type: ignore[name-defined] # noqa: F821
    """Look."""


def a_function(what: Callable[[], int]) -> None:
    """Look."""


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (look, {"retries": 1}, "a tool that writes is never run twice for one call: set retries=0"),
        (look, {"effect": "read", "retries": 21}, "retries must be 0 to 20, not 21"),
        (look, {"effect": "safe"}, "effect must be one of read, idempotent, write, not 'safe'"),
        (look, {"timeout_s": 0}, "timeout_s must be above 0"),
        (look, {"queue": " "}, "queue is the name of a task queue, 1 to 200 characters, not ' '"),
        (look, {"max_result_chars": 5}, "max_result_chars must be 500 to 1e+06, not 5"),
        (look, {"examples": [{"who": 1}]}, "the example {'who': 1} does not fit: who: Extra inputs"),
        (look, {"examples": [{"what": object()}]}, "does not fit: Object of type object is not JSON serializable"),
        (look, {"output": Callable[[], int]}, "output has no JSON schema"),
        (two_contexts, {}, "one and two are both a ToolContext; one is enough"),
        (any_keys, {"strict": True}, "strict=True takes no dict of any keys"),
        (no_json, {}, "name 'threading_lock' is not defined; types are imported at the top of the file"),
        (a_function, {}, "has no JSON schema"),
    ],
)
def test_what_a_tool_cannot_be_is_refused_when_it_is_made(
    function: Callable[..., Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        tool(**options)(function)
    assert words in str(refused.value)
    assert function.__name__ in str(refused.value)
