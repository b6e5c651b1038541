"""Every error of the SDK in our words, and what becomes of the waiting times and sentences of providers."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest

from adapters.openai_errors import LONGEST_WAIT_S, ErrorWords, retry_after_s
from domain.errors import (
    FormatRefusedError,
    ImagesRefusedError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    QuotaSpentError,
    ThoughtsRefusedError,
)

KEY = "sk-test-0123456789abcdef"
NOW = 1_700_000_000.0
REQUEST = httpx2.Request("POST", "http://model/v1/chat/completions")

Make = Callable[[type[Any]], Exception]


def words() -> ErrorWords:
    return ErrorWords("http://user:hunter2-secret@model:1/v1/?key=x", KEY, 5.0)


def response(status: int, body: Any = "", **headers: str) -> httpx2.Response:
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, text=text, headers=named, request=REQUEST)


def refusal(status: int, body: Any = "", **headers: str) -> ModelError:
    """As the SDK makes an error of a response."""
    client = openai.OpenAI(base_url="http://model/v1", api_key=KEY)
    return words().translate(client._make_status_error_from_response(response(status, body, **headers)))


def status(code: int) -> Make:
    return lambda kind: kind("provider's words", response=response(code), body=None)


UNAVAILABLE, REFUSED = ModelUnavailableError, ModelRefusedError
SDK_ERRORS: dict[str, tuple[type[ModelError], Make]] = {
    "APIError": (UNAVAILABLE, lambda kind: kind("some words", REQUEST, body=None)),
    "APIConnectionError": (UNAVAILABLE, lambda kind: kind(request=REQUEST)),
    "APITimeoutError": (UNAVAILABLE, lambda kind: kind(REQUEST)),
    "APIResponseValidationError": (UNAVAILABLE, lambda kind: kind(response(200), None)),
    "APIStatusError": (REFUSED, status(418)),
    "BadRequestError": (REFUSED, status(400)),
    "AuthenticationError": (REFUSED, status(401)),
    "OAuthError": (REFUSED, lambda kind: kind(response=response(401), body=None)),
    "PermissionDeniedError": (REFUSED, status(403)),
    "NotFoundError": (REFUSED, status(404)),
    "ConflictError": (UNAVAILABLE, status(409)),
    "UnprocessableEntityError": (REFUSED, status(422)),
    "RateLimitError": (UNAVAILABLE, status(429)),
    "InternalServerError": (UNAVAILABLE, status(500)),
}
# Raised by parts of the SDK that the adapter does not use: structured parsing, realtime, other kinds of credentials, slips.
OF_OTHER_PARTS = {
    "APIRemovedInV1",
    "ContentFilterFinishReasonError",
    "LengthFinishReasonError",
    "MutuallyExclusiveAuthError",
    "StreamAlreadyConsumed",
    "SubjectTokenProviderError",
    "WebSocketConnectionClosedError",
    "WebSocketQueueFullError",
    "_AmbiguousModuleClientUsageError",
}


def kinds_of(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        if child.__module__.partition(".")[0] == "openai":
            yield child
            yield from kinds_of(child)


def test_every_error_of_the_sdk_is_translated() -> None:
    """A class that comes with another release of the SDK fails here until somebody has looked at it."""
    found = {kind.__name__: kind for kind in kinds_of(openai.OpenAIError)}
    assert found.keys() - OF_OTHER_PARTS == SDK_ERRORS.keys()
    for name, (expected, make) in SDK_ERRORS.items():
        translated = words().translate(make(found[name]))
        assert type(translated) is expected, name
        assert len(str(translated)) > 3, name


def test_an_error_of_another_part_of_the_sdk_is_for_good() -> None:
    translated = words().translate(openai.OpenAIError("Missing credentials."))
    assert isinstance(translated, ModelRefusedError)
    assert str(translated) == "The call cannot be sent: Missing credentials."


@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_status_that_passes_is_for_now(code: int) -> None:
    assert isinstance(refusal(code), ModelUnavailableError)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 405, 413, 415, 422, 451])
def test_any_other_status_is_for_good(code: int) -> None:
    assert isinstance(refusal(code), ModelRefusedError)


def test_what_the_provider_says_of_retrying_wins() -> None:
    assert isinstance(refusal(400, x_should_retry="true"), ModelUnavailableError)
    assert isinstance(refusal(500, x_should_retry="false"), ModelRefusedError)
    assert isinstance(refusal(500, x_should_retry="perhaps"), ModelUnavailableError)


@pytest.mark.parametrize("field", ["code", "type"])
def test_an_empty_account_is_for_good(field: str) -> None:
    error = {"message": "You exceeded your current quota.", field: "insufficient_quota"}
    refused = refusal(429, {"error": error})
    assert isinstance(refused, ModelRefusedError)
    assert str(refused) == "You exceeded your current quota. (HTTP 429)"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"error": {"message": "Too long.", "type": "x"}}, "Too long."),
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"detail": "Nope."}, "Nope."),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, "Field required"),
        ({"object": "error", "message": "Too long."}, "Too long."),
        ([{"error": {"message": "API key not valid."}}], "API key not valid."),
        ({"error": {"message": {"detail": "deep"}}}, "deep"),
        ("upstream  connect\nerror", "upstream connect error"),
        ("<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head></html>", "502 Bad Gateway"),
        ("<html><body><b>x</b></body></html>", "Bad Request"),
        ({"error": {"message": None}}, '{"error": {"message": null}}'),
        ({"error": {"message": "half \ud83d"}}, "half \ufffd"),
        ("", "Bad Request"),
        ({}, "Bad Request"),
        ("null", "Bad Request"),
    ],
)
def test_the_sentence_is_the_providers_own(body: Any, sentence: str) -> None:
    assert str(refusal(400, body)) == f"{sentence} (HTTP 400)"


def test_a_long_sentence_is_shortened() -> None:
    assert len(str(refusal(400, "word " * 10_000))) < 350


@pytest.mark.parametrize(
    ("code", "remedy"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "EVERTHREAD_MODEL")]
)
def test_a_refusal_that_a_setting_heals_names_it(code: int, remedy: str) -> None:
    assert remedy in str(refusal(code, {"error": {"message": "No."}}))


def test_no_secret_is_in_any_text() -> None:
    for body in (f"bad key {KEY}!", {"error": {"message": f"bad key {KEY} of user:hunter2-secret"}}):
        text = str(refusal(401, body))
        assert KEY not in text
        assert "hunter2" not in text
    assert words().url == "http://model:1/v1"


def test_an_event_with_a_status_of_its_own_is_taken_at_its_word() -> None:
    assert isinstance(words().of_event({"message": "x", "code": 502}), ModelUnavailableError)
    assert isinstance(words().of_event({"message": "x", "code": 429}), ModelUnavailableError)
    assert isinstance(words().of_event({"message": "x", "code": "400"}), ModelRefusedError)
    assert isinstance(words().of_event({"message": "x", "type": "invalid_request_error"}), ModelRefusedError)
    assert str(words().of_event("plain words")) == "plain words"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": email.utils.formatdate(NOW + 20, usegmt=True)}, 20.0),
        ({"retry-after": "100000"}, LONGEST_WAIT_S),
        ({"retry-after": email.utils.formatdate(NOW - 20, usegmt=True)}, None),
        ({"retry-after-ms": "garbage", "retry-after": "3"}, 3.0),
        ({"retry-after-ms": "-1", "retry-after": "3"}, 3.0),
        *(({"retry-after": value}, None) for value in ("", "-1", "soon", "nan", "inf", "1e999", "Mon, 99 Foo 2020")),
        ({}, None),
    ],
)
def test_the_wait_a_provider_asks_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, NOW) == wait_s


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, "smollm2 is not a multimodal model"),
        (404, "No endpoints found that support image input"),
        (400, "messages[1].content must be a string"),
    ],
)
def test_a_model_that_cannot_see_is_told_from_one_that_is_not_well(code: int, sentence: str) -> None:
    error = refusal(code, {"error": {"message": sentence}})
    assert isinstance(error, ImagesRefusedError)
    assert str(error) == f"{sentence} (HTTP {code})"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (400, {"error": {"message": "Nope.", "param": "response_format"}}),  # OpenAI
        (400, {"error": {"message": "This model does not support response format `json_schema`."}}),  # Groq
        (400, {"error": {"message": "json mode cannot be combined with tool/function calling"}}),  # Groq
        (400, {"error": {"message": "This response_format type is unavailable now"}}),  # DeepSeek
        (422, {"detail": "structured outputs are not supported by this model"}),  # vLLM
        (404, {"error": {"message": "No endpoints found that support structured outputs"}}),  # OpenRouter
        (400, {"error": {"message": "Failed to parse grammar", "code": 400}}),  # llama.cpp
    ],
    ids=["openai", "groq", "groq with tools", "deepseek", "vllm", "openrouter", "llama.cpp"],
)
def test_a_form_of_the_answer_that_is_not_taken_is_told_apart(code: int, body: Any) -> None:
    assert type(refusal(code, body)) is FormatRefusedError
    assert type(refusal(500, body)) is ModelUnavailableError


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (400, {"error": {"message": "Unknown parameter: 'messages[2].reasoning_content'."}}),  # OpenAI
        (400, {"error": {"message": "property 'reasoning' is unsupported"}}),  # Groq
        (422, {"detail": [{"loc": ["body", "messages", 1, "reasoning_content"], "msg": "Extra inputs"}]}),  # Mistral
        (400, {"error": {"message": "The reasoning_content is an intermediate result for display only"}}),  # DeepSeek
        (400, {"error": {"message": 'Unknown name "extra_content" at messages[1]'}}),  # of Gemini, sent to others
    ],
    ids=["openai", "groq", "mistral", "deepseek", "gemini"],
)
def test_thoughts_that_are_not_taken_back_are_told_apart(code: int, body: Any) -> None:
    assert type(refusal(code, body)) is ThoughtsRefusedError


def test_an_empty_account_is_told_apart() -> None:
    error = {"message": "You exceeded your current quota.", "code": "insufficient_quota"}
    assert type(refusal(429, {"error": error})) is QuotaSpentError
    assert type(words().of_event(error)) is QuotaSpentError
    assert type(refusal(429, {"error": {"message": "Slow down."}})) is ModelUnavailableError
