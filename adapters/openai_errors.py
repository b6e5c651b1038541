"""What goes wrong with a provider, in our words: for now (ModelUnavailableError) or for good (ModelRefusedError)."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from domain.errors import (
    ContextTooLongError,
    FormatRefusedError,
    ImagesRefusedError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    QuotaSpentError,
    ThoughtsRefusedError,
)
from domain.messages import mend_text, preview

LONGEST_WAIT_S = 300.0
SHORTEST_SECRET = 8  # characters; a shorter key is a placeholder such as "none", which also occurs in plain words

# What the SDK raises, and what it lets through: reading an error's body may fail, a piece of a stream may be no JSON.
VENDOR_ERRORS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, ValueError)

_RETRIED = (408, 409, 429)
_BAD_REQUEST = (400, 404, 422)  # 404: OpenRouter, if none of a model's providers can do it
_HINTS = {
    401: "Check {key}.",
    403: "Check what the key in {key} is allowed to do.",
    404: "Check {model} and {url}.",
}


@dataclass(frozen=True)
class SettingNames:
    """What the settings of an endpoint are called, for the remedy in an error."""

    url: str = "OPENAI_BASE_URL"
    key: str = "OPENAI_API_KEY"
    model: str = "EVERTHREAD_MODEL (or the agent's model)"


class ErrorWords:
    """Translates the errors of one endpoint. No text it makes contains the key."""

    def __init__(self, base_url: str, api_key: str, connect_s: float, names: SettingNames | None = None) -> None:
        self.names = names or SettingNames()
        self._secrets = [api_key] if len(api_key) >= SHORTEST_SECRET else []
        self._connect_s = connect_s
        url = httpx2.URL(base_url)
        if url.password:
            self._secrets.append(url.password)
        self.url = str(url.copy_with(username=None, password=None, query=None)).rstrip("/")

    def translate(self, error: Exception, *, started: bool = False) -> ModelError:
        """`started` tells that the answer had begun, so that the error cut it."""
        if isinstance(error, ModelError):
            return error
        if isinstance(error, openai.APIStatusError):
            return self._of_status(error)
        if isinstance(error, (openai.APIConnectionError, httpx2.HTTPError, httpx2.StreamError)):
            return self._of_connection(error, started=started)
        if started or isinstance(error, openai.APIError):
            return self._of_piece(error)
        return ModelRefusedError(self._clean(f"The call cannot be sent: {error}"))

    def of_event(self, body: object, message: str = "") -> ModelError:
        """An error that the provider sent in place of the rest of its answer.

        It is for now, unless it carries a status (as vLLM's and OpenRouter's do) or a type that says for good.
        """
        sentence = self._clean(_own_words(body) or message or "The provider sent an error without words.")
        fields = body if isinstance(body, dict) else {}
        code = str(fields.get("code") or "")
        refused = code.isdecimal() and 400 <= int(code) < 500 and int(code) not in _RETRIED
        if _is_quota(fields):
            return QuotaSpentError(sentence)
        if refused and _is_formless(body, sentence):
            return FormatRefusedError(sentence)
        if refused or fields.get("type") == "invalid_request_error":
            return ModelRefusedError(sentence)
        return ModelUnavailableError(sentence)

    def not_a_stream(self, kind: str, text: str) -> ModelError:
        """A success that is not a stream: a web page under a wrong address, or JSON."""
        body = _json(text)
        if isinstance(body, dict) and body.get("error"):
            return self.of_event(body["error"])
        words = f"{self.url} answered with {kind} instead of a stream of chunks. Check {self.names.url}."
        return ModelRefusedError(words)

    def _of_status(self, error: openai.APIStatusError) -> ModelError:
        status = error.status_code
        sentence = self._clean(_sentence(error))
        if _is_blind(sentence):  # llama.cpp says so with the status 500
            return ImagesRefusedError(f"{sentence} (HTTP {status})")
        if _may_retry(error):
            return ModelUnavailableError(f"{sentence} (HTTP {status})", retry_after_s(error.response.headers))
        kind = _kind_of_refusal(status, error.body, sentence)
        if kind is not ModelRefusedError:
            return kind(f"{sentence} (HTTP {status})")
        hint = f" {_HINTS[status].format_map(vars(self.names))}" if status in _HINTS else ""
        return ModelRefusedError(f"{sentence} (HTTP {status}){hint}")

    def _of_connection(self, error: Exception, *, started: bool) -> ModelError:
        cause = error.__cause__ if isinstance(error, openai.OpenAIError) else error
        if isinstance(cause, httpx2.ConnectTimeout):
            setting = "EVERTHREAD_MODEL_CONNECT_TIMEOUT_S"
            return ModelUnavailableError(f"No connection to {self.url} within {self._connect_s:g} s ({setting})")
        why = str(cause or "") or type(cause or error).__name__
        if started:
            return ModelUnavailableError(self._clean(f"The connection broke in the middle of the answer: {why}"))
        where = f"{self.url} ({self.names.url})"
        return ModelUnavailableError(self._clean(f"The model at {where} cannot be reached: {why}"))

    def _of_piece(self, error: Exception) -> ModelError:
        """An error of one piece of a stream: it tells of one, or it cannot be read."""
        if isinstance(error, openai.APIError) and not isinstance(error, openai.APIResponseValidationError):
            return self.of_event(error.body, error.message)
        return ModelUnavailableError(self._clean(f"The model at {self.url} sent a piece that cannot be read: {error}"))

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return preview(mend_text(text))


def retry_after_s(
    headers: Mapping[str, str], now: float | None = None, *, longest_s: float = LONGEST_WAIT_S
) -> float | None:
    """Seconds the server asks to wait: `retry-after-ms`, else `Retry-After` as seconds or as an HTTP date.

    At most `longest_s`. None if it does not ask, or asks for what makes no sense.
    """
    waits = (
        _number(headers.get("retry-after-ms"), 1000),
        _number(headers.get("retry-after"), 1),
        _until(headers.get("retry-after"), time.time() if now is None else now),
    )
    return next((min(wait, longest_s) for wait in waits if wait is not None and wait >= 0), None)


def _number(value: str | None, divisor: int) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number / divisor if math.isfinite(number) else None


def _until(value: str | None, now: float) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp() - now
    except (ValueError, OverflowError):
        return None


def _may_retry(error: openai.APIStatusError) -> bool:
    wish = error.response.headers.get("x-should-retry", "").strip().lower()
    if wish in {"true", "false"}:
        return wish == "true"
    if error.status_code == 429 and isinstance(error.body, dict) and _is_quota(error.body):
        return False
    return error.status_code in _RETRIED or error.status_code >= 500


def _kind_of_refusal(status: int, body: object, sentence: str) -> type[ModelRefusedError]:
    if isinstance(body, dict) and _is_quota(body):
        return QuotaSpentError
    if _is_too_long(body, sentence):
        return ContextTooLongError
    if status in _BAD_REQUEST and _is_formless(body, sentence):
        return FormatRefusedError
    if status in _BAD_REQUEST and _is_about_thoughts(body):
        return ThoughtsRefusedError
    return ModelRefusedError


def _is_too_long(body: object, sentence: str) -> bool:
    """Whether the conversation is too long for the model, in the words of OpenAI, llama.cpp, vLLM, Ollama."""
    fields = body if isinstance(body, dict) else {}
    codes = {str(fields.get("code")), str(fields.get("type"))}
    if codes & {"context_length_exceeded", "exceed_context_size_error"}:
        return True
    return re.search(r"maximum context length|context (size|length|window)", sentence, re.IGNORECASE) is not None


def _is_blind(sentence: str) -> bool:
    """Whether the model takes no images, in the words of llama.cpp, OpenAI, vLLM, OpenRouter, Groq."""
    words = r"images?( input)? (is|are) not supported|image_url is only supported|not a multimodal model"
    return re.search(rf"{words}|that support image input|content must be a string", sentence, re.IGNORECASE) is not None


def _is_formless(body: object, sentence: str) -> bool:
    """Whether it was the form of the answer, in the words of OpenAI, Groq, DeepSeek, vLLM, OpenRouter."""
    param = body.get("param") if isinstance(body, dict) else None
    if isinstance(param, str) and param.startswith("response_format"):
        return True
    words = r"response[_ ]?format|json[_ ]?(schema|object|mode)|structured[_ ]outputs?|guided[_ ]decoding|grammar"
    return re.search(words, sentence, re.IGNORECASE) is not None


def _is_about_thoughts(body: object) -> bool:
    """Whether it was the thoughts of an earlier step, which only the provider that sent them may know."""
    return re.search(r"reasoning_content|reasoning_details|extra_content|\breasoning\\?['\"`]", str(body)) is not None


def _is_quota(fields: Mapping[str, Any]) -> bool:
    """The account is empty: waiting does not help."""
    return "insufficient_quota" in {str(fields.get("code")), str(fields.get("type"))}


def _sentence(error: openai.APIStatusError) -> str:
    """The provider's own words, else the start of the body, else the name of the status."""
    if words := _own_words(error.body):
        return words
    text = error.response.text.strip() if error.response.is_stream_consumed or error.response.is_closed else ""
    plain = text if text and not _is_page(text) and text not in {"{}", "[]", "null", '""'} else ""
    return plain or error.response.reason_phrase or "The provider gave no reason."


def _own_words(body: object) -> str:
    """The sentence in an error body of one of the shapes seen in the field, or an empty text.

    `{"message": …}` (OpenAI), `{"error": …}` (Ollama), `{"detail": …}` (FastAPI), a list of these (Google), a text, a page.
    """
    if isinstance(body, str):
        return _title(body) if _is_page(body) else body.strip()
    if isinstance(body, list):
        return next(filter(None, map(_own_words, body)), "")
    if isinstance(body, dict):
        return next(filter(None, (_own_words(body.get(key)) for key in ("message", "error", "detail", "msg"))), "")
    return ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_page(text: str) -> bool:
    return re.match(r"\s*<(!doctype|html|head|body|\?xml)", text, re.IGNORECASE) is not None


def _title(page: str) -> str:
    found = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    return found[1].strip() if found else ""
