"""How long the model adapter waits, and that it lets go of connections at once."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest

from adapters.openai_chat import OpenAIChat, Timeouts
from domain.errors import ModelUnavailableError
from doubles.scripted_model import Reply, ScriptedModel
from tests.adapters.chatting import ask, asking, chat_with
from tests.adapters.raw_server import delta, event, head, read_request, serving


@pytest.mark.parametrize(
    ("reply", "timeouts", "setting"),
    [
        (Reply(hang_after_chunks=0), Timeouts(first_token_s=0.6), "FIRST_TOKEN"),
        (Reply(text="a b c", hang_after_chunks=1), Timeouts(between_chunks_s=0.6), "CHUNK"),
        (Reply(text="word " * 200, delay_s=0.02), Timeouts(whole_call_s=0.6), "CALL"),
        (Reply(text="a b c", hang_after_chunks=1), Timeouts(whole_call_s=0.6), "CALL"),
        (Reply(hang_after_chunks=0), Timeouts(whole_call_s=0.6), "CALL"),
    ],
)
async def test_each_wait_ends_at_its_own_setting(
    model: ScriptedModel, reply: Reply, timeouts: Timeouts, setting: str
) -> None:
    model.script(reply)
    async with chat_with(model.base_url, timeouts) as chat:
        started = time.monotonic()
        with pytest.raises(ModelUnavailableError, match=f"EVERTHREAD_MODEL_{setting}_TIMEOUT_S"):
            await ask(chat)
        assert 0.59 < time.monotonic() - started < 5
    await model.until(lambda request: request.client_left)


async def test_chunks_that_keep_coming_are_waited_for_beyond_the_first_two_timeouts(model: ScriptedModel) -> None:
    model.script(Reply(text="a b c d e f", delay_s=0.12))
    async with chat_with(model.base_url, Timeouts(first_token_s=0.5, between_chunks_s=0.5)) as chat:
        _, completion = await ask(chat)
    assert completion.text == "a b c d e f"


async def test_comments_that_keep_a_connection_alive_are_no_chunks() -> None:
    comments = (b": working\n\n",) * 20
    async with (
        serving(*comments, hangs=True, pause_s=0.02) as raw,
        chat_with(raw.base_url, Timeouts(first_token_s=0.2)) as chat,
    ):
        with pytest.raises(ModelUnavailableError, match="FIRST_TOKEN"):
            await ask(chat)


async def test_a_connection_that_is_not_made_names_its_setting() -> None:
    """A full backlog leaves connections hanging as a firewall does."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        async with chat_with(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", Timeouts(connect_s=0.2)) as chat:
            for call in (ask(chat), chat.probe()):
                with pytest.raises(ModelUnavailableError, match="EVERTHREAD_MODEL_CONNECT_TIMEOUT_S"):
                    await call


async def test_a_server_that_is_not_there_is_named(unused_url: str) -> None:
    async with chat_with(unused_url) as chat:
        for call in (ask(chat), chat.probe()):
            with pytest.raises(ModelUnavailableError, match=unused_url):
                await call


async def test_closing_the_stream_closes_the_connection_at_once(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(text="one two three", hang_after_chunks=1))
    pieces = chat.stream(asking())
    await anext(pieces)
    await pieces.aclose()
    assert (await model.until(lambda request: request.client_left, timeout_s=2)).chunks_sent == 1


@pytest.mark.parametrize("chunks", [0, 1])
async def test_cancelling_the_call_closes_the_connection_at_once(
    model: ScriptedModel, chat: OpenAIChat, chunks: int
) -> None:
    model.script(Reply(text="one two three", hang_after_chunks=chunks))
    call = asyncio.ensure_future(ask(chat))
    await model.until(lambda request: request.chunks_sent == chunks)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await model.until(lambda request: request.client_left, timeout_s=2)


async def test_a_finished_call_leaves_its_connection_for_the_next() -> None:
    """So that a step does not pay for another handshake."""
    connections: list[asyncio.StreamWriter] = []
    body = event(delta("stop", content="hi")) + event("[DONE]")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while not reader.at_eof():
            with suppress(asyncio.IncompleteReadError):
                await read_request(reader)
                writer.write(head(connection="keep-alive", content_length=str(len(body))) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with chat_with(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1") as chat:
        for _ in range(3):
            await ask(chat)
    server.close()
    assert len(connections) == 1


@pytest.fixture
def unused_url() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
