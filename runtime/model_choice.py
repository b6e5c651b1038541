"""Which model answers, and why: what the user has set decides, and with nothing set a small one on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from runtime import windows
from runtime.settings import Provider, Settings

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-5-mini"
LOCAL_MODEL = "smollm2-135m-instruct"
DEMO_MODEL = "scripted"
CONTEXT_TOKENS = {"openai": 32_000, "compatible": 8_000, "provider": 8_000, "local": 3_000, "demo": 8_000}

Kind = Literal["openai", "compatible", "provider", "local", "demo"]


@dataclass(frozen=True)
class ModelChoice:
    """`base_url` None: of a child that is still to be started. `name` None: the first that the server lists."""

    kind: Kind
    base_url: str | None
    api_key: str
    name: str | None
    context_tokens: int

    @property
    def _address(self) -> str:
        """Without a password that it may hold."""
        parts = urlsplit(self.base_url or "")
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def reason(self) -> str:
        """Why this one, and how to get a better one: one line for the banner."""
        better = "set OPENAI_API_KEY or OPENAI_BASE_URL"
        match self.kind:
            case "openai":
                return "OpenAI, because OPENAI_API_KEY is set; EVERTHREAD_MODEL chooses another"
            case "compatible":
                return f"at {self._address}, because OPENAI_BASE_URL is set; EVERTHREAD_MODEL chooses another"
            case "provider":
                return f"at {self._address}, because EVERTHREAD_MODEL names it, of EVERTHREAD_PROVIDERS"
            case "local":
                return f"on this machine and toy-sized: it chats, it cannot use tools. Better: {better}"
            case "demo":
                return "no model at all: set answers for the demo; make run has a real one"


def choose_model(settings: Settings, *, demo: bool) -> ModelChoice:
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    if demo:
        return _choice(settings, "demo", None, "none", DEMO_MODEL)
    if settings.openai_base_url:
        return _choice(settings, "compatible", settings.openai_base_url, key or "none", settings.model)
    if key:
        return _choice(settings, "openai", OPENAI_URL, key, settings.model or DEFAULT_MODEL)
    if (named := provider_of(settings)) is not None:
        _, provider, name = named
        return _choice(settings, "provider", provider.base_url, provider.api_key.get_secret_value(), name)
    return _choice(settings, "local", None, "none", LOCAL_MODEL)


def provider_of(settings: Settings) -> tuple[str, Provider, str] | None:
    """The provider that EVERTHREAD_MODEL names before its first `/`, and the model behind it; None if it names none."""
    prefix, _, name = (settings.model or "").partition("/")
    provider = (settings.providers or {}).get(prefix)
    return (prefix, provider, name) if provider is not None and name else None


def _choice(
    settings: Settings,
    kind: Kind,
    base_url: str | None,
    api_key: str,
    name: str | None,
) -> ModelChoice:
    tokens = settings.context_tokens or windows.at_most(CONTEXT_TOKENS[kind], name)
    return ModelChoice(kind, base_url, api_key, name, tokens)
