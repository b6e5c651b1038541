"""The base of every model that travels through a history, where each byte is paid for and kept."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import to_json


class Wire(BaseModel):
    """A model whose JSON leaves out what equals the default, except `v`, its version.

    Fields are only ever added, with defaults, and a default never changes: what was left out years ago is read by it.
    """

    model_config = ConfigDict(extra="ignore")

    _defaults: ClassVar[dict[str, Any]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        fields = cls.model_fields.items()
        cls._defaults = {n: f.get_default(call_default_factory=True) for n, f in fields if not f.is_required()}

    @model_serializer(mode="wrap")
    def _compact(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults, whole = self._defaults, handler(self)
        return {
            name: value
            for name, value in whole.items()
            if name == "v" or name not in defaults or getattr(self, name) != defaults[name]
        }


def json_size(value: Any) -> int:
    """The bytes of a value as it travels."""
    return len(to_json(value))
