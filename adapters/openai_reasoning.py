"""What a model thinks before it answers: each provider has a field of its own for it, and some want it back."""

from __future__ import annotations

from typing import Any

# DeepSeek, vLLM, llama.cpp; Groq, Ollama, OpenRouter; OpenRouter again, with signatures.
FIELDS = ("reasoning_content", "reasoning", "reasoning_details")
_PLAIN = (
    "id",
    "type",
    "function",
    "index",
)  # of a call; anything else is the provider's own, such as Gemini's signature


def reasoning_in(delta: dict[str, Any]) -> str:
    """The text of the thoughts in a piece of an answer, told once where it is there in two fields."""
    for name in FIELDS:
        if text := _text(delta.get(name)):
            return text
    content = delta.get("content")
    thoughts = [part for part in content if _is_thought(part)] if isinstance(content, list) else []
    return "".join(_text(part.get("thinking") or part.get("text")) for part in thoughts)


def sent_back(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of an answer's message that go back with it, as they came."""
    message = raw.get("message")
    return {name: message[name] for name in FIELDS if message.get(name)} if isinstance(message, dict) else {}


def call_extras(raw: dict[str, Any], index: int) -> dict[str, Any]:
    """The provider's own fields of an answer's call."""
    message = raw.get("message")
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list) or index >= len(calls) or not isinstance(calls[index], dict):
        return {}
    return {name: value for name, value in calls[index].items() if name not in _PLAIN and value is not None}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    texts = (part.get("text") or part.get("summary") for part in value if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _is_thought(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")  # Mistral
