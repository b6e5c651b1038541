"""The connection to a Qdrant server: what goes wrong on it comes in our words, and nothing takes longer than its time."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from adapters import qdrant_points as points
from adapters.qdrant_layout import STRONG, Layout, index_of
from domain.errors import SetupError, StoreError, UnavailableError

# An older one takes how rare a word is from all points, whoever they belong to, whatever it is told. (One before 1.18 knows
# no way to add the vectors of a model to a collection that has rows, and one before 1.17 would overwrite rows: it ignores
# `update_mode`.)
OLDEST = (1, 19)
SETUP_S = 60.0  # an index over the rows of a year takes a while
_LATER = (408, 429)  # besides the 500s
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Server:
    """The client, and how to call it: inside `answering`."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        address = _address(url)
        self._timeout_s = timeout_s
        self._where = f"Qdrant at {address}"
        self.client = AsyncQdrantClient(
            url=str(address),
            # Not as api_key: that warns of every plain connection, also on this machine.
            headers={"api-key": _ascii(api_key)} if api_key else None,
            timeout=math.ceil(timeout_s),
            check_compatibility=False,  # it asks in a thread of its own; see check_version
            trust_env=address.host not in _LOOPBACK,  # a proxy set for the internet cannot reach this machine
            # The server closes a connection that was idle for 5 s; one that is just being closed fails the call on it.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=3.0),
        )

    async def check_version(self) -> None:
        async with self.answering():
            found = (await self.client.info()).version
        if tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise SetupError(f"{self._where} is version {found}, and {wanted} is the oldest that can hold a thread")

    async def make_collection(self, name: str, indexes: dict[str, points.IndexKind], layout: Layout) -> None:
        """Nothing if it is there, whole; two that do it at once make one."""
        async with self.answering(SETUP_S):
            exists = await self.client.collection_exists(name)
        if not exists:
            await self._create(name, layout)
        async with self.answering(SETUP_S):
            there = (await self.client.get_collection(name)).payload_schema
        for field in indexes.keys() - there.keys():
            async with self.answering(SETUP_S):
                await self.client.create_payload_index(
                    name, field, field_schema=index_of(field, indexes[field]), wait=True, ordering=STRONG
                )

    async def _create(self, name: str, layout: Layout) -> None:
        try:
            async with self.answering(SETUP_S):
                await self.client.create_collection(name, **layout.collection())
        except StoreError:
            async with self.answering():
                if not await self.client.collection_exists(name):  # else another worker was first
                    raise

    @asynccontextmanager
    async def answering(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Raises: UnavailableError if the same call may succeed later, StoreError if it was refused."""
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                yield
        except TimeoutError as error:
            raise self._unavailable(f"not within {timeout_s or self._timeout_s:g} s") from error
        except ResourceExhaustedResponse as error:
            raise self._unavailable(str(error)) from error
        except (ResponseHandlingException, ValueError) as error:
            source = getattr(error, "source", error)
            if isinstance(source, httpx.TransportError):
                raise self._unavailable(str(source) or type(source).__name__) from error
            raise StoreError(f"{self._where} does not answer as Qdrant does: change EVERTHREAD_QDRANT_URL") from error
        except UnexpectedResponse as error:
            sentence = _sentence(error)
            if error.status_code in _LATER or (error.status_code or 0) >= 500:
                raise self._unavailable(sentence) from error
            remedy = ": set EVERTHREAD_QDRANT_API_KEY" if error.status_code in (401, 403) else ""
            raise StoreError(f"{self._where} refused it: {sentence}{remedy}") from error

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(f"{self._where} does not answer ({reason}): start it, or change EVERTHREAD_QDRANT_URL")


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in {"http", "https"} or not address.host or "%" in address.host:
        raise SetupError("EVERTHREAD_QDRANT_URL is not an address: it looks like http://127.0.0.1:6333")
    if address.userinfo:
        raise SetupError("EVERTHREAD_QDRANT_URL holds a password: put Qdrant's key into EVERTHREAD_QDRANT_API_KEY")
    return address


def _ascii(api_key: str) -> str:
    if not api_key.isascii() or not api_key.isprintable():
        raise SetupError("EVERTHREAD_QDRANT_API_KEY has a character that no key has: copy it again")
    return api_key


def _sentence(error: UnexpectedResponse) -> str:
    """What the server said; a proxy before it may say it in a page."""
    text = error.content.decode(errors="replace")
    try:
        return str(json.loads(text)["status"]["error"])
    except (ValueError, TypeError, KeyError):
        return f"status {error.status_code}{f', {text[:200]}' if text else ''}"
