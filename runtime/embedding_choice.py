"""Which model embeds what is remembered: what the user has set decides, and with nothing set the bundled one, or OpenAI's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from runtime.model_choice import OPENAI_URL
from runtime.settings import Settings

DEFAULT_MODEL = "text-embedding-3-small"


@dataclass(frozen=True)
class EmbeddingEndpoint:
    """`provider` is its name in EVERTHREAD_PROVIDERS; None: that of OPENAI_API_KEY and OPENAI_BASE_URL."""

    provider: str | None
    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class EmbeddingChoice:
    """`endpoint` is there if the kind is `endpoint`, `model` with that and with `fastembed`."""

    kind: Literal["none", "bundled", "endpoint", "fastembed"]
    model: str = ""
    endpoint: EmbeddingEndpoint | None = None


def choose_embedding(settings: Settings, *, demo: bool = False) -> EmbeddingChoice:
    """`demo` asks nobody else. The settings have been checked to name something that there is."""
    wish = "wordllama" if demo and settings.embedding != "none" else settings.embedding
    if wish is None:
        wish = f"openai/{DEFAULT_MODEL}" if settings.openai_api_key and not settings.openai_base_url else "wordllama"
    prefix, _, model = wish.partition("/")
    match prefix:
        case "none":
            return EmbeddingChoice("none")
        case "wordllama":
            return EmbeddingChoice("bundled")
        case "fastembed":
            return EmbeddingChoice("fastembed", model)
    endpoints = embedding_endpoints(settings)
    named = next((endpoint for endpoint in endpoints if (endpoint.provider or "openai") == prefix), None)
    return EmbeddingChoice("endpoint", model, named)


def embedding_endpoints(settings: Settings) -> Sequence[EmbeddingEndpoint]:
    """All that the settings name; providers first, since one of them may be called `openai`."""
    found = [
        EmbeddingEndpoint(name, provider.base_url, provider.api_key.get_secret_value())
        for name, provider in (settings.providers or {}).items()
    ]
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    if key or settings.openai_base_url:
        found.append(EmbeddingEndpoint(None, settings.openai_base_url or OPENAI_URL, key))
    return found
