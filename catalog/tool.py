"""`@tool()`: a typed function becomes a tool. The schema comes from its signature, the descriptions from its docstring."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import docstring_parser
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from catalog.schemas import output_of, strict_schema
from domain.agent import Effect, NeedsApproval, Tool
from domain.tooling import ToolContext

_FIELD = "field_"


def tool(
    *,
    name: str | None = None,
    effect: Effect = "write",
    timeout_s: float = 30.0,
    retries: int = 0,
    queue: str | None = None,
    strict: bool = False,
    examples: Sequence[dict[str, Any]] = (),
    output: Any = None,
    to_model: Callable[[Any], str] | None = None,
    max_result_chars: int = 20_000,
    needs_approval: bool | NeedsApproval = False,
    outside: bool = False,
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function: sync, async, or a generator of either kind, whose last value is the result.

    The docstring's first part tells the model what the tool does, its `Args:` what the arguments mean, `examples` how they
    look. A tool that only reads should say `effect="read"`: then it is repeated after a crash. A parameter of type
    ToolContext is given the call. With `outside`, others run it: the function is only its signature. `output` is a type
    that results are checked against; what else, see domain.agent.Tool.

    Raises: TypeError if the function has no docstring, or a parameter without a type, or an example does not fit.
    """

    def make(function: Callable[..., Any]) -> Tool:
        hints = _hints(function)
        context = _context_of(function, hints)
        arguments = _arguments_model(function, hints, context)
        output_schema, check = output_of(output, _returned(function, hints), function.__name__)
        made = Tool(
            name=name or function.__name__,
            description=_description(function, examples if strict else ()),
            parameters=_parameters(arguments, function.__name__, strict=strict),
            parse=lambda text: _parse(arguments, text),
            function=function,
            effect=effect,
            timeout_s=timeout_s,
            context=context,
            strict=strict,
            output_schema=output_schema,
            check=check,
            to_model=to_model,
            retries=retries,
            queue=queue,
            max_result_chars=max_result_chars,
            needs_approval=needs_approval,
            outside=outside,
        )
        _add_examples(made, examples)
        return made

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


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Raises: TypeError if an annotation names what is not there when the module is loaded."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"tool {function.__name__}: {error}; types are imported at the top of the file") from None


def _returned(function: Callable[..., Any], hints: dict[str, Any]) -> Any:
    """The type of a result; of a generator, what it yields."""
    returned = hints.get("return")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return next(iter(get_args(returned)), None)
    return returned


def _context_of(function: Callable[..., Any], hints: dict[str, Any]) -> str | None:
    """The parameter that is given the call."""
    found = [name for name in inspect.signature(function).parameters if _is_context(hints.get(name))]
    if len(found) > 1:
        raise TypeError(f"tool {function.__name__}: {' and '.join(found)} are both a ToolContext; one is enough")
    return found[0] if found else None


def _is_context(hint: Any) -> bool:
    return (get_origin(hint) or hint) is ToolContext


def _arguments_model(function: Callable[..., Any], hints: dict[str, Any], context: str | None) -> type[BaseModel]:
    described = {p.arg_name: p.description for p in docstring_parser.parse(function.__doc__ or "").params}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {function.__name__}: parameter {name} must be one that can be given by name")
        if name == context:
            continue
        if name not in hints:
            raise TypeError(f"tool {function.__name__}: parameter {name} needs a type")
        default = ... if parameter.default is parameter.empty else parameter.default
        # By alias, so that a parameter may be called like a method of BaseModel.
        fields[f"{_FIELD}{name}"] = (hints[name], Field(default, alias=name, description=described.get(name)))
    try:
        return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        problem = str(error).splitlines()[0]
        raise TypeError(f"tool {function.__name__}: a parameter's type cannot be made of JSON: {problem}") from None


def _description(function: Callable[..., Any], examples: Sequence[dict[str, Any]]) -> str:
    doc = docstring_parser.parse(function.__doc__ or "")
    parts = [part for part in (doc.short_description, doc.long_description) if part]
    if not parts:
        raise TypeError(f"tool {function.__name__} needs a docstring: the model chooses tools by it")
    return "\n".join([*parts, *(f"Example: {json.dumps(example, ensure_ascii=False)}" for example in examples)])


def _parameters(arguments: type[BaseModel], name: str, *, strict: bool) -> dict[str, Any]:
    try:
        schema = arguments.model_json_schema()
    except PydanticUserError as error:
        raise TypeError(f"tool {name}: a parameter's type has no JSON schema: {str(error).splitlines()[0]}") from None
    schema.pop("title", None)
    return strict_schema(schema, name) if strict else schema


def _add_examples(made: Tool, examples: Sequence[dict[str, Any]]) -> None:
    """Show them in the schema; of a strict one, which may hold no more than types, the description has them."""
    for example in examples:
        try:
            made.parse(json.dumps(example))
        except (TypeError, ValueError) as error:
            raise TypeError(f"tool {made.name}: the example {example!r} does not fit: {error}") from None
    if examples and not made.strict:
        made.parameters["examples"] = [dict(example) for example in examples]


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
