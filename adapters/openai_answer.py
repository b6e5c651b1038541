"""Puts a streamed answer together, chunk by chunk, and keeps every field the provider sent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from adapters.openai_calls import CallPieces
from adapters.openai_merge import merge
from adapters.openai_reasoning import reasoning_in
from adapters.openai_sources import sources_of
from domain.messages import Usage, mend_text
from domain.model import Completion, Piece, ReasoningDelta, TextDelta

_NOT_KEPT = ("choices", "object", "obfuscation")  # ours is no chunk; obfuscation is padding against eavesdroppers
_SAYS_CALLS = ("stop", "function_call")  # what some servers give as the reason when they mean tool_calls


class Answer:
    """One answer, growing. The text deltas that `add` and `rest` return make up the completion's text."""

    def __init__(self, taken_ids: Collection[str]) -> None:
        self._fields: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant"}
        self._calls = CallPieces(taken_ids)
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._held = ""

    @property
    def finished(self) -> bool:
        """The provider gave its finish reason; only the usage may follow."""
        return bool(self._choice.get("finish_reason"))

    def add(self, chunk: dict[str, Any]) -> list[Piece]:
        """Takes in a chunk; returns what of it can be shown now."""
        self._fields |= {key: value for key, value in chunk.items() if key not in _NOT_KEPT and value is not None}
        choices = chunk.get("choices")
        return [piece for choice in choices or [] if isinstance(choice, dict) for piece in self._add_choice(choice)]

    def rest(self) -> list[Piece]:
        """Half a character that was held back and never completed."""
        held, self._held = self._held, ""
        return [TextDelta(mend_text(held))] if held else []

    def completion(self, model: str) -> Completion:
        """`model` is the name for providers that do not say theirs."""
        calls = self._calls.calls()
        reason = str(self._choice.get("finish_reason"))
        raw = self._raw()
        return Completion(
            text=mend_text("".join(self._texts)),
            tool_calls=calls,
            finish="tool_calls" if calls and reason in _SAYS_CALLS else reason,
            model=str(self._fields.get("model") or model),
            usage=_usage(self._fields.get("usage")),
            raw=raw,
            reasoning=mend_text("".join(self._thoughts)),
            sources=sources_of(raw),
        )

    def _add_choice(self, choice: dict[str, Any]) -> list[Piece]:
        if choice.get("index") not in (0, None):
            return []
        others = {key: value for key, value in choice.items() if key not in {"delta", "index"}}
        reason = others.pop("finish_reason", None) or self._choice.get("finish_reason")
        self._choice = merge(self._choice, others) | {"finish_reason": reason}
        delta = choice.get("delta")
        return self._add_delta(delta) if isinstance(delta, dict) else []

    def _add_delta(self, delta: dict[str, Any]) -> list[Piece]:
        self._message = merge(self._message, {key: value for key, value in delta.items() if key != "tool_calls"})
        pieces: list[Piece] = []
        if thought := reasoning_in(delta):
            self._thoughts.append(thought)
            pieces.append(ReasoningDelta(mend_text(thought)))
        # A refusal is what the model says, in another field.
        if text := self._show(_text(delta.get("content")) or _text(delta.get("refusal"))):
            pieces.append(TextDelta(text))
        return [*pieces, *self._calls.add(delta.get("tool_calls"))]

    def _show(self, text: str) -> str:
        """Holds a first half of a surrogate pair back until its other half comes."""
        self._texts.append(text)
        text = self._held + text
        self._held = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return mend_text(text.removesuffix(self._held) if self._held else text)

    def _raw(self) -> dict[str, Any]:
        """`message` as it would have come without streaming; `choice` has what stood beside it, such as logprobs."""
        message = self._message | ({"tool_calls": self._calls.raw()} if self._calls else {})
        others = {key: value for key, value in self._choice.items() if key != "finish_reason" and value is not None}
        raw = self._fields | {"finish_reason": self._choice.get("finish_reason"), "message": message}
        raw.setdefault("usage", None)
        mended: dict[str, Any] = _mended(raw | ({"choice": others} if others else {}))
        return mended


def _text(content: object) -> str:
    """The text of a content field: a text, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _usage(fields: object) -> Usage | None:
    if not isinstance(fields, dict):
        return None
    prompt, completion = (fields.get(key) for key in ("prompt_tokens", "completion_tokens"))
    return Usage(
        prompt_tokens=prompt if isinstance(prompt, int) else 0,
        completion_tokens=completion if isinstance(completion, int) else 0,
    )


def _mended(value: Any) -> Any:
    """The same with every text in it mended, so that it can be stored as UTF-8."""
    if isinstance(value, str):
        return mend_text(value)
    if isinstance(value, list):
        return list(map(_mended, value))
    if isinstance(value, dict):
        return {mend_text(key): _mended(item) for key, item in value.items()}
    return value
