"""The base of every model that travels through a history, where each byte is paid for and kept."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import to_json


class Wire(BaseModel):
    """A model whose JSON leaves out what equals the default. Fields are only ever added, with defaults."""

    model_config = ConfigDict(extra="ignore")

    @model_serializer(mode="wrap")
    def _compact(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        whole: dict[str, Any] = handler(self)
        return {
            name: value
            for name, value in whole.items()
            if fields[name].is_required() or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }


def json_size(value: Any) -> int:
    """The bytes of a value as it travels."""
    return len(to_json(value))
