"""What an answer must be, in the forms that a user may say it and a provider takes it."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from domain.output import json_in, output_of, partial_value
from doubles import response_format


class Item(BaseModel):
    name: str = Field(description="What it is called.")
    price: float = 1.0


class Basket(BaseModel):
    first: Item = Field(description="The first.")
    others: list[Item] = []
    kind: Literal["a", "b"] | None = None


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Loose(BaseModel):
    counts: dict[str, int]
    pair: tuple[int, str]


def response(wanted: Any) -> dict[str, Any]:
    output = output_of(wanted)
    form = {"name": output.name, "schema": output.sent, "strict": output.strict}
    return {"type": "json_schema", "json_schema": form}


STRICT = [Item, Basket, Node, list[Item], list[Node], int, Item | None, ["yes", "no"]]
SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": "array", "items": {"type": "string"}},
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#"}}]},
    {},
]


@pytest.mark.parametrize("wanted", [*STRICT, Loose, dict[str, int], *SCHEMAS], ids=str)
def test_every_output_has_a_form_that_a_provider_takes(wanted: Any) -> None:
    response_format.refuse_unusable(response(wanted), "")


@pytest.mark.parametrize("wanted", STRICT, ids=str)
def test_what_strict_mode_can_say_is_asked_for_in_it(wanted: Any) -> None:
    assert output_of(wanted).strict


def test_strict_mode_is_not_asked_for_what_it_cannot_say() -> None:
    assert not output_of(Loose).strict
    assert not output_of({"type": "object", "properties": {"a": {}}}).strict
    assert not output_of({"type": "array", "items": {"type": "string"}, "uniqueItems": True}).strict


def test_a_schema_is_closed_where_that_changes_nothing_and_makes_it_strict() -> None:
    field = {"a": {"type": "integer"}}
    sent = output_of({"type": "object", "properties": field, "required": ["a"]}).sent
    assert sent == {"type": "object", "properties": field, "required": ["a"], "additionalProperties": False}
    with_default = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}
    assert output_of(with_default).sent == sent


def test_a_schema_in_which_a_field_may_be_missing_is_sent_as_it_is() -> None:
    """Strict mode would have the model make something up."""
    schema = {"type": "object", "properties": {"error": {"type": "string"}}, "title": "Report"}
    assert output_of(schema).sent == schema
    assert not output_of(schema).strict
    assert output_of(schema).name == "Report"


def test_what_is_no_object_is_wrapped_and_unwrapped() -> None:
    output = output_of(list[int])
    assert output.wrapped
    assert output.sent["properties"]["value"]["items"] == {"type": "integer"}
    assert output.unwrapped({"value": [1]}) == [1]
    assert not output_of(Item).wrapped
    assert output_of(Item).unwrapped({"name": "x"}) == {"name": "x"}


def test_references_lead_to_where_a_schema_stands_in_its_wrapping() -> None:
    sent = output_of(SCHEMAS[2]).sent
    assert sent["properties"]["value"]["anyOf"][1]["items"] == {"$ref": "#/properties/value"}
    nodes = output_of(list[Node]).sent
    assert nodes["properties"]["value"]["items"] == {"$ref": "#/$defs/Node"}
    assert "Node" in nodes["$defs"]


@pytest.mark.parametrize("wrong", [["a", "a"], [], [1], ["", "b"], "text", 5, len, {"enum": {1}}], ids=repr)
def test_what_can_be_no_output_is_told_in_a_sentence(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^an output (is|that is)"):
        output_of(wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', '{"a": 1}'),
        (" [1]\n", "[1]"),
        ("true", "true"),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ("Here it is:\n```\n[1]\n```\nDone.", "[1]"),
        ('Sure! {"a": "}"} Anything else?', '{"a": "}"}'),
        ("no", "no"),
        ("} {", "} {"),
        ('```json\n{"code": "```x```"}\n```', '{"code": "```x```"}'),
        ("```" + "\n" * 100_000, "```"),
        ("`" * 100_000, "`" * 100_000),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
    ids=lambda text: text[:20],
)
def test_json_is_found_in_what_models_dress_it_up_with(text: str, found: str) -> None:
    assert json_in(text) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name": "App', {"name": "App"}),
        ('```json\n{"name": "Apple", "pr', {"name": "Apple"}),
        ('{"a": {"b": [1, 2', {"a": {"b": [1, 2]}}),
        ("{", {}),
    ],
)
def test_a_part_of_an_answer_tells_a_part_of_the_value(text: str, value: Any) -> None:
    assert partial_value(output_of(Item), text) == value


@pytest.mark.parametrize("text", ["", "Sure", '{"val', "{nonsense", '{"a": "\\ud83d'])
def test_where_nothing_is_told_yet_there_is_no_value(text: str) -> None:
    with pytest.raises(LookupError):
        partial_value(output_of(list[int]), text)
