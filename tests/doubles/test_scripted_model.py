"""The scripted model as its users see it: the real `openai` client over real HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall
from pydantic import ValidationError

from doubles import demo
from doubles.scripted_model import Reply, ReplyError, ScriptedModel, ToolCall, Usage
from tests.programs import ROOT, environment

INCLUDE_USAGE = {"include_usage": True}
TOOLS = [{"type": "function", "function": {"name": "current_time", "parameters": {"type": "object"}}}]

Messages = list[dict[str, Any]]


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel().serve() as model:
        yield model


@pytest.fixture
async def client(model: ScriptedModel) -> AsyncIterator[AsyncOpenAI]:
    async with connect(model) as client:
        yield client


def connect(model: ScriptedModel, *, api_key: str = "any", timeout: float = 30) -> AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(verify=False)  # HTTP only: reading the certificates takes 20 ms
    return AsyncOpenAI(base_url=model.base_url, api_key=api_key, timeout=timeout, max_retries=0, http_client=http)


def user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def after_tool(text: str, *results: str) -> Messages:
    """A history that ends in one step of tool calls for every result."""
    messages = user(text)
    for i, result in enumerate(results):
        call = {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{i}", "content": result})
    return messages


async def ask(client: AsyncOpenAI, messages: Messages | str = "Hi", **options: Any) -> ChatCompletion:
    given = user(messages) if isinstance(messages, str) else messages
    typed = cast("list[ChatCompletionMessageParam]", given)
    return cast("ChatCompletion", await client.chat.completions.create(model="m", messages=typed, **options))


async def say(client: AsyncOpenAI, messages: Messages | str = "Hi", **options: Any) -> str | None:
    return (await ask(client, messages, **options)).choices[0].message.content


async def stream(
    client: AsyncOpenAI, messages: Messages | str = "Hi", **options: Any
) -> AsyncIterator[ChatCompletionChunk]:
    events = cast("Any", await ask(client, messages, stream=True, **options))
    async with events:
        async for event in events:
            yield event


async def contents(client: AsyncOpenAI, messages: Messages | str = "Hi", **options: Any) -> list[str]:
    events = [event async for event in stream(client, messages, **options)]
    return [choice.delta.content for event in events for choice in event.choices if choice.delta.content]


def control(model: ScriptedModel) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=model.url, verify=False)


async def note(client: AsyncOpenAI, seen: list[str]) -> None:
    """Streams into a list that outlives the error."""
    async for event in stream(client):
        seen.append(event.choices[0].delta.content or "")  # noqa: PERF401 (a comprehension would be lost)


async def test_without_a_script_it_echoes(client: AsyncOpenAI) -> None:
    assert await say(client, "Hello there") == "You said: Hello there"
    assert "".join(await contents(client, "Hello there")) == "You said: Hello there"


async def test_text_parts_are_read_as_text(client: AsyncOpenAI) -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]
    assert await say(client, [{"role": "user", "content": parts}]) == "You said: Hello there"


async def test_it_lists_one_model(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["scripted"]


async def test_it_is_healthy_and_says_so(model: ScriptedModel) -> None:
    async with control(model) as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.get("/v1/nothing")).json()["error"]["code"] == "unknown_url"


# Streams


async def test_a_stream_opens_with_the_role_and_closes_with_the_reason(
    model: ScriptedModel, client: AsyncOpenAI
) -> None:
    model.script("One two")
    events = [event async for event in stream(client)]
    deltas = [event.choices[0].delta.model_dump(exclude_unset=True) for event in events]
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "One"},
        {"content": " two"},
        {},
    ]
    assert [event.choices[0].finish_reason for event in events] == [None, None, None, "stop"]
    assert len({(event.id, event.created, event.model) for event in events}) == 1


async def test_the_stream_has_the_shape_of_openais(model: ScriptedModel) -> None:
    model.script("Ünï")
    body = {"model": "m", "messages": user("x"), "stream": True}
    async with control(model) as http:
        response = await http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = response.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    first = json.loads(events[1].removeprefix("data: "))
    assert first.pop("id").startswith("chatcmpl-")
    assert isinstance(first.pop("created"), int)
    assert first == {
        "object": "chat.completion.chunk",
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
        "choices": [{"index": 0, "delta": {"content": "Ünï"}, "logprobs": None, "finish_reason": None}],
    }


@pytest.mark.parametrize("text", ["", "a", " two  spaces ", "line\n\nbreak\n", "naïve 日本語 🎉", "\n"])
async def test_chunks_join_to_the_text(model: ScriptedModel, client: AsyncOpenAI, text: str) -> None:
    model.script(Reply(text=text, when="words"), Reply(text=text, chunk_size=2))
    assert "".join(await contents(client, "words")) == text
    assert "".join(await contents(client)) == text


async def test_exact_chunks_are_sent_as_they_are(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(chunks=["ab", "c", " {user}"]))
    assert await contents(client) == ["ab", "c", " Hi"]
    assert await say(client) == "abc Hi"


async def test_usage_comes_last_when_asked_for(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="a b c"))
    *events, last = [event async for event in stream(client, "two words", stream_options=INCLUDE_USAGE)]
    assert all(event.usage is None for event in events)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}) == {
        "prompt_tokens": 2,
        "completion_tokens": 3,
        "total_tokens": 5,
    }
    assert (await ask(client, "two words")).usage == last.usage
    assert all(event.choices for event in [event async for event in stream(client)])


async def test_usage_can_be_set(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="a", usage=Usage(prompt_tokens=1000, completion_tokens=7)))
    usage = (await ask(client)).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 7, 1007)


async def test_unknown_fields_reasoning_headers_and_reason_reach_the_client(
    model: ScriptedModel, client: AsyncOpenAI
) -> None:
    reply = Reply(
        text="Yes.",
        reasoning_content="Let me see",
        extra={"annotations": [1]},
        headers={"x-ratelimit-remaining-requests": "9"},
        finish_reason="length",
    )
    model.script(reply)
    events = [event async for event in stream(client)]
    assert cast("Any", events[0].choices[0].delta).annotations == [1]
    thoughts = [getattr(event.choices[0].delta, "reasoning_content", "") for event in events]
    assert "".join(thoughts) == "Let me see"
    assert events[-1].choices[0].finish_reason == "length"
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": ""}])
    assert raw.headers["x-ratelimit-remaining-requests"] == "9"
    message: Any = raw.parse().choices[0].message
    assert (message.annotations, message.reasoning_content) == ([1], "Let me see")


async def test_placeholders_are_filled_once(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="{n}: {user} {other}"), Reply(text="{tool}", after_tool=True))
    assert await say(client, "{n} {tool}") == "1: {n} {tool} {other}"
    messages = after_tool("Hi", "first step", "newest")
    assert await say(client, messages) == "newest"


# Tool calls


CALLS = Reply(
    tool_calls=[
        ToolCall(
            name="current_time", arguments={"timezone": "Europe/Zurich"}, extra={"extra_content": {"signature": "s"}}
        ),
        ToolCall(name="broken", arguments='{"half', id="call_mine"),
        ToolCall(name="bare", arguments=""),
    ]
)


async def test_tool_calls_stream_with_name_first_and_arguments_in_pieces(
    model: ScriptedModel, client: AsyncOpenAI
) -> None:
    model.script(CALLS)
    events = [event async for event in stream(client)]
    pieces: dict[int, list[ChoiceDeltaToolCall]] = {}
    for event in events:
        for piece in event.choices[0].delta.tool_calls or []:
            pieces.setdefault(piece.index, []).append(piece)
    functions = {index: [piece.function for piece in some if piece.function] for index, some in pieces.items()}
    assert [some[0].name for some in functions.values()] == ["current_time", "broken", "bare"]
    assert {some[0].arguments for some in functions.values()} == {""}
    joined = ["".join(function.arguments or "" for function in some) for some in functions.values()]
    assert joined == ['{"timezone":"Europe/Zurich"}', '{"half', ""]
    assert len(functions[0]) > 2
    assert pieces[1][0].id == "call_mine"
    assert all(piece.id is None for some in pieces.values() for piece in some[1:])
    assert cast("Any", pieces[0][0]).extra_content == {"signature": "s"}
    assert events[0].choices[0].delta.content is None
    assert events[-1].choices[0].finish_reason == "tool_calls"


async def test_tool_calls_come_whole_without_streaming(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(CALLS)
    choice = (await ask(client)).choices[0]
    assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"
    calls = [cast("Any", call) for call in choice.message.tool_calls or []]
    assert [call.function.arguments for call in calls] == ['{"timezone":"Europe/Zurich"}', '{"half', ""]
    assert calls[0].extra_content == {"signature": "s"}


async def test_call_ids_are_not_used_twice(model: ScriptedModel, client: AsyncOpenAI) -> None:
    """Not even by the next server, whose requests count from 1 again: both may serve one thread."""
    model.script(CALLS)
    ids = [call.id for _ in range(2) for call in (await ask(client)).choices[0].message.tool_calls or []]
    async with ScriptedModel().serve() as other, connect(other) as other_client:
        other.script(CALLS)
        ids += [call.id for call in (await ask(other_client)).choices[0].message.tool_calls or []]
    assert sorted(set(ids) - {"call_mine"}) == sorted(id_ for id_ in ids if id_ != "call_mine")


# Going wrong


async def test_429_shows_its_error_and_headers(model: ScriptedModel, client: AsyncOpenAI) -> None:
    headers = {"Retry-After": "7", "retry-after-ms": "6500", "x-should-retry": "true"}
    model.script(Reply(status=429, headers=headers, times=1), "Fine.")
    with pytest.raises(openai.RateLimitError, match="Rate limit reached") as caught:
        await contents(client)
    assert {name: caught.value.response.headers[name] for name in headers} == headers
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.request_id
    assert await contents(client) == ["Fine."]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_error_statuses_become_the_clients_errors(
    model: ScriptedModel, client: AsyncOpenAI, status: int, expected: type[openai.APIStatusError]
) -> None:
    error = ReplyError(message="Scripted sentence.", type="some_type", code="some_code")
    model.script(Reply(status=status, error=error, when="own"), Reply(status=status))
    with pytest.raises(expected, match="Scripted sentence") as caught:
        await ask(client, "own")
    assert (caught.value.type, caught.value.code) == ("some_type", "some_code")
    with pytest.raises(expected):
        await contents(client)


async def test_an_error_event_in_mid_stream_raises_after_the_text_before_it(
    model: ScriptedModel, client: AsyncOpenAI
) -> None:
    model.script(Reply(text="a b c", error_after_chunks=2, error=ReplyError(message="Overloaded.", code="overloaded")))
    seen: list[str] = []
    with pytest.raises(openai.APIError, match="Overloaded") as caught:
        await note(client, seen)
    assert "".join(seen) == "a b"
    assert caught.value.code == "overloaded"
    with pytest.raises(openai.InternalServerError, match="Overloaded"):
        await ask(client)


@pytest.mark.parametrize("delay_s", [0, 0.001])
async def test_a_cut_keeps_what_was_sent_and_breaks_the_connection(
    model: ScriptedModel, client: AsyncOpenAI, delay_s: float
) -> None:
    model.script(Reply(text="a b c", cut_after_chunks=2, delay_s=delay_s))
    seen: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        await note(client, seen)
    assert "".join(seen) == "a b"
    with pytest.raises(openai.APIConnectionError):
        await ask(client)
    streamed, whole = model.requests
    assert (streamed.chunks_sent, streamed.finished, streamed.client_left) == (2, False, False)
    assert (whole.chunks_sent, whole.finished, whole.client_left) == (1, False, False)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cut_after_nothing_is_no_response(model: ScriptedModel, client: AsyncOpenAI, *, streamed: bool) -> None:
    model.script(Reply(text="a", cut_after_chunks=0))
    with pytest.raises(openai.APIConnectionError):
        await ask(client, stream=streamed)
    assert model.requests[0].status is None


async def test_an_end_without_finish_is_a_clean_end(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="a b", end_without_finish=True))
    events = [event async for event in stream(client, stream_options=INCLUDE_USAGE)]
    assert [event.choices[0].finish_reason for event in events] == [None, None, None]
    assert (await ask(client)).choices[0].finish_reason is None


@pytest.mark.parametrize(("hang_after_chunks", "text"), [(0, ""), (2, "a b"), (9, "a b c")])
async def test_a_hang_lasts_until_the_client_gives_up(model: ScriptedModel, hang_after_chunks: int, text: str) -> None:
    model.script(Reply(text="a b c", hang_after_chunks=hang_after_chunks))
    seen: list[str] = []
    async with connect(model, timeout=0.4) as client:
        with pytest.raises(openai.APITimeoutError):
            await note(client, seen)
    assert "".join(seen) == text
    request = await model.until(lambda request: request.client_left)
    assert request.chunks_sent == len(text.split())
    assert not request.finished
    assert (request.status is None) == (hang_after_chunks == 0)


async def test_the_pace_is_kept(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="a b c d", first_delay_s=0.05, delay_s=0.02))
    await contents(client)
    await ask(client)
    for request in model.requests:
        assert request.ended_at is not None
        assert request.ended_at - request.arrived_at >= 0.1
    streamed = model.requests[0]
    assert streamed.first_chunk_at is not None
    assert streamed.first_chunk_at - streamed.arrived_at >= 0.04


# Refusals of a real provider


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "empty array"),
        (after_tool("Hi", "result")[:-1], "did not have response messages: c0"),
        ([*after_tool("Hi", "result")[:-1], *user("Hello?")], "did not have response messages: c0"),
        ([*user("Hi"), {"role": "tool", "tool_call_id": "c0", "content": "x"}], "must be a response"),
        ([*user("Hi"), {"role": "assistant", "content": None}], "expected a string, got null"),
        ([*user("Hi"), {"role": "assistant", "content": "", "tool_calls": []}], r"messages\[1\].tool_calls"),
        ([{"role": "robot", "content": "Hi"}], "Invalid value: 'robot'"),
    ],
)
async def test_a_history_that_does_not_hold_together_is_refused(
    model: ScriptedModel, client: AsyncOpenAI, messages: Messages, why: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=why) as caught:
        await ask(client, messages)
    assert caught.value.type == "invalid_request_error"
    assert (model.requests[0].status, model.requests[0].reply) == (400, None)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": []}', b'{"model": "m", "messages": "Hi"}'])
async def test_a_body_that_is_no_request_is_refused(model: ScriptedModel, body: bytes) -> None:
    async with control(model) as http:
        response = await http.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


async def test_another_key_is_refused() -> None:
    async with ScriptedModel(api_key="right").serve() as model:
        async with connect(model, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                await ask(client)
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with connect(model, api_key="right") as client:
            assert await say(client) == "You said: Hi"
        assert [request.status for request in model.requests] == [401, 200]


# Choosing


async def test_the_first_reply_that_fits_is_given(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="Sun.", when="(?i)weather"), Reply(text="Twice.", times=2), Reply(text="Always."))
    said = [await say(client, text) for text in ("Hi", "The Weather?", "Hi", "Hi", "Hi")]
    assert said == ["Twice.", "Sun.", "Twice.", "Always.", "Always."]
    assert [request.reply for request in model.requests] == [1, 0, 1, 2, 2]


async def test_a_used_up_script_is_an_error_that_is_not_retried(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="Once.", times=1))
    await ask(client)
    with pytest.raises(openai.BadRequestError, match="no reply") as caught:
        await ask(client)
    assert caught.value.code == "script_exhausted"


async def test_replies_without_when_take_turns(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script("One.", Reply(text="Sun.", when="weather"), Reply(text="Two.", times=1), "Three.", cycle=True)
    said = [await say(client, text) for text in ("Hi", "weather", "Hi", "Hi", "weather", "Hi", "Hi")]
    assert said == ["One.", "Sun.", "Two.", "Three.", "Sun.", "One.", "Three."]


async def test_tool_results_are_answered_by_their_own_replies(model: ScriptedModel, client: AsyncOpenAI) -> None:
    call = ToolCall(name="current_time")
    model.script(Reply(tool_calls=[call]), Reply(text="Late: {tool}", when="time", after_tool=True))
    first = await ask(client, "What time is it?")
    assert first.choices[0].finish_reason == "tool_calls"
    assert await say(client, after_tool("What time is it?", "22:10")) == "Late: 22:10"
    with pytest.raises(openai.BadRequestError, match="a tool result in step 2"):
        await ask(client, after_tool("Something else", "x"))


async def test_steps_of_a_turn_are_told_apart_by_the_history_alone(model: ScriptedModel, client: AsyncOpenAI) -> None:
    """So that a step that is retried, or asked by a restarted worker, gets the same answer."""
    model.script(*[Reply(text=f"Step {step}.", step=step) for step in (1, 2, 3)])
    histories = [user("Hi"), after_tool("Hi", "x"), after_tool("Hi", "x", "y")]
    for _ in range(2):
        assert [await say(client, history) for history in histories] == ["Step 1.", "Step 2.", "Step 3."]
    assert await say(client, [*histories[2], {"role": "assistant", "content": "x"}, *user("Hi")]) == "Step 1."


async def test_a_tool_is_called_only_when_offered(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="Offered.", when_offered="current_time"), Reply(text="Not offered."))
    assert await say(client, tools=TOOLS) == "Offered."
    assert await say(client) == "Not offered."


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ([Reply(text="a"), Reply(text="b")], "replies.1 is never reached"),
        ([{"txt": "a"}], "replies.0.txt: Extra inputs are not permitted"),
        ([{"when": "("}], "not a regular expression"),
        ([{"text": "a", "chunks": ["b"]}], "not both"),
        ([{"status": 302}], "status is 200"),
        ([{"error": {"message": "x"}}], "error needs a status"),
        ([{"cut_after_chunks": 0, "hang_after_chunks": 0}], "one way only"),
        ([{"status": 500, "end_without_finish": True}], "needs status 200"),
        ([{"headers": {"a b": "c"}}], "is not a header"),
        ([{"delay_s": -1}], "replies.0.delay_s"),
        ([{"times": 0}], "replies.0.times"),
    ],
)
async def test_a_wrong_script_is_refused_with_place_and_reason(
    model: ScriptedModel, replies: list[Any], why: str
) -> None:
    """The script before it stays."""
    model.script("Kept.")
    body = {"replies": [reply.model_dump() if isinstance(reply, Reply) else reply for reply in replies]}
    async with control(model) as http, connect(model) as client:
        response = await http.put("/_control/script", json=body)
        assert await say(client) == "Kept."
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert why in response.json()["detail"]


def test_a_wrong_script_is_refused_in_process_too() -> None:
    with pytest.raises(ValidationError, match="set times or when"):
        ScriptedModel().script("a", "b")


# Records and control


async def test_requests_are_recorded_in_order_without_the_key(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script("One two.")
    await contents(client, "a")
    await ask(client, "b", temperature=0.5)
    first, second = model.requests
    assert (first.number, second.number) == (1, 2)
    assert first.body["messages"] == user("a")
    assert second.body["temperature"] == 0.5
    assert first.headers["content-type"] == "application/json"
    assert "authorization" not in first.headers
    assert (first.reply, first.status, first.chunks_sent, first.finished, first.client_left) == (0, 200, 2, True, False)
    assert first.first_chunk_at is not None
    assert first.ended_at is not None
    assert first.arrived_at <= first.first_chunk_at <= first.ended_at <= second.arrived_at


async def test_a_client_that_leaves_is_noticed_at_once(model: ScriptedModel, client: AsyncOpenAI) -> None:
    model.script(Reply(text="a b c", delay_s=30))
    events = stream(client)
    async for event in events:
        if event.choices[0].delta.content == "a":
            break
    running = await model.until(lambda request: request.chunks_sent == 1)
    assert (running.ended_at, running.client_left) == (None, False)
    await cast("Any", events).aclose()
    assert await model.until(lambda request: request.client_left) is running
    assert (running.chunks_sent, running.finished) == (1, False)


async def test_a_client_that_leaves_before_the_first_chunk_is_noticed(model: ScriptedModel) -> None:
    model.script(Reply(text="a", first_delay_s=30))
    async with connect(model, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            await ask(client)
    assert (await model.until(lambda request: request.client_left)).status is None


async def test_waiting_for_what_does_not_come_times_out(model: ScriptedModel) -> None:
    with pytest.raises(TimeoutError):
        await model.until(lambda request: request.finished, timeout_s=0.01)


async def test_only_the_newest_requests_are_kept() -> None:
    async with ScriptedModel(keep_requests=2).serve() as model, connect(model) as client:
        for _ in range(3):
            await ask(client)
        assert [request.number for request in model.requests] == [2, 3]


async def test_another_process_scripts_and_reads_it(model: ScriptedModel, client: AsyncOpenAI) -> None:
    async with control(model) as http:
        script = {"replies": [{"text": "a"}, {"text": "b"}], "cycle": True}
        assert (await http.put("/_control/script", json=script)).json() == {"replies": 2, "cycle": True}
        assert [await say(client) for _ in range(3)] == ["a", "b", "a"]
        newest = (await http.get("/_control/requests", params={"since": 1})).json()["requests"]
        assert [(request["number"], request["reply"], request["finished"]) for request in newest] == [
            (2, 1, True),
            (3, 0, True),
        ]
        assert newest[0]["body"]["messages"] == user("Hi")
        assert (await http.get("/_control/requests?since=x")).status_code == 422
        assert (await http.delete("/_control/requests")).status_code == 204
        assert (await http.get("/_control/requests")).json() == {"requests": []}
        await ask(client)
        assert [request.number for request in model.requests] == [4]


# The server


async def test_it_ends_at_once_with_hanging_streams_and_can_be_served_again() -> None:
    model = ScriptedModel()
    model.script(Reply(text="a b", hang_after_chunks=1))
    async with model.serve():
        port = int(model.url.rsplit(":", 1)[1])
        client = connect(model)
        hanging = [asyncio.create_task(contents(client)) for _ in range(5)]
        await model.until(lambda request: request.number == 5)
        ending_at = time.monotonic()
    assert time.monotonic() - ending_at < 0.5
    ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert [type(end) for end in ends] == [openai.APIConnectionError] * 5
    with pytest.raises(openai.APIConnectionError):
        await ask(client)
    model.script("Back.")
    async with model.serve(port), client:
        assert await say(client) == "Back."


async def test_a_hundred_streams_run_side_by_side(model: ScriptedModel, client: AsyncOpenAI) -> None:
    """One after the other they would take 15 s."""
    model.script(Reply(text="a b c {user}", delay_s=0.05))
    async with asyncio.timeout(5):
        said = await asyncio.gather(*(contents(client, str(i)) for i in range(100)))
    assert ["".join(chunks) for chunks in said] == [f"a b c {i}" for i in range(100)]


# The program


@asynccontextmanager
async def program(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A running program and the address it printed; ended by a signal, as its parent would."""
    command = [sys.executable, "-W", "error", "-m", "doubles.scripted_model", "--port", "0", *options]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment(), stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    try:
        word, _, address = (await process.stdout.readline()).decode().strip().partition(" ")
        assert word == "READY"
        yield process, address
    finally:
        if process.returncode is None:
            process.terminate()
        rest = await process.communicate()
    assert (process.returncode, rest) == (0, (b"", b""))


async def test_the_program_serves_a_script_file(tmp_path: Path) -> None:
    """It ends cleanly on a signal, also while a stream hangs."""
    file = tmp_path / "script.json"
    file.write_text('{"replies": [{"text": "From a file.", "times": 1}, {"text": "a b", "hang_after_chunks": 1}]}')
    async with (
        program("--script", str(file), "--api-key", "right") as (process, address),
        AsyncOpenAI(base_url=address, api_key="right", max_retries=0) as client,
    ):
        assert await say(client) == "From a file."
        events = stream(client)
        await anext(events)
        process.terminate()
        with pytest.raises(openai.APIConnectionError):
            _ = [event async for event in events]
        await process.wait()


async def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path, model: ScriptedModel) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"replies": [{"txt": "a"}]}')
    cases = {
        ("--script", str(wrong)): "replies.0.txt: Extra inputs are not permitted",
        ("--script", str(tmp_path / "none.json")): "No such file",
        ("--port", model.url.rsplit(":", 1)[1]): "address already in use",
    }
    runs = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "doubles.scripted_model",
            *options,
            cwd=ROOT,
            env=environment(),
            stdout=PIPE,
            stderr=PIPE,
        )
        for options in cases
    ]
    for run, why in zip(runs, cases.values(), strict=True):
        out, err = await run.communicate()
        assert run.returncode
        assert out == b""
        assert why in err.decode().splitlines()[-1]


# The demo


@pytest.fixture
def hurried(model: ScriptedModel) -> None:
    """The demo without its pauses."""
    model.script(*[reply.model_copy(update={"first_delay_s": 0, "delay_s": 0}) for reply in demo.REPLIES])


async def test_the_program_plays_the_demo() -> None:
    async with program("--demo") as (_, address), AsyncOpenAI(base_url=address, api_key="x", max_retries=0) as client:
        assert (await ask(client, "The time, please.", tools=TOOLS)).choices[0].finish_reason == "tool_calls"


async def test_the_demo_calls_its_tool_and_quotes_the_result(hurried: None, client: AsyncOpenAI) -> None:
    first = (await ask(client, "What TIME is it?", tools=TOOLS)).choices[0]
    call = cast("Any", first.message.tool_calls or [])[0]
    assert (call.function.name, call.function.arguments) == ("current_time", '{"timezone":"UTC"}')
    results = [first.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "22:10"}]
    assert "22:10" in "".join(await contents(client, user("What TIME is it?") + results))


async def test_the_demo_answers_in_words_without_its_tool(hurried: None, client: AsyncOpenAI) -> None:
    assert "does not offer me the tool" in "".join(await contents(client, "Do you see a clock?"))


async def test_the_demo_answer_leaves_twenty_seconds_to_kill_it(hurried: None, client: AsyncOpenAI) -> None:
    """Its lines are counted, so that a person sees where it was cut."""
    answer = demo.REPLIES[-1]
    chunks = await contents(client, "Tell me something")
    lines = "".join(chunks).splitlines()
    assert [line.partition(". ")[0] for line in lines] == [str(number) for number in range(1, 21)]
    assert 90 <= len(chunks) <= 130
    assert 18 <= answer.first_delay_s + answer.delay_s * (len(chunks) - 1) <= 22
