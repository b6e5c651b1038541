"""What a chat completion request asks for, and the refusals a real provider gives to a malformed one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from doubles import response_format
from doubles.refusal import RefusedError

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


@dataclass(frozen=True)
class ChatRequest:
    """The parts of a request that decide about its answer."""

    model: str = "scripted"
    stream: bool = False
    include_usage: bool = False
    user: str = ""  # text of the last user message
    tool: str = ""  # the tool results at the end, one a line
    after_tool: bool = False
    step: int = 1  # which model call of the turn this is
    offered: frozenset[str] = field(default_factory=frozenset)  # names of the tools
    prompt_tokens: int = 0  # words, in place of tokens
    embeds: bool = False  # it asks for embeddings of `user` instead


def read(raw: bytes) -> ChatRequest:
    """Raises: RefusedError: If OpenAI would refuse the request: no messages, or a history that does not hold together."""
    body = parsed(raw)
    messages = body.get("messages")
    if not isinstance(body.get("model"), str):
        raise RefusedError("you must provide a model parameter")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise RefusedError("Invalid type for 'messages': expected an array of objects.", param="messages")
    _refuse_empty_arrays(body)
    _refuse_broken_history(messages)
    response_format.refuse_unusable(body.get("response_format"), json.dumps(messages))
    last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    results = _results_at_the_end(messages)
    return ChatRequest(
        model=body["model"],
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        user=_text(messages[last_user]) if last_user >= 0 else "",
        tool="\n".join(results),
        after_tool=bool(results),
        step=1 + sum(1 for message in messages[last_user + 1 :] if message.get("tool_calls")),
        offered=frozenset(tool["function"]["name"] for tool in body.get("tools") or [] if "function" in tool),
        prompt_tokens=sum(len(_text(message).split()) for message in messages),
    )


def parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusedError("We could not parse the JSON body of your request. It has to be a JSON object.")
    return body


def _refuse_empty_arrays(body: dict[str, Any]) -> None:
    arrays = {"messages": body["messages"], "tools": body.get("tools")}
    arrays |= {f"messages[{i}].tool_calls": message.get("tool_calls") for i, message in enumerate(body["messages"])}
    for name, value in arrays.items():
        if value == []:
            text = f"Invalid '{name}': empty array. Expected an array with minimum length 1."
            raise RefusedError(text, param=name, code="empty_array")


def _refuse_broken_history(messages: list[dict[str, Any]]) -> None:
    """Every tool call is followed by its result, every result follows its call, nobody says nothing."""
    unanswered: list[str] = []
    for i, message in enumerate(messages):
        role, calls = message.get("role"), message.get("tool_calls")
        if role not in ROLES:
            raise RefusedError(f"Invalid value: '{role}'. Supported values are: {ROLES}.", param=f"messages[{i}].role")
        if message.get("content") is None and not calls:
            text = "Invalid value for 'content': expected a string, got null."
            raise RefusedError(text, param=f"messages[{i}].content")
        if role == "tool":
            if message.get("tool_call_id") not in unanswered:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise RefusedError(f"Invalid parameter: {text}", param=f"messages[{i}].role")
            unanswered.remove(message["tool_call_id"])
            continue
        _refuse_unanswered(unanswered)
        unanswered = [call.get("id", "") for call in calls or []]
    _refuse_unanswered(unanswered)


def _refuse_unanswered(call_ids: list[str]) -> None:
    if call_ids:
        raise RefusedError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(call_ids)}",
            param="messages",
        )


def _results_at_the_end(messages: list[dict[str, Any]]) -> list[str]:
    start = len(messages)
    while start and messages[start - 1]["role"] == "tool":
        start -= 1
    return [_text(message) for message in messages[start:]]


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
