"""A chat model behind any OpenAI-compatible endpoint: OpenAI, Ollama, vLLM, llama.cpp, a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai import AsyncStream

from adapters.openai_answer import Answer
from adapters.openai_client import make_client
from adapters.openai_errors import VENDOR_ERRORS, ErrorWords, SettingNames
from adapters.openai_request import arguments_of
from domain.errors import ModelError, ModelRefusedError, ModelUnavailableError
from domain.model import Completion, ModelRequest, Piece

PROBE_S = 10.0  # beside the time to connect
TAIL_S = 5.0  # for the usage, once the answer is complete

_NO_SUCH_ROUTE = (404, 405, 501)


@dataclass(frozen=True)
class Timeouts:
    """Seconds. The first token and the whole call count from the request, so connecting is part of them."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    between_chunks_s: float = 30.0
    whole_call_s: float = 600.0


class OpenAIChat:
    """Streams chat completions. Never retries by itself: that is Temporal's."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        default_model: str,
        timeouts: Timeouts | None = None,
        names: SettingNames | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        """`api_key` may be empty; `names` are what errors call the settings; a `http_client` is closed with this.

        Raises: SetupError: If the address or the key cannot be used as it is written.
        """
        api_key = api_key.strip()
        self._timeouts = timeouts or Timeouts()
        self._default_model = default_model
        names = names or SettingNames()
        # All other waiting is timed here, since httpx knows no first token and starts anew with each byte.
        self._client = make_client(base_url, api_key, self._timeouts.connect_s, names, http_client)
        self._words = ErrorWords(base_url, api_key, self._timeouts.connect_s, names)

    async def close(self) -> None:
        await self._client.close()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Completion, None]:
        """Pieces, of which the texts together are the completion's text, then exactly one Completion.

        Closing the generator closes the connection. Raises: ModelUnavailableError if the same call may succeed later;
        ModelRefusedError if not.
        """
        arguments = arguments_of(request, self._default_model)
        answer = Answer({call.call_id for message in request.messages for call in message.tool_calls})
        watch = _Watch(self._timeouts)
        response = await self._open(arguments, watch)
        try:
            while (chunk := await self._next(response, answer, watch)) is not None:
                watch.first = False
                for piece in answer.add(chunk):
                    yield piece
        finally:
            await response.close()
        for piece in answer.rest():
            yield piece
        yield answer.completion(arguments["body"]["model"])

    async def probe(self) -> list[str]:
        """The ids of the endpoint's models; an empty list if it does not tell.

        Raises: ModelRefusedError if it does not let us in; ModelUnavailableError if it is not there.
        """
        try:
            async with asyncio.timeout(self._timeouts.connect_s + PROBE_S):
                response = await self._client.models.with_raw_response.list()
                return _model_ids(response.http_response, self._words.names.url)
        except TimeoutError:
            raise ModelUnavailableError(
                f"The model at {self._words.url} ({self._words.names.url}) did not answer within {PROBE_S:g} s"
            ) from None
        except VENDOR_ERRORS as error:
            if isinstance(error, openai.APIStatusError) and error.status_code in _NO_SUCH_ROUTE:
                return []
            raise self._words.translate(error) from None  # the cause's text may hold the key

    async def _open(self, arguments: dict[str, Any], watch: _Watch) -> AsyncStream[object]:
        try:
            async with watch.wait():
                # As plain JSON both ways: the SDK's typed call walks every message of the context, and builds a model of
                # every chunk, which together cost the event loop more than all the rest of a turn.
                response: AsyncStream[object] = await self._client.post(
                    "/chat/completions", cast_to=object, stream=True, stream_cls=AsyncStream[object], **arguments
                )
                await self._refuse_other_kinds(response)
        except VENDOR_ERRORS as error:
            raise self._words.translate(error) from None
        return response

    async def _refuse_other_kinds(self, stream: AsyncStream[object]) -> None:
        kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in {"text/html", "application/json"}:
            body = await stream.response.aread()
            raise self._words.not_a_stream(kind, body.decode("utf-8", "replace"))

    async def _next(self, response: AsyncStream[object], answer: Answer, watch: _Watch) -> dict[str, Any] | None:
        """The next chunk; None at the end. What goes wrong after the finish reason takes nothing from the answer."""
        try:
            async with watch.wait(TAIL_S if answer.finished else None):
                chunk: object = await anext(response, None)
            if chunk is not None:
                return self._fields(chunk)
            if not answer.finished:
                raise ModelUnavailableError(f"The model at {self._words.url} ended its answer without a finish reason")
        except (ModelError, *VENDOR_ERRORS) as error:
            if not answer.finished:
                raise self._words.translate(error, started=True) from None
        return None

    def _fields(self, chunk: object) -> dict[str, Any]:
        fields = chunk if isinstance(chunk, dict) else {}
        if fields.get("object") == "error":  # vLLM
            raise self._words.of_event(fields)
        return fields


class _Watch:
    """Times one call: each wait ends in time, and its error names the setting that ended it."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.first = True
        self._timeouts = timeouts
        self._start = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def wait(self, tail_s: float | None = None) -> AsyncIterator[None]:
        """Raises: ModelUnavailableError: If it takes too long."""
        until, sentence = min(self._limit(tail_s), self._whole())
        scope = asyncio.timeout_at(until)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise ModelUnavailableError(sentence) from None

    def _limit(self, tail_s: float | None) -> tuple[float, str]:
        if self.first:
            limit = self._timeouts.first_token_s
            sentence = f"The model sent nothing for {limit:g} s (EVERTHREAD_MODEL_FIRST_TOKEN_TIMEOUT_S)"
            return self._start + limit, sentence
        limit = self._timeouts.between_chunks_s
        sentence = f"The model fell silent for {limit:g} s in its answer (EVERTHREAD_MODEL_CHUNK_TIMEOUT_S)"
        return asyncio.get_running_loop().time() + min(limit, tail_s or limit), sentence

    def _whole(self) -> tuple[float, str]:
        limit = self._timeouts.whole_call_s
        return self._start + limit, f"The model's answer took over {limit:g} s (EVERTHREAD_MODEL_CALL_TIMEOUT_S)"


def _model_ids(response: httpx2.Response, setting: str) -> list[str]:
    """Raises: ModelRefusedError: If what answers is no API."""
    try:
        body = response.json()
    except ValueError:
        raise ModelRefusedError(f"{setting} leads to a web page, not to a model: it usually ends in /v1") from None
    rows = body.get("data") if isinstance(body, dict) else None
    ids = [row.get("id") for row in rows or [] if isinstance(row, dict)]
    return [model_id for model_id in ids if isinstance(model_id, str)]
