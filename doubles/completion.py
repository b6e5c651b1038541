"""OpenAI's JSON for one answer: the events of a stream, or the body without streaming.

Reference: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from doubles.chat_request import ChatRequest
from doubles.replies import Reply, ReplyError, ToolCall

Delta = dict[str, Any]

DONE = "data: [DONE]\n\n"
_ARGUMENTS_PIECE = 8  # characters
_PLACEHOLDER = re.compile(r"\{(user|n|tool)\}")
_WORD = re.compile(r"\s*\S+|\s+$")  # as tokens do, a word brings the space before it
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Completion:
    """A reply made out to one request. `serial` is unique over all requests and servers."""

    def __init__(self, reply: Reply, request: ChatRequest, *, number: int, serial: str, created: int) -> None:
        self._reply = reply
        self._request = request
        self._values = {"user": request.user, "tool": request.tool, "n": str(number)}
        self._serial = serial
        self._stamp = {"id": f"chatcmpl-{serial}", "created": created, "model": request.model}

    @property
    def streams(self) -> bool:
        return self._request.stream

    @cached_property
    def deltas(self) -> list[Delta]:
        """The chunks that are counted: reasoning, text, tool calls."""
        thoughts: list[Delta] = [{"reasoning_content": piece} for piece in _words(self._reasoning or "")]
        texts: list[Delta] = [{"content": piece} for piece in self._pieces]
        calls = [delta for index, call in enumerate(self._reply.tool_calls) for delta in self._call(index, call)]
        return thoughts + texts + calls

    @property
    def opening(self) -> str:
        """The event that says who speaks."""
        return self.event({"role": "assistant", "content": self._silent_or(""), "refusal": None} | self._reply.extra)

    @property
    def closing(self) -> str:
        """The event with the finish reason, the usage if it was asked for, and the end mark."""
        usage = f'{self._head}"choices":[],"usage":{_encode(self._usage)}}}\n\n' if self._request.include_usage else ""
        return self.event({}, self._finish_reason) + usage + DONE

    def event(self, delta: Delta, finish_reason: str | None = None) -> str:
        choice = f'{{"index":0,"delta":{_encode(delta)},"logprobs":null,"finish_reason":{_encode(finish_reason)}}}'
        return f'{self._head}"choices":[{choice}]{self._tail}'

    @property
    def body(self) -> bytes:
        """The whole answer to a request without streaming."""
        calls = [self._whole_call(index, call) for index, call in enumerate(self._reply.tool_calls)]
        message = {
            "role": "assistant",
            "content": self._silent_or("".join(self._pieces)),
            "refusal": None,
            **({"reasoning_content": self._reasoning} if self._reasoning is not None else {}),
            **({"tool_calls": calls} if calls else {}),
            **self._reply.extra,
        }
        finish = None if self._reply.end_without_finish else self._finish_reason
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        tail = {"usage": self._usage, "service_tier": "default", "system_fingerprint": "fp_scripted"}
        return as_bytes(_encode(self._stamp | {"object": "chat.completion", "choices": [choice]} | tail))

    @cached_property
    def _head(self) -> str:
        fixed = {"object": "chat.completion.chunk", "service_tier": "default", "system_fingerprint": "fp_scripted"}
        return f"data: {_encode(self._stamp | fixed)[:-1]},"

    @cached_property
    def _tail(self) -> str:
        return ',"usage":null}\n\n' if self._request.include_usage else "}\n\n"

    @cached_property
    def _pieces(self) -> list[str]:
        reply = self._reply
        if reply.chunks is not None:
            return [self._filled(chunk) for chunk in reply.chunks]
        text, size = self._filled(reply.text), reply.chunk_size
        return [text[i : i + size] for i in range(0, len(text), size)] if size else _words(text)

    @cached_property
    def _reasoning(self) -> str | None:
        thought = self._reply.reasoning_content
        return None if thought is None else self._filled(thought)

    @property
    def _finish_reason(self) -> str:
        return self._reply.finish_reason or ("tool_calls" if self._reply.tool_calls else "stop")

    @property
    def _usage(self) -> dict[str, int]:
        given = self._reply.usage
        prompt = given.prompt_tokens if given else self._request.prompt_tokens
        completion = given.completion_tokens if given else len(self.deltas)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _filled(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: self._values[match[1]], text) if "{" in text else text

    def _silent_or(self, text: str) -> str | None:
        """OpenAI's content is null, not empty, when there are tool calls only."""
        return None if self._reply.tool_calls and not self._pieces else text

    def _call(self, index: int, call: ToolCall) -> Iterator[Delta]:
        """The name first, then the arguments in pieces."""
        whole = self._whole_call(index, call)
        arguments = whole["function"]["arguments"]
        yield {"tool_calls": [{"index": index} | whole | {"function": {"name": call.name, "arguments": ""}}]}
        for start in range(0, len(arguments), _ARGUMENTS_PIECE):
            piece = arguments[start : start + _ARGUMENTS_PIECE]
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def _whole_call(self, index: int, call: ToolCall) -> dict[str, Any]:
        arguments = call.arguments if isinstance(call.arguments, str) else _encode(call.arguments)
        function = {"name": call.name, "arguments": arguments}
        return {"id": call.id or f"call_{self._serial}_{index}", "type": "function", "function": function} | call.extra


def error_body(error: ReplyError) -> str:
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return _encode({"error": fields})


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # half a surrogate pair, echoed, is no reason to fail


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
