"""JSON schemas of tools: what their results look like, and the form that a provider can hold a model to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

_UNKNOWN = (None, type(None), Any, str)  # there is nothing to say of their shape


def output_of(wanted: Any, returned: Any, name: str) -> tuple[dict[str, Any] | None, Callable[[Any], Any] | None]:
    """The schema of a tool's results, and what checks them if a type was named for it.

    `returned` is what the function's annotation says. Raises: TypeError if the named type has no schema.
    """
    shape = wanted if wanted is not None else returned
    if shape in _UNKNOWN:
        return None, None
    try:
        adapter = TypeAdapter(shape)
        schema = adapter.json_schema(mode="serialization")
    except PydanticUserError as error:
        if wanted is None:
            return None, None
        raise TypeError(f"tool {name}: output has no JSON schema: {str(error).splitlines()[0]}") from None
    return schema, None if wanted is None else lambda value: _checked(adapter, value)


def strict_schema(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema with every property required and nothing else allowed, as strict providers want it.

    Raises: TypeError if it has an object of any keys, which cannot be said strictly.
    """
    strict = {key: _stricter(value, name) for key, value in schema.items() if key not in ("default", "title")}
    if "properties" in schema:
        strict["properties"] = {key: strict_schema(value, name) for key, value in schema["properties"].items()}
        strict |= {"required": list(schema["properties"]), "additionalProperties": False}
    elif schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise TypeError(
                f"tool {name}: strict=True takes no dict of any keys; name them in a model, or say strict=False"
            )
        strict |= {"properties": {}, "required": []}
    return strict


def _stricter(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        is_schema = any(key in value for key in ("type", "properties", "anyOf", "$ref", "enum", "const", "allOf"))
        return strict_schema(value, name) if is_schema else {key: _stricter(v, name) for key, v in value.items()}
    if isinstance(value, list):
        return [_stricter(item, name) for item in value]
    return value


def _checked(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors(include_url=False))
        raise ValueError("; ".join(problems)) from None
