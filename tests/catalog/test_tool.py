"""A typed function becomes a tool: the model sees its signature and its docstring."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from catalog.tool import tool


class Unit(StrEnum):
    CELSIUS = "c"
    KELVIN = "k"


class Place(BaseModel):
    name: str
    height_m: int = 0


@tool(effect="read", timeout_s=5.0)
async def weather(
    place: Place, days: Annotated[int, Field(ge=1, le=7)], unit: Unit = Unit.CELSIUS, tags: list[str] | None = None
) -> str:
    """Tell the weather.

    It may rain.

    Args:
        place: Where.
        days: How many
            days ahead.
    """
    return f"{place.name} {days} {unit} {tags}"


def test_the_docstring_tells_the_model_what_the_tool_does() -> None:
    assert (weather.name, weather.effect, weather.timeout_s) == ("weather", "read", 5.0)
    assert weather.description == "Tell the weather.\nIt may rain."
    fields = weather.parameters["properties"]
    assert fields["days"]["description"].split() == ["How", "many", "days", "ahead."]
    assert fields["days"]["maximum"] == 7
    assert "Where." in str(fields["place"])


def test_the_signature_tells_the_model_what_it_must_give() -> None:
    assert weather.parameters["required"] == ["place", "days"]
    assert weather.parameters["additionalProperties"] is False
    assert "title" not in weather.parameters


def test_arguments_are_parsed_into_the_types_of_the_signature() -> None:
    values = weather.parse('{"place": {"name": "Bern"}, "days": 2, "unit": "k"}')
    assert values == {"place": Place(name="Bern"), "days": 2, "unit": Unit.KELVIN, "tags": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"place": {"name": "Bern"}, "days": 9}', "days: Input should be less than or equal to 7"),
        ('{"place": {}, "days": 1}', "place.name: Field required"),
        ('{"days": 1}', "place: Field required"),
        ('{"place": {"name": "x"}, "days": 1, "x": 1}', "x: Extra inputs are not permitted"),
        ('{"place": ', "arguments: Invalid JSON"),
        ("[]", "arguments: Input should be an object"),
        ("", "place: Field required"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_that_the_model_can_act_on(text: str, words: str) -> None:
    with pytest.raises(ValueError) as wrong:
        weather.parse(text)
    assert words in str(wrong.value)
    assert "pydantic.dev" not in str(wrong.value)


def test_a_tool_is_taken_for_unsafe_unless_it_says_otherwise() -> None:
    @tool()
    def pay() -> None:
        """Pay."""

    assert pay.effect == "write"
    assert pay.parse("") == pay.parse("{}") == {}


def test_a_tool_may_have_a_name_of_its_own() -> None:
    @tool(name="look_up")
    def function(what: Literal["a", "b"]) -> str:
        """Look up."""
        return what

    assert function.name == "look_up"
    assert function.function("a") == "a"


def test_a_parameter_may_be_called_like_a_method_of_the_models_it_is_parsed_with() -> None:
    @tool()
    def export(schema: str, copy: int, model_name: str = "x") -> str:
        """Export."""
        return schema

    assert export.parse('{"schema": "s", "copy": 2}') == {"schema": "s", "copy": 2, "model_name": "x"}


def _no_docstring(what: str) -> str:
    return what


def _no_type(what) -> str:  # type: ignore[no-untyped-def] # noqa: ANN001
    """Look."""
    return str(what)


def _positional(what: str, /) -> str:
    """Look."""
    return what


def _many(*what: str) -> str:
    """Look."""
    return "".join(what)


def _named(**what: str) -> str:
    """Look."""
    return str(what)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_no_docstring, "needs a docstring"),
        (_no_type, "parameter what needs a type"),
        (_positional, "must be one that can be given by name"),
        (_many, "must be one that can be given by name"),
        (_named, "must be one that can be given by name"),
    ],
)
def test_a_function_that_makes_no_tool_is_refused_when_it_is_made(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        tool()(function)
