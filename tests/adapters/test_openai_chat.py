"""The model adapter against the scripted model, over real HTTP; and against servers that the scripted model is too good for."""

from __future__ import annotations

import json

import pytest

from adapters.openai_chat import OpenAIChat
from domain.chat import ChatMessage
from domain.content import Part
from domain.errors import FormatRefusedError, ModelRefusedError, ModelUnavailableError, SetupError
from domain.messages import ToolCall as Call
from domain.messages import Usage
from domain.model import AnswerFormat, ModelRequest
from doubles.scripted_model import Reply, ReplyError, ScriptedModel, ToolCall
from doubles.scripted_model import Usage as Tokens
from tests.adapters.chatting import HELLO, KEY, ask, asking, chat_with
from tests.adapters.raw_server import delta, event, head, serving

CLOCK = {"type": "function", "function": {"name": "current_time", "parameters": {"type": "object"}}}


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


async def test_images_are_sent_as_parts_and_plain_text_as_it_is(model: ScriptedModel, chat: OpenAIChat) -> None:
    url = "https://example.com/a.png"
    parts = [Part(type="text", text="What is this?\ud83d"), Part(type="image", url=url)]
    await ask(chat, asking(ChatMessage("user", "Hello"), ChatMessage("user", "What is this?", parts=parts)))
    assert [message["content"] for message in model.requests[0].body["messages"]] == [
        "Hello",
        [{"type": "text", "text": "What is this?\ufffd"}, {"type": "image_url", "image_url": {"url": url}}],
    ]


@pytest.mark.parametrize("choice", ["auto", "required", "none"])
async def test_a_choice_of_tools_is_sent_as_it_is(model: ScriptedModel, chat: OpenAIChat, choice: str) -> None:
    model.script("ok")
    await ask(chat, asking(tools=[CLOCK], tool_choice=choice))
    assert model.requests[0].body["tool_choice"] == choice


async def test_the_choice_of_one_tool_names_it(model: ScriptedModel, chat: OpenAIChat) -> None:
    model.script("ok")
    await ask(chat, asking(tools=[CLOCK], tool_choice="current_time"))
    chosen = {"type": "function", "function": {"name": "current_time"}}
    assert model.requests[0].body["tool_choice"] == chosen


async def test_the_form_of_an_answer_is_sent_as_the_provider_wants_it(model: ScriptedModel, chat: OpenAIChat) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}
    model.script("{}")
    for form in (AnswerFormat("x", schema, strict=True), AnswerFormat("x", schema), AnswerFormat("x"), None):
        await ask(chat, asking(ChatMessage("user", "As JSON!"), answer_format=form))
    assert [request.body.get("response_format") for request in model.requests] == [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        {"type": "json_object"},
        None,
    ]


async def test_a_form_that_is_not_taken_is_an_error_of_its_own(model: ScriptedModel, chat: OpenAIChat) -> None:
    with pytest.raises(FormatRefusedError, match="schema must be a JSON Schema of 'type"):
        await ask(chat, asking(answer_format=AnswerFormat("x", {"type": "array"})))


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
