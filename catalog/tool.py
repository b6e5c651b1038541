"""`@tool()`: a typed function becomes a tool. The schema comes from its signature, the descriptions from its docstring."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, get_type_hints

import docstring_parser
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from domain.agent import Effect, NeedsApproval, Tool

_FIELD = "field_"


def tool(
    *,
    name: str | None = None,
    effect: Effect = "write",
    timeout_s: float = 30.0,
    needs_approval: bool | NeedsApproval = False,
    outside: bool = False,
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a sync or async function.

    The docstring's first part tells the model what the tool does, its `Args:` what the arguments mean. A tool that only
    reads should say `effect="read"`: then it is repeated after a crash. With `outside`, others run it: the function is only
    its signature. Raises: TypeError if the function has no
    docstring, or a parameter without a type.
    """

    def make(function: Callable[..., Any]) -> Tool:
        arguments = _arguments_model(function)
        doc = docstring_parser.parse(function.__doc__ or "")
        description = "\n".join(part for part in (doc.short_description, doc.long_description) if part)
        if not description:
            raise TypeError(f"tool {function.__name__} needs a docstring: the model chooses tools by it")
        schema = arguments.model_json_schema()
        schema.pop("title", None)
        return Tool(
            name=name or function.__name__,
            description=description,
            parameters=schema,
            parse=lambda text: _parse(arguments, text),
            function=function,
            effect=effect,
            timeout_s=timeout_s,
            needs_approval=needs_approval,
            outside=outside,
        )

    return make


def outside_tool(name: str, description: str, parameters: dict[str, Any]) -> Tool:
    """A tool that others run: a person, a browser, another service. A call of it waits until they give the result.

    `parameters` is the JSON schema of the arguments object. Raises: ValueError if it is none.
    """
    try:
        validator = validator_for(parameters)
        validator.check_schema(parameters)
    except SchemaError as error:
        raise ValueError(f"tool {name!r}: parameters are not a JSON schema: {error.message}") from None
    return Tool(
        name, description, parameters, lambda text: _checked(validator(parameters), text), _run_by_others, outside=True
    )


def _run_by_others(**_: Any) -> Any:
    raise AssertionError("others run it")


def _checked(schema: Any, text: str) -> dict[str, Any]:
    """Raises: ValueError with a sentence that the model can act on."""
    values = json.loads(text.strip() or "{}")
    if not isinstance(values, dict):
        raise ValueError("arguments: must be an object")  # noqa: TRY004 - what the model is told
    problems = [f"{'.'.join(map(str, e.path)) or 'arguments'}: {e.message}" for e in schema.iter_errors(values)]
    if problems:
        raise ValueError("; ".join(problems[:5]))
    return values


def _arguments_model(function: Callable[..., Any]) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    described = {p.arg_name: p.description for p in docstring_parser.parse(function.__doc__ or "").params}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {function.__name__}: parameter {name} must be one that can be given by name")
        if name not in hints:
            raise TypeError(f"tool {function.__name__}: parameter {name} needs a type")
        default = ... if parameter.default is parameter.empty else parameter.default
        # By alias, so that a parameter may be called like a method of BaseModel.
        fields[f"{_FIELD}{name}"] = (hints[name], Field(default, alias=name, description=described.get(name)))
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _parse(arguments: type[BaseModel], text: str) -> dict[str, Any]:
    """The keyword arguments. Raises: ValueError with a sentence that the model can act on."""
    try:
        values = arguments.model_validate_json(text.strip() or "{}")
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise ValueError("; ".join(problems)) from None
    return {name.removeprefix(_FIELD): getattr(values, name) for name in arguments.model_fields}
