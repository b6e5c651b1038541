"""Whether an answer is what it was to be: in words that the model can act on, and whatever a schema holds."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from activities.outputs import read_output
from domain.errors import InputRefusedError, OutputInvalidError
from domain.output import output_of

ARRAY = {"type": "array", "items": {"type": "integer"}}


class Order(BaseModel):
    item: str
    count: int

    @field_validator("count")
    @classmethod
    def _some(cls, count: int) -> int:
        if count < 1:
            raise ValueError("order at least one")
        return count


class Quits(BaseModel):
    item: str

    @field_validator("item")
    @classmethod
    def _quits(cls, item: str) -> str:
        raise SystemExit(item)


class Fragile(BaseModel):
    item: str

    @field_validator("item")
    @classmethod
    def _breaks(cls, item: str) -> str:
        raise LookupError(item)


def read(wanted: Any, text: str) -> Any:
    return read_output(output_of(wanted), text)


def test_an_answer_that_fits_is_a_value_and_its_json() -> None:
    found = read(Order, 'Here:\n```json\n{"item": "Zürich 😀", "count": 2}\n```')
    assert found.value == {"item": "Zürich 😀", "count": 2}
    assert found.text == '{"item": "Zürich 😀", "count": 2}'


def test_a_wrapped_value_is_unwrapped_also_if_the_model_left_the_wrapping_out() -> None:
    assert read(ARRAY, '{"value": [1, 2]}').text == "[1, 2]"
    assert read(ARRAY, "[1, 2]").value == [1, 2]
    assert read(["yes", "no"], '{"value": "yes"}').text == '"yes"'
    assert read({"type": "null"}, '{"value": null}').text == "null"


@pytest.mark.parametrize(
    ("wanted", "text", "told"),
    [
        (Order, "", "it is empty"),
        (Order, "I cannot.", "it is no JSON"),
        (Order, '{"item": "x", "count"', "it is no JSON"),
        (Order, '{"item": "x"}', "count: Field required"),
        (Order, '{"item": "x", "count": 0}', "order at least one"),
        (Order, '{"item": "\\ud83d", "count": 1}', "it is no JSON"),
        (Fragile, '{"item": "x"}', "LookupError"),
        (Quits, '{"item": "x"}', "SystemExit"),
        (ARRAY, '{"value": ["a"]}', "0: 'a' is not of type 'integer'"),
        (ARRAY, '{"other": 1}', "the field 'value' is missing"),
        (ARRAY, '{"value": [NaN]}', "it is no JSON"),
        (ARRAY, "[" * 5000, "it is no JSON"),
        (["yes", "no"], '{"value": "perhaps"}', "the value: 'perhaps' is not one of"),
    ],
)
def test_what_does_not_fit_is_said_where_it_is(wanted: Any, text: str, told: str) -> None:
    with pytest.raises(OutputInvalidError) as caught:
        read(wanted, text)
    assert told in str(caught.value)


def test_of_a_thousand_faults_a_few_are_told() -> None:
    with pytest.raises(OutputInvalidError) as caught:
        read(ARRAY, '{"value": [' + ",".join(['"x"'] * 1000) + "]}")
    assert len(str(caught.value)) < 500


NESTED: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "strin"}, "not a JSON schema, at type"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "Unresolvable"),
        ({"$ref": "file:///etc/passwd"}, "Unresolvable"),
        ({"$ref": "#/nowhere"}, "PointerToNowhere"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"pattern": "(?=a)"}, "look-around"),
        ({"patternProperties": {"a": {}}, "type": "string"}, "patternProperties cannot be used"),
        ({"$defs": NESTED | {"d40": {"type": "string"}}, "$ref": "#/$defs/d0"}, "branch too often"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_in_no_time(schema: dict[str, Any], told: str) -> None:
    """It may come from outside: it reads no file and no address, and keeps no worker busy."""
    begun = time.monotonic()
    with pytest.raises(InputRefusedError) as caught:
        read(schema, '{"value": "aaa"}')
    assert told in str(caught.value)
    assert time.monotonic() - begun < 5


def test_no_pattern_of_names_keeps_a_worker_busy() -> None:
    schema = {"type": "object", "additionalProperties": False, "patternProperties": {"^(a+)+$": {}}}
    with pytest.raises(InputRefusedError, match="patternProperties"):
        read(schema, '{"' + "a" * 100 + '!": 1}')


def test_no_pattern_keeps_a_worker_busy() -> None:
    with pytest.raises(OutputInvalidError, match="does not match"):
        read({"pattern": "^(a+)+$"}, '{"value": "' + "a" * 10_000 + '!"}')


def test_a_large_value_of_many_references_is_no_misuse() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}
    for _ in range(2):
        assert len(read(schema, str(list(range(10_000)))).value) == 10_000
