"""Embedders by what they are called: the model that is chosen, or the one whose vectors are in the store."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from adapters.fastembed_embed import FastEmbedder
from adapters.openai_errors import SettingNames
from domain.errors import ModelError, SetupError
from domain.vectors import Embedded, safe_name

_OF_OPENAI = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")  # if it lists none


class OpenEmbedder(Protocol):
    """activities.ports.Embedder, to be closed."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def longest(self) -> int: ...

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Embedded: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible one, and what its settings are called."""

    base_url: str
    api_key: str = field(repr=False)
    names: SettingNames
    connect_s: float = 5.0


async def open_bundled() -> OpenEmbedder:
    """Raises: SetupError if its weights are not there."""
    # In the thread, since numpy alone takes a tenth of a second to import.
    return await asyncio.to_thread(_load_bundled)


async def open_fastembed(model: str) -> OpenEmbedder:
    """Raises: SetupError if the package or the model is not there."""
    return await asyncio.to_thread(FastEmbedder.load, model)


async def open_endpoint(endpoint: Endpoint, model: str, dimensions: int | None = None) -> OpenEmbedder:
    """Raises: SetupError, ModelUnavailableError, ModelRefusedError."""
    from adapters.openai_embed import OpenAIEmbedder

    return await OpenAIEmbedder.open(**vars(endpoint), model=model, dimensions=dimensions)


def _load_bundled() -> OpenEmbedder:
    from adapters.static_embed import StaticEmbedder

    return StaticEmbedder.load()


async def find(name: str, endpoints: Sequence[Endpoint]) -> OpenEmbedder | None:
    """The embedder whose vectors are called so, if its model can be had now."""
    model, _, size = name.rpartition("_")
    if not size.isdecimal():
        return None
    if model == "wordllama":
        return await _or_none(open_bundled(), name)
    for endpoint in endpoints:
        if found := await _find_at(endpoint, model, int(size), name):
            return found
    return await _find_fastembed(model, name)


async def _find_at(endpoint: Endpoint, model: str, size: int, name: str) -> OpenEmbedder | None:
    """The endpoint's model of that name: with the dimensions it has by itself, else with those asked for."""
    listed = next((known for known in await _listed(endpoint) if safe_name(known) == model), None)
    if listed is None:
        return None
    return await _or_none(open_endpoint(endpoint, listed), name) or await _or_none(
        _shortened(endpoint, listed, size), name
    )


async def _shortened(endpoint: Endpoint, model: str, size: int) -> OpenEmbedder:
    embedder = await open_endpoint(endpoint, model, size)
    try:
        await embedder.embed(["dimensions"])
    except BaseException:
        await embedder.close()
        raise
    return embedder


async def _listed(endpoint: Endpoint) -> Sequence[str]:
    from adapters.openai_embed import OpenAIEmbedder

    try:
        asked = OpenAIEmbedder(**vars(endpoint), model="")
    except SetupError:
        return ()
    try:
        return await asked.models() or _OF_OPENAI
    finally:
        await asked.close()


async def _find_fastembed(model: str, name: str) -> OpenEmbedder | None:
    try:
        fastembed = importlib.import_module("fastembed")
    except ImportError:
        return None
    known = (row["model"] for row in fastembed.TextEmbedding.list_supported_models())
    full = next((known_name for known_name in known if safe_name(known_name) == model), None)
    return await _or_none(open_fastembed(full), name) if full else None


async def _or_none(opening: Awaitable[OpenEmbedder], name: str) -> OpenEmbedder | None:
    """None if it cannot be opened, or its vectors are called otherwise."""
    try:
        embedder = await opening
    except (ModelError, SetupError):
        return None
    if embedder.name == name:
        return embedder
    await embedder.close()
    return None
