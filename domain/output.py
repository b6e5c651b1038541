"""What an answer must be when it is not just text: said as a pydantic type, a JSON schema, or a list of words."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import PydanticUserError, TypeAdapter
from pydantic_core import PydanticOmit, from_json

WRAPPED = "value"  # the field that holds what is no object, since providers take objects only
_NAME = re.compile(r"[^A-Za-z0-9_-]")
_BY_NAME = ("properties", "$defs", "definitions", "dependentSchemas", "patternProperties")  # name → schema
_DATA = ("enum", "const", "default", "examples", "required")  # no schemas, whatever they look like
# What OpenAI's strict mode does not take. Reference: https://platform.openai.com/docs/guides/structured-outputs
_NOT_STRICT = frozenset(
    {"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    | {"prefixItems", "contains", "uniqueItems", "propertyNames", "minProperties", "maxProperties", "default"}
    | {"unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "contentSchema"}
)


@dataclass(frozen=True)
class Output:
    """`schema` says what the value is; `adapter` is the pydantic type, if it was given as one."""

    name: str
    schema: dict[str, Any]
    adapter: TypeAdapter[Any] | None = None

    @cached_property
    def wrapped(self) -> bool:
        """The value is no object, and comes as the field `value` of one."""
        return not _is_object(_resolved(self.schema))

    @cached_property
    def sent(self) -> dict[str, Any]:
        """The schema as a provider takes it: an object at its root, and closed if that makes it strict."""
        schema = {key: value for key, value in self.schema.items() if key not in ("$schema", "$id")}
        closed = self._as_object(_closed(schema, every=self.adapter is not None))
        return closed if all(map(_is_strict, schemas_in(closed))) else self._as_object(schema)

    @cached_property
    def strict(self) -> bool:
        """A provider can hold the model to the schema, letter by letter."""
        return all(map(_is_strict, schemas_in(self.sent)))

    def _as_object(self, schema: dict[str, Any]) -> dict[str, Any]:
        shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        if not self.wrapped:
            return _resolved(schema) | shared
        inner = _moved({key: value for key, value in schema.items() if key not in shared})
        outer = {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED]}
        return outer | {"additionalProperties": False} | {key: _moved(value) for key, value in shared.items()}

    def unwrapped(self, value: Any) -> Any:
        """Raises: KeyError if it should be wrapped and is not."""
        if not self.wrapped:
            return value
        return value[WRAPPED] if isinstance(value, dict) else _absent()


def output_of(wanted: Any) -> Output:
    """From a pydantic model or any type it can check, a JSON schema, or a list of the words to choose from.

    Raises: ValueError with a sentence.
    """
    if isinstance(wanted, Output):
        return wanted
    if isinstance(wanted, dict):
        if not is_plain(wanted):
            raise ValueError("an output that is a JSON schema holds nothing but JSON")
        title = wanted.get("title")
        return Output(_name(title if isinstance(title, str) else ""), wanted)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not wanted or not all(isinstance(word, str) and word for word in wanted) or len(set(wanted)) < len(wanted):
            raise ValueError("an output that is a list names the texts to choose from, each once")
        return Output("choice", {"type": "string", "enum": list(wanted)})
    if inspect.isroutine(wanted):
        raise ValueError("an output is a pydantic type, a JSON schema or a list of texts, and no function")
    try:
        adapter = TypeAdapter(wanted)
        return Output(_name(getattr(wanted, "__name__", "")), adapter.json_schema(), adapter)
    except (PydanticUserError, PydanticOmit, NameError, TypeError) as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"an output is a pydantic type, a JSON schema or a list of texts: {why}") from None


def json_in(text: str) -> str:
    """The JSON text in an answer, which some models dress up: as a code block, or with a sentence before it."""
    text = text.strip()
    return next(filter(_is_json, _candidates(text)), text)


def _candidates(text: str) -> Iterator[str]:
    yield text
    begin = text.find("\n", text.find("```")) if "```" in text else -1
    end = text.find("```", begin) if begin >= 0 else -1
    if end >= 0:
        yield text[begin:end].strip()
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if starts:
        yield text[min(starts) : max(text.rfind("}"), text.rfind("]")) + 1]


def partial_value(output: Output, text: str) -> Any:
    """As much of the value as the text so far tells. Raises: LookupError if that is nothing yet."""
    start = next((at for at, char in enumerate(text) if char in "{["), None)
    if start is None:
        raise LookupError
    try:
        value = from_json(text[start:], allow_partial="trailing-strings", allow_inf_nan=False)
    except ValueError:
        raise LookupError from None
    return output.unwrapped(value)


def _absent() -> Any:
    raise KeyError(WRAPPED)


def is_plain(value: Any) -> bool:
    """It holds nothing but JSON."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _name(text: str) -> str:
    return _NAME.sub("_", text)[:64] or "answer"


def _is_json(text: str) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (kind is None and "properties" in schema and not {"anyOf", "oneOf"} & schema.keys())


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """What stands at the root, if that is a reference to one of its own definitions."""
    seen = set[str]()
    root = schema
    while isinstance(ref := root.get("$ref"), str) and ref.startswith("#/") and ref not in seen:
        seen.add(ref)
        found: Any = schema
        for key in ref[2:].split("/"):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            break
        root = found
    return root


def schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key in _DATA:
            continue
        if key in _BY_NAME and isinstance(value, dict):
            inner = list(value.values())
        else:
            inner = value if isinstance(value, list) else [value]
        for item in inner:
            yield from schemas_in(item)


def _mapped(schema: Any, change: Any) -> Any:
    """The same with every schema in it changed, the inner ones first."""
    if isinstance(schema, list):
        return [_mapped(item, change) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {}
    for key, value in schema.items():
        if key in _DATA:
            changed[key] = value
        elif key in _BY_NAME and isinstance(value, dict):
            changed[key] = {name: _mapped(item, change) for name, item in value.items()}
        else:
            changed[key] = _mapped(value, change)
    return change(changed)


def _moved(schema: Any) -> Any:
    """As it reads inside the wrapping: references to the old root lead to the new place."""

    def move(inner: dict[str, Any]) -> dict[str, Any]:
        ref = inner.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#") or ref.startswith(("#/$defs/", "#/definitions/")):
            return inner
        return inner | {"$ref": f"#/properties/{WRAPPED}{ref[1:]}"}

    return _mapped(schema, move)


def _closed(schema: dict[str, Any], *, every: bool) -> dict[str, Any]:
    """As strict mode wants it: the model must say each field, and no other.

    Of a field that may be left out that is asked only if it has a default, or `every` one has.
    """

    def close(inner: dict[str, Any]) -> dict[str, Any]:
        fields = inner.get("properties")
        if isinstance(fields, dict) and not inner.get("additionalProperties"):
            said = set(inner.get("required") or [])
            if every or all(name in said or _has_default(field) for name, field in fields.items()):
                inner = inner | {"required": list(fields), "additionalProperties": False}
        return inner

    def strip(inner: dict[str, Any]) -> dict[str, Any]:
        inner = {key: value for key, value in inner.items() if key != "default"}
        if "$ref" in inner and len(inner) > 1 and "$defs" not in inner:  # strict mode wants a reference alone
            return {"anyOf": [{"$ref": inner.pop("$ref")}]} | inner
        return inner

    closed: dict[str, Any] = _mapped(_mapped(schema, close), strip)
    return closed


def _has_default(schema: Any) -> bool:
    return isinstance(schema, dict) and "default" in schema


def _is_strict(schema: dict[str, Any]) -> bool:
    if _NOT_STRICT & schema.keys() or ("$ref" in schema and len(schema) > 1):
        return False
    if schema.get("type") != "object" and "properties" not in schema:
        return True
    fields = schema.get("properties")
    named = isinstance(fields, dict) and set(fields) == set(schema.get("required") or [])
    return named and schema.get("additionalProperties") is False
