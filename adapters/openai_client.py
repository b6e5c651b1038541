"""The SDK's client of one OpenAI-compatible endpoint, made after a look at its address and its key."""

from __future__ import annotations

import httpx2
import openai
from openai import AsyncOpenAI

from adapters.openai_errors import SettingNames
from domain.errors import SetupError

NO_KEY = "none"  # what is sent to servers that want none: the SDK insists on one

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def make_client(
    base_url: str, api_key: str, connect_s: float, names: SettingNames, http_client: httpx2.AsyncClient | None = None
) -> AsyncOpenAI:
    """A client that never retries by itself and times nothing but connecting; all other waiting is its user's to time.

    Raises: SetupError: If the address or the key cannot be used as it is written.
    """
    _check(base_url, api_key, names)
    return AsyncOpenAI(
        base_url=base_url,
        api_key=api_key or NO_KEY,
        max_retries=0,
        timeout=openai.Timeout(None, connect=connect_s),
        http_client=http_client or _http_client(base_url),
    )


def _check(base_url: str, api_key: str, names: SettingNames) -> None:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise SetupError(f"{names.url} is not an address: it looks like http://127.0.0.1:11434/v1")
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise SetupError(f"{names.key} has a character that no key has, such as a space or a quote: copy it again")


def _http_client(base_url: str) -> httpx2.AsyncClient:
    # A proxy set for the internet cannot reach a model on this machine.
    return openai.DefaultAsyncHttpxClient(trust_env=httpx2.URL(base_url).host not in _LOOPBACK)
