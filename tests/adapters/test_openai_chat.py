"""The model adapter against the scripted model, over real HTTP; and against servers that the scripted model is too good for."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from adapters.openai_chat import OpenAIChat, Timeouts
from domain.context import ChatMessage
from domain.errors import ModelRefusedError, ModelUnavailableError, SetupError
from domain.messages import ToolCall as Call
from domain.messages import Usage
from domain.model import Completion, ModelRequest
from doubles.scripted_model import Reply, ReplyError, ScriptedModel, ToolCall
from doubles.scripted_model import Usage as Tokens
from tests.adapters.raw_server import delta, event, head, read_request, serving

KEY = "sk-test-0123456789abcdef"
HELLO = (ChatMessage("system", "Be kind."), ChatMessage("user", "Hello"))
CLOCK = {"type": "function", "function": {"name": "current_time", "parameters": {"type": "object"}}}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(api_key=KEY).serve() as model:
        yield model


@asynccontextmanager
async def chat_with(
    base_url: str, timeouts: Timeouts | None = None, *, api_key: str = KEY
) -> AsyncIterator[OpenAIChat]:
    chat = OpenAIChat(base_url=base_url, api_key=api_key, default_model="gpt-x", timeouts=timeouts)
    try:
        yield chat
    finally:
        await chat.close()


@pytest.fixture
async def chat(model: ScriptedModel) -> AsyncIterator[OpenAIChat]:
    async with chat_with(model.base_url) as chat:
        yield chat


def asking(*messages: ChatMessage, **fields: Any) -> ModelRequest:
    return ModelRequest(None, messages or HELLO, **fields)


async def ask(chat: OpenAIChat, request: ModelRequest | None = None) -> tuple[list[str], Completion]:
    """The deltas and the completion, which must come last and once."""
    deltas: list[str] = []
    completions: list[Completion] = []
    async with aclosing(chat.stream(request or asking())) as pieces:
        async for piece in pieces:
            assert not completions
            if isinstance(piece, Completion):
                completions.append(piece)
            else:
                deltas.append(piece.text)
    assert "".join(deltas) == completions[0].text
    return deltas, completions[0]


async def test_deltas_make_up_the_text_and_one_completion_ends_them(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(text="Bern is nice.", usage=Tokens(prompt_tokens=7, completion_tokens=3)))
    deltas, completion = await ask(chat)
    assert deltas == ["Bern", " is", " nice."]
    assert (completion.text, completion.finish, completion.model) == ("Bern is nice.", "stop", "gpt-x")
    assert completion.usage == Usage(prompt_tokens=7, completion_tokens=3)
    assert completion.tool_calls == []


async def test_the_providers_object_is_kept_whole(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(text="Yes.", reasoning_content="let me think", extra={"annotations": [{"type": "x"}]}))
    _, completion = await ask(chat)
    raw = completion.raw
    assert {"id", "created", "model", "system_fingerprint", "service_tier", "usage", "finish_reason"} <= raw.keys()
    assert raw["finish_reason"] == "stop"
    assert raw["message"]["role"] == "assistant"
    assert raw["message"]["content"] == "Yes."
    assert raw["message"]["reasoning_content"] == "let me think"
    assert raw["message"]["annotations"] == [{"type": "x"}]
    json.dumps(raw)


async def test_tool_calls_come_whole(model: ScriptedModel, chat: OpenAIChat) -> None:
    calls = [
        ToolCall(
            name="current_time", arguments={"zone": "Europe/Zürich"}, id="a", extra={"extra_content": {"sig": "x"}}
        ),
        ToolCall(name="current_time", arguments="{broken", id="b"),
    ]
    model.script(Reply(tool_calls=calls))
    deltas, completion = await ask(chat, asking(tools=[CLOCK]))
    assert deltas == []
    assert completion.finish == "tool_calls"
    assert [(c.call_id, c.name, c.arguments) for c in completion.tool_calls] == [
        ("a", "current_time", '{"zone":"Europe/Zürich"}'),
        ("b", "current_time", "{broken"),
    ]
    assert completion.raw["message"]["tool_calls"][0]["extra_content"] == {"sig": "x"}


async def test_a_request_says_what_openai_expects(model: ScriptedModel, chat: OpenAIChat) -> None:
    history = (
        *HELLO,
        ChatMessage("assistant", "", [Call(call_id="a", name="current_time", arguments="")]),
        ChatMessage("tool", "noon", call_id="a", name="current_time"),
    )
    options = {"temperature": 0.5, "top_k": 3}
    await ask(chat, ModelRequest("other", history, tools=[CLOCK], tool_choice="none", options=options))
    body = model.requests[0].body
    assert body["model"] == "other"
    assert body["stream_options"] == {"include_usage": True}
    assert (body["tools"], body["tool_choice"]) == ([CLOCK], "none")
    assert (body["temperature"], body["top_k"]) == (0.5, 3)
    call = {"id": "a", "type": "function", "function": {"name": "current_time", "arguments": "{}"}}
    assert body["messages"][2:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "noon"},
    ]


async def test_without_tools_neither_tools_nor_a_choice_is_sent(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script("ok")
    await ask(chat)
    assert not {"tools", "tool_choice"} & model.requests[0].body.keys()


async def test_broken_calls_and_half_characters_of_the_past_are_sent_in_a_form_that_is_taken(
    model: ScriptedModel, chat: OpenAIChat
) -> None:
    call = Call(call_id="a", name="no such/tool", arguments="{broken")
    history = (*HELLO, ChatMessage("assistant", "\ud83d", [call]), ChatMessage("tool", "\ud83d\ude00", call_id="a"))
    await ask(chat, asking(*history))
    sent = model.requests[0].body["messages"]
    assert [message["content"] for message in sent[2:]] == ["\ufffd", "😀"]
    assert sent[2]["tool_calls"][0]["function"] == {
        "name": "no_such_tool",
        "arguments": '{"invalid_arguments": "{broken"}',
    }


async def test_an_option_that_is_ours_is_refused(chat: OpenAIChat) -> None:
    with pytest.raises(ModelRefusedError, match="option stream"):
        await ask(chat, asking(options={"stream": False}))


async def test_no_delta_splits_a_character(chat: OpenAIChat) -> None:
    """A provider that cuts 😀 between its two UTF-16 halves sends each as a text of its own."""
    halves = (event(delta(content="a\ud83d")), event(delta(content="\ude00b")), event(delta(content="\ud83d")))
    async with serving(*halves, event(delta("stop"))) as raw, chat_with(raw.base_url) as raw_chat:
        deltas, completion = await ask(raw_chat)
    assert deltas == ["a", "😀b", "\ufffd"]
    assert completion.raw["message"]["content"] == "a😀b\ufffd"


async def test_the_client_retries_nothing(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(status=500))
    with pytest.raises(ModelUnavailableError, match=r"The server had an error .* \(HTTP 500\)"):
        await ask(chat)
    assert len(model.requests) == 1


async def test_a_rate_limit_is_for_now_and_says_how_long(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(ModelUnavailableError, match="Rate limit reached") as caught:
        await ask(chat)
    assert caught.value.retry_after_s == 7


async def test_a_refusal_is_for_good_in_the_providers_words(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(status=400, error=ReplyError(message="max_tokens is too large: 9999.")))
    with pytest.raises(ModelRefusedError, match="max_tokens is too large"):
        await ask(chat)


async def test_a_wrong_key_names_its_variable_and_not_itself(model: ScriptedModel) -> None:
    wrong = "sk-wrong-0123456789"
    async with chat_with(model.base_url, api_key=wrong) as chat:
        for call in (ask(chat), chat.probe()):
            with pytest.raises(ModelRefusedError, match="OPENAI_API_KEY") as caught:
                await call
            assert wrong not in str(caught.value)


async def test_a_key_that_the_provider_repeats_is_not_passed_on() -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode()
    refusal = head("401 Unauthorized", "application/json")
    async with serving(body, head=refusal) as raw, chat_with(raw.base_url) as chat:
        with pytest.raises(ModelRefusedError) as caught:
            await ask(chat)
    assert "provided: [key]." in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="one two three", cut_after_chunks=2),
        Reply(text="one two three", cut_after_chunks=0),
        Reply(text="one two three", end_without_finish=True),
        Reply(text="one two three", error_after_chunks=2),
    ],
    ids=["cut in the middle", "cut before the first chunk", "ended without finish", "error event"],
)
async def test_an_answer_that_is_not_whole_is_for_now(model: ScriptedModel, chat: OpenAIChat, reply: Reply) -> None:
    model.script(reply)
    with pytest.raises(ModelUnavailableError):
        await ask(chat)


async def test_an_error_event_speaks_in_the_providers_words(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script(Reply(text="one", error=ReplyError(message="The engine is overloaded."), error_after_chunks=1))
    with pytest.raises(ModelUnavailableError, match="The engine is overloaded"):
        await ask(chat)


@pytest.mark.parametrize("garbage", [b"data: {not json}\n\n", b"data: \xff\xfe\n\n", b'data: {"object":"error"}\n\n'])
async def test_garbage_in_a_stream_is_for_now(garbage: bytes) -> None:
    async with serving(event(delta(content="one")), garbage) as raw, chat_with(raw.base_url) as chat:
        with pytest.raises(ModelUnavailableError):
            await ask(chat)


async def test_what_breaks_after_the_finish_reason_takes_nothing_from_the_answer() -> None:
    pieces = (event(delta(content="whole")), event(delta("stop")), b"data: {not json}\n\n")
    async with serving(*pieces) as raw, chat_with(raw.base_url) as chat:
        _, completion = await ask(chat)
    assert (completion.text, completion.usage) == ("whole", None)


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
async def test_a_wrong_address_that_answers_is_refused(kind: str) -> None:
    async with serving(b"<html>Welcome</html>", head=head(kind=kind)) as raw, chat_with(raw.base_url) as chat:
        with pytest.raises(ModelRefusedError, match="OPENAI_BASE_URL"):
            await ask(chat)


@pytest.mark.parametrize(
    ("reply", "timeouts", "setting"),
    [
        (Reply(hang_after_chunks=0), Timeouts(first_token_s=0.15), "FIRST_TOKEN"),
        (Reply(text="a b c", hang_after_chunks=1), Timeouts(between_chunks_s=0.15), "CHUNK"),
        (Reply(text="word " * 100, delay_s=0.02), Timeouts(whole_call_s=0.15), "CALL"),
        (Reply(text="a b c", hang_after_chunks=1), Timeouts(whole_call_s=0.15), "CALL"),
        (Reply(hang_after_chunks=0), Timeouts(whole_call_s=0.15), "CALL"),
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
        assert 0.14 < time.monotonic() - started < 1
    await model.until(lambda request: request.client_left)


async def test_chunks_that_keep_coming_are_waited_for_beyond_the_first_two_timeouts(model: ScriptedModel) -> None:
    model.script(Reply(text="a b c d e f", delay_s=0.1))
    async with chat_with(model.base_url, Timeouts(first_token_s=0.25, between_chunks_s=0.25)) as chat:
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
    assert (await model.until(lambda request: request.client_left, timeout_s=1)).chunks_sent == 1


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
    await model.until(lambda request: request.client_left, timeout_s=1)


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


async def test_the_probe_lists_the_models(chat: OpenAIChat) -> None:
    assert await chat.probe() == ["scripted"]


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented"])
async def test_a_server_that_lists_no_models_passes_the_probe(status: str) -> None:
    async with serving(b"nope", head=head(status, "text/plain")) as raw, chat_with(raw.base_url) as chat:
        assert await chat.probe() == []


@pytest.mark.parametrize(
    "body", [b'{"data": null}', b'{"models": []}', b"[]", b'{"data": [{"id": 1}, {"id": "x"}, 2]}']
)
async def test_the_probe_takes_any_list(body: bytes) -> None:
    async with serving(body, head=head(kind="application/json")) as raw, chat_with(raw.base_url) as chat:
        assert await chat.probe() in ([], ["x"])


@pytest.mark.parametrize("base_url", ["", "localhost:11434", "ftp://host/v1", "http://"])
def test_an_address_that_is_none_is_refused_at_the_start(base_url: str) -> None:
    with pytest.raises(SetupError, match="OPENAI_BASE_URL"):
        OpenAIChat(base_url=base_url, api_key="", default_model="m")


@pytest.mark.parametrize("api_key", ["sk-“quoted”", "two words", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused_at_the_start(api_key: str) -> None:
    with pytest.raises(SetupError, match="OPENAI_API_KEY") as caught:
        OpenAIChat(base_url="http://127.0.0.1/v1", api_key=api_key, default_model="m")
    assert api_key not in str(caught.value)


@pytest.fixture
def unused_url() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
