"""What OpenAI refuses of a `response_format`.

Reference: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from doubles.refusal import RefusedError

_UNKNOWN = ("oneOf", "allOf", "not", "if", "patternProperties", "prefixItems", "uniqueItems", "default")


def refuse_unusable(wanted: Any, messages: str) -> None:
    """Raises: RefusedError."""
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        if "json" not in messages.lower():
            _refuse(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
    elif kind == "json_schema":
        _refuse_schema(wanted.get("json_schema"))
    elif kind != "text":
        _refuse(f"Invalid value: {kind!r}. Supported values are: 'json_object', 'json_schema', and 'text'.")


def _refuse_schema(form: Any) -> None:
    name = form.get("name") if isinstance(form, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        _refuse("Invalid 'response_format.json_schema.name': a name of letters, digits, _ and - is required.")
    schema = form.get("schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        _refuse(f"Invalid schema for response_format {name!r}: schema must be a JSON Schema of 'type: \"object\"'.")
    if form.get("strict"):
        _refuse_loose(name, schema, ())


def _refuse_loose(name: str, schema: Any, place: tuple[str, ...]) -> None:
    """In strict mode every object says all its fields, and that there are no others."""
    if not isinstance(schema, dict):
        return
    if (problem := _problem(schema)) is not None:
        _refuse(f"Invalid schema for response_format {name!r}: In context={place}, {problem}")
    for key in ("properties", "$defs"):
        for inner, value in schema.get(key, {}).items():
            _refuse_loose(name, value, (*place, key, inner))
    for key in ("items", "anyOf"):
        values = schema.get(key, [])
        for value in values if isinstance(values, list) else [values]:
            _refuse_loose(name, value, (*place, key))


def _problem(schema: dict[str, Any]) -> str | None:
    if "$ref" in schema and len(schema) > 1:
        return "$ref cannot have keywords beside it."
    if unknown := [keyword for keyword in _UNKNOWN if keyword in schema]:
        return f"{unknown[0]!r} is not permitted."
    if schema.get("type") != "object":
        return None
    if schema.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    if set(schema.get("required", [])) != set(schema.get("properties", {})):
        return "'required' is required to be supplied and to be an array including every key in properties."
    return None


def _refuse(message: str) -> NoReturn:
    raise RefusedError(message, param="response_format")
