"""Puts streamed tool calls together, from servers that differ in how they number and name the pieces.

A piece belongs to the call of its `index`. What was seen in the field and is sorted out here: no index (Gemini); index 0
for every call, each sent whole (Ollama); an id or a name repeated in every piece; another id in every piece (vLLM); no id
at all; an id that an earlier step has used; arguments as an object instead of its JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from adapters.openai_merge import merge
from domain.messages import ToolCall, mend_text
from domain.model import ToolDelta

LONGEST_ID = 40  # characters that OpenAI takes back


class CallPieces:
    """The calls of one answer, in the order in which they began."""

    def __init__(self, taken_ids: Collection[str]) -> None:
        self._taken_ids = frozenset(taken_ids)
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: object) -> list[ToolDelta]:
        """Returns what can be shown of them."""
        plain = [_plain(piece) for piece in pieces if isinstance(piece, dict)] if isinstance(pieces, list) else []
        return [delta for piece in plain if (delta := self._add(piece)).text]

    def raw(self) -> list[dict[str, Any]]:
        """The calls as the provider would have sent them without streaming."""
        return [{key: value for key, value in call.items() if key != "index"} for call in self._calls]

    def calls(self) -> list[ToolCall]:
        """An id that is missing, too long or taken (in this answer or before) becomes `call_<n>`, n the first free number.

        Results are joined to their calls by id, so each must be its own within a conversation.
        """
        taken = set(self._taken_ids)
        done: list[ToolCall] = []
        for call in self._calls:
            call_id = mend_text(str(call.get("id") or ""))
            if not call_id or len(call_id) > LONGEST_ID or call_id in taken:
                call_id = next(free for n in range(len(taken) + 1) if (free := f"call_{n}") not in taken)
            taken.add(call_id)
            name, arguments = _function(call)
            done.append(ToolCall(call_id=call_id, name=mend_text(name), arguments=mend_text(arguments)))
        return done

    def _add(self, piece: dict[str, Any]) -> ToolDelta:
        call = self._call_of(piece)
        if call is None or _begins_another(call, piece):
            call = {}
            self._calls.append(call)
        call.update(merge(call, piece))
        if isinstance(piece.get("index"), int):
            self._by_index[piece["index"]] = call
        index = next(place for place, known in enumerate(self._calls) if known is call)
        return ToolDelta(index, self._known_id(index), mend_text(_function(call)[0]), mend_text(_function(piece)[1]))

    def _known_id(self, index: int) -> str:
        """The id that the call will have in the end, if that is known."""
        first_ids = [call.get("id") for call in self._calls[: index + 1]]
        call_id = first_ids.pop()
        usable = isinstance(call_id, str) and 0 < len(call_id) <= LONGEST_ID
        return str(call_id) if usable and call_id not in self._taken_ids and call_id not in first_ids else ""

    def _call_of(self, piece: dict[str, Any]) -> dict[str, Any] | None:
        """The call that the piece goes on with, by its index, else by its id, else the one before."""
        if (call := self._by_index.get(piece.get("index", -1))) is not None:
            return call
        call_id, (name, _) = piece.get("id"), _function(piece)
        if call_id and (call := next((c for c in self._calls if c.get("id") == call_id), None)):
            return None if name and isinstance(piece.get("index"), int) else call
        starts = isinstance(piece.get("index"), int) and (name or call_id)
        return self._calls[-1] if self._calls and not starts else None


def _begins_another(call: dict[str, Any], piece: dict[str, Any]) -> bool:
    """The piece has the place of the call but is the start of the next one, since it names a function anew."""
    name, arguments = _function(piece)
    if not name:
        return False
    known_name, known_arguments = _function(call)
    if call.get("id") and piece.get("id"):
        return bool(call["id"] != piece["id"])
    if known_name and name != known_name:
        return True
    return bool(arguments) and _is_json(known_arguments)


def _plain(piece: dict[str, Any]) -> dict[str, Any]:
    """The piece with its arguments as JSON text."""
    function = piece.get("function")
    if not isinstance(function, dict):
        return piece
    arguments = function.get("arguments")
    if arguments is None or isinstance(arguments, str):
        return piece
    return piece | {"function": function | {"arguments": json.dumps(arguments, ensure_ascii=False)}}


def _function(call: dict[str, Any]) -> tuple[str, str]:
    function = call.get("function")
    if not isinstance(function, dict):
        return "", ""
    return str(function.get("name") or ""), function.get("arguments") or ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
