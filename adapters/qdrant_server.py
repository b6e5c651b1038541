"""The store on a Qdrant server, which any number of workers can share.

The fences hold because the server applies the writes to a shard one after the other, each by its filter as the row is
then. Each write is waited for and goes through the shard's leader (`ordering=strong`), so that the next read sees it.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from adapters import qdrant_points as points
from adapters.qdrant_points import Fields, Where
from adapters.qdrant_store import Collection, QdrantStore, Row
from domain.errors import SetupError, StoreError, UnavailableError

PREFIX = "everthread_"  # of the names of our collections: the server may hold others'
OLDEST = (1, 17)  # an older server does not know `update_mode`, ignores it, and would overwrite rows
SETUP_S = 60.0  # an index over the rows of a year takes a while
_LATER = (408, 429)  # besides the 500s
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_STRONG = models.WriteOrdering.STRONG
_INDEXES: dict[points.IndexKind, Any] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "words": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    ),
}
_FIELDS: dict[Fields, Any] = {
    "all": True,
    "listed": models.PayloadSelectorExclude(exclude=list(points.NOT_LISTED)),
    "context": models.PayloadSelectorInclude(include=list(points.OF_CONTEXT)),
}


class ServerStore(QdrantStore):
    """activities.ports.Store on two collections of a Qdrant server. Every method may also raise UnavailableError."""

    def __init__(self, server: _Server, prefix: str) -> None:
        """For `open`."""
        self._server = server
        self._names = {name: prefix + name for name in points.INDEXES}
        self._collections = {name: _Collection(server, self._names[name]) for name in points.INDEXES}
        super().__init__(self._collections[points.MESSAGES], self._collections[points.RECORDS])

    @classmethod
    async def open(cls, url: str, *, api_key: str | None = None, timeout_s: float = 10.0, prefix: str = PREFIX) -> Self:
        """Connect, and make the collections and indexes that are missing; others may do the same at this moment.

        `timeout_s` is for each call. Raises: SetupError, StoreError with the server's own sentence, UnavailableError.
        """
        store = cls(_Server(url, api_key, timeout_s), prefix)
        try:
            await store._server.check_version()
            for kind, name in store._names.items():
                await store._server.make_collection(name, points.INDEXES[kind])
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._server.client.close()

    def collection(self, name: str) -> Collection:
        """One of qdrant_points.INDEXES."""
        return self._collections[name]


class _Server:
    """The client; what goes wrong comes in our words, and nothing takes longer than its time."""

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

    async def make_collection(self, name: str, indexes: dict[str, points.IndexKind]) -> None:
        async with self.answering(SETUP_S):
            exists = await self.client.collection_exists(name)
        if not exists:
            await self._create(name)
        async with self.answering(SETUP_S):
            there = (await self.client.get_collection(name)).payload_schema
            for field in indexes.keys() - there.keys():
                await self.client.create_payload_index(
                    name, field, field_schema=_INDEXES[indexes[field]], wait=True, ordering=_STRONG
                )

    async def _create(self, name: str) -> None:
        sparse = {points.SPARSE_VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)}
        try:
            async with self.answering(SETUP_S):
                await self.client.create_collection(name, vectors_config={}, sparse_vectors_config=sparse)
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


class _Collection:
    """adapters.qdrant_store.Collection."""

    def __init__(self, server: _Server, name: str) -> None:
        self._server = server
        self._client = server.client
        self._name = name

    async def insert(self, payloads: dict[str, dict[str, Any]]) -> None:
        new = [models.PointStruct(id=point_id, vector={}, payload=payload) for point_id, payload in payloads.items()]
        async with self._server.answering():
            await self._client.upsert(
                self._name, new, wait=True, ordering=_STRONG, update_mode=models.UpdateMode.INSERT_ONLY
            )

    async def get(self, point_ids: Sequence[str], fields: Fields = "listed") -> list[dict[str, Any]]:
        async with self._server.answering():
            records = await self._client.retrieve(self._name, list(point_ids), with_payload=_FIELDS[fields])
        found = {str(record.id): record.payload for record in records}
        return [found[point_id] or {} for point_id in point_ids if point_id in found]

    async def change(self, where: Where, payload: dict[str, Any]) -> None:
        async with self._server.answering():
            await self._client.set_payload(self._name, payload, _filter(where), wait=True, ordering=_STRONG)

    async def scroll(
        self,
        where: Where,
        key: str,
        limit: int,
        *,
        newest_first: bool,
        start: float | None = None,
        fields: Fields = "listed",
    ) -> list[Row]:
        direction = models.Direction.DESC if newest_first else models.Direction.ASC
        order = models.OrderBy(key=key, direction=direction, start_from=start)
        async with self._server.answering():
            records, _ = await self._client.scroll(
                self._name, _filter(where), limit, order_by=order, with_payload=_FIELDS[fields]
            )
        return [(str(record.id), record.payload or {}) for record in records]


def _filter(where: Where) -> models.Filter:
    must: list[Any] = [models.HasIdCondition(has_id=[where.point_id])] if where.point_id is not None else []
    must += [_condition(key, match=models.MatchValue(value=value)) for key, value in where.equal.items()]
    must += [_condition(key, match=models.MatchText(text=text)) for key, text in where.words.items()]
    must += [_condition(key, range=models.Range(lt=value)) for key, value in where.below.items()]
    must += [_condition(key, range=models.Range(lte=value)) for key, value in where.at_most.items()]
    excluded: list[Any] = [_condition(key, match=models.MatchAny(any=values)) for key, values in where.unequal.items()]
    return models.Filter(must=must, must_not=excluded or None)


def _condition(key: str, **holds: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **holds)


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
