"""`@tool()`: a typed function becomes a tool. The schema comes from its signature, the descriptions from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from domain.agent import Effect, Tool

_FIELD = "field_"


def tool(
    *, name: str | None = None, effect: Effect = "write", timeout_s: float = 30.0
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a sync or async function.

    The docstring's first part tells the model what the tool does, its `Args:` what the arguments mean. A tool that only
    reads should say `effect="read"`: then it is repeated after a crash. Raises: TypeError if the function has no
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
        )

    return make


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
