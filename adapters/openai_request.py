"""A model request in the words of OpenAI's chat completions, valid whatever the conversation holds."""

from __future__ import annotations

import json
import re
from typing import Any

from adapters.openai_reasoning import call_extras, sent_back
from domain.chat import ChatMessage
from domain.content import Part
from domain.errors import ModelRefusedError
from domain.messages import ToolCall, mend_text
from domain.model import AnswerFormat, ModelRequest

# What the SDK's own methods take beside the body, and what its `post` calls it.
_SENDING = {"extra_headers": "headers", "extra_query": "params"}
# What the adapter decides by itself; `n` would pay for answers that nobody sees.
_OURS = frozenset({"messages", "model", "n", "stream", "stream_options", "timeout", "tool_choice", "tools"})
_CHOICES = ("auto", "required", "none")
LONGEST_NAME = 64  # characters of a function's name


def arguments_of(request: ModelRequest, default_model: str) -> dict[str, Any]:
    """The keyword arguments of the SDK's `post`. Options go into the body as they are.

    Raises: ModelRefusedError: If an option is one of ours.
    """
    if taken := sorted(_OURS & request.options.keys()):
        raise ModelRefusedError(
            f"The option {taken[0]} cannot be set: Everthread sets it. Remove it from the agent's options, "
            "or from the prompt's settings."
        )
    options = dict(request.options)
    sending = {ours: options.pop(theirs) for theirs, ours in _SENDING.items() if theirs in options}
    body = options.pop("extra_body", {}) | options
    body |= {
        "model": request.model or default_model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.answer_format is not None:
        body["response_format"] = _format(request.answer_format)
    if request.tools:  # an empty list is refused, and so is a choice without tools
        body |= {"tools": list(request.tools), "tool_choice": _choice(request.tool_choice)}
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    return {"body": body, "options": sending}


def _choice(choice: str) -> str | dict[str, Any]:
    return choice if choice in _CHOICES else {"type": "function", "function": {"name": choice}}


def _format(wanted: AnswerFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema} | ({"strict": True} if wanted.strict else {})
    return {"type": "json_schema", "json_schema": schema}


def _message(message: ChatMessage) -> dict[str, Any]:
    if message.parts:
        return {"role": message.role, "content": list(map(_part, message.parts))}
    text = mend_text(message.text)  # half a character cannot be sent as UTF-8
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id or "", "content": text}
    if not message.tool_calls:
        return {"role": message.role, "content": text}
    raw = message.raw or {}
    calls = [_call(call) | call_extras(raw, index) for index, call in enumerate(message.tool_calls)]
    return {"role": message.role, "content": text or None, "tool_calls": calls} | sent_back(raw)


def _part(part: Part) -> dict[str, Any]:
    if part.type == "image":
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": mend_text(part.text)}


def _call(call: ToolCall) -> dict[str, Any]:
    """A call that providers take back: servers that template it fail on broken arguments or names, at every later turn."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", call.name)[:LONGEST_NAME] or "unnamed"
    function = {"name": name, "arguments": _object(mend_text(call.arguments))}
    return {"id": call.call_id, "type": "function", "function": function}


def _object(arguments: str) -> str:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        value = None
    if isinstance(value, dict):
        return arguments or "{}"
    return json.dumps({"invalid_arguments": arguments}, ensure_ascii=False)
