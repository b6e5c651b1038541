"""Whether an answer is what it was to be, and what the model is told where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError, from_json

from domain.errors import InputRefusedError, OutputInvalidError
from domain.messages import describe, preview
from domain.output import Output, json_in, schemas_in

TOLD_PROBLEMS = 5
REFERENCES, REFERENCES_A_CHAR = 5_000, 20  # followed in one check: a few bytes of a schema may stand for any number
NO_PATTERNS = "output: patternProperties cannot be used; name the properties, or use additionalProperties"

_left: ContextVar[list[int]] = ContextVar("references_left")


@dataclass(frozen=True)
class Value:
    """A value that fits, and its JSON text."""

    value: Any
    text: str


def read_output(output: Output, text: str) -> Value:
    """The value in an answer.

    Raises: OutputInvalidError with what the model can mend; InputRefusedError if the schema is none.
    """
    found = json_in(text)
    try:
        value = from_json(found, allow_inf_nan=False)
    except ValueError as error:
        said = f"it is no JSON: {error}" if text.strip() else "it is empty"
        raise OutputInvalidError(said) from None
    if output.wrapped:
        value, found = _unwrapped(output, value, found)
    if output.adapter is not None:
        problems = _problems_of_type(output.adapter, found)
    else:
        problems = _problems_of_schema(output.schema, value, len(found))
    if problems:
        raise OutputInvalidError("; ".join(problems[:TOLD_PROBLEMS]))
    return Value(value, found)


def refuse_unusable(output: Output) -> None:
    """Raises: InputRefusedError if the schema is none, so that no model need be asked first."""
    if output.adapter is None:
        _validator(json.dumps(output.schema))


def instruction(output: Output) -> str:
    """What a model is told that cannot be held to the schema otherwise."""
    schema = json.dumps(output.sent, ensure_ascii=False)
    return f"Answer with one JSON object and nothing else, no other words. It must fit this JSON schema: {schema}"


def correction(output: Output, problem: str) -> str:
    """What the model is told of an answer that does not fit."""
    return f"That answer cannot be used: {problem}. {instruction(output)}"


def _unwrapped(output: Output, value: Any, text: str) -> tuple[Any, str]:
    """Also where the model left the wrapping out, as some do that only read the schema."""
    try:
        value = output.unwrapped(value)
    except KeyError:
        if isinstance(value, dict):
            raise OutputInvalidError("the field 'value' is missing") from None
        return value, text
    return value, json.dumps(value, ensure_ascii=False)


def _problems_of_type(adapter: TypeAdapter[Any], text: str) -> list[str]:
    try:
        adapter.validate_json(text)
    except ValidationError as error:
        return [_sentence(e["loc"], e["msg"]) for e in error.errors(include_url=False, include_context=False)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's validator raises
        return [f"{type(error).__name__}: {error}"]
    return []


def _problems_of_schema(schema: dict[str, Any], value: Any, size: int) -> list[str]:
    """Raises: InputRefusedError."""
    from jsonschema.exceptions import best_match

    validator = _validator(json.dumps(schema))
    _left.set([REFERENCES + REFERENCES_A_CHAR * size])
    try:
        errors = list(_first(validator.iter_errors(value)))
    except RecursionError:
        raise InputRefusedError("output: the JSON schema leads back to itself without end") from None
    except InputRefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - what a reference leads to may be anything
        raise InputRefusedError(f"output: the JSON schema cannot be used: {preview(str(error))}") from None
    deepest = (best_match([error]) for error in errors)
    return [_sentence(e.absolute_path, preview(e.message)) for e in deepest if e is not None]


def _first(errors: Iterator[Any]) -> Iterator[Any]:
    for _, error in zip(range(TOLD_PROBLEMS), errors, strict=False):
        yield error


def _sentence(path: Any, words: str) -> str:
    return f"{'.'.join(map(str, path)) or 'the value'}: {words}"


def _counting(follow: Any) -> Any:
    """References are followed, so many in one check."""

    def counting(validator: Any, ref: str, instance: Any, schema: Any) -> Iterator[Any]:
        left = _left.get()
        left[0] -= 1
        if left[0] < 0:
            raise InputRefusedError("output: the JSON schema's references branch too often; write it flatter")
        yield from follow(validator, ref, instance, schema)

    return counting


@lru_cache(maxsize=100)
def _validator(schema_text: str) -> Any:
    """A validator that reads no other document and matches patterns in linear time. Raises: InputRefusedError."""
    from jsonschema import validators
    from jsonschema.exceptions import SchemaError as NoSchemaError
    from referencing import Registry

    schema = json.loads(schema_text)
    if any("patternProperties" in inner for inner in schemas_in(schema)):  # matched by Python's own engine
        raise InputRefusedError(NO_PATTERNS)
    base = validators.validator_for(schema, default=validators.validator_for({}))
    extend: Any = validators.extend
    kind = extend(
        base, {"pattern": _pattern, "patternProperties": _unusable, "$ref": _counting(base.VALIDATORS["$ref"])}
    )
    try:
        kind.check_schema(schema)
    except NoSchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its root"
        raise InputRefusedError(f"output: not a JSON schema, at {where}: {preview(error.message)}") from None
    return kind(schema, registry=Registry())


def _pattern(_: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    """By the engine of pydantic, which no text can keep busy for ever, as Python's own can be."""
    from jsonschema import ValidationError as Problem

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield Problem(f"{preview(repr(instance), 60)} does not match {preview(repr(pattern), 60)}")


def _matches(pattern: str, text: str) -> bool:
    try:
        _text_type(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=100)
def _text_type(pattern: str) -> TypeAdapter[str]:
    from typing import Annotated

    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError as error:
        why = preview(str(error).partition("\n")[2] or str(error))
        raise InputRefusedError(f"output: the pattern {describe(pattern)} cannot be used: {why}") from None


def _unusable(_: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[Any]:
    raise InputRefusedError(NO_PATTERNS)
