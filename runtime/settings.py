"""All configuration, in one place. Read once by a program, then passed on as values. Documented in .env.example."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableError

Language = Literal[
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "spanish",
    "swedish",
    "turkish",
    "none",
]
PROVIDERS_FORM = '{"groq": {"base_url": "https://…/v1", "api_key": "…"}}'


class Provider(BaseModel):
    """An OpenAI-compatible endpoint that models are named by: `<provider>/<model>`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    api_key: SecretStr = SecretStr("")


class Settings(BaseSettings):
    """From the environment, then from the file .env; an empty value counts as none."""

    model_config = SettingsConfigDict(
        env_prefix="EVERTHREAD_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # The model
    openai_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("OPENAI_API_KEY"))
    openai_base_url: str | None = Field(None, validation_alias=AliasChoices("OPENAI_BASE_URL"))
    model: str | None = None
    providers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], Provider] | None = None
    model_connect_timeout_s: float = Field(5.0, gt=0, le=60)
    model_first_token_timeout_s: float = Field(60.0, gt=0, le=3000)
    model_chunk_timeout_s: float = Field(30.0, gt=0, le=3000)
    model_call_timeout_s: float = Field(600.0, gt=0, le=3000)
    context_tokens: int | None = Field(None, ge=500)

    # Memory
    embedding: str | None = None
    embedding_dimensions: int | None = Field(None, ge=1, le=65_536)
    language: Language = "english"

    # Agents
    agent: str = "assistant"
    reload: bool = True

    # This process
    data_dir: Path = Path(".everthread")
    host: str = Field("127.0.0.1", pattern=r"^(127\.0\.0\.1|localhost|::1)$")  # there is no access control yet
    port: int = Field(8800, ge=1, le=65535)
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    max_concurrent_activities: int = Field(200, ge=1, le=10_000)
    grace_s: float = Field(60.0, ge=0, le=86_400)

    # The store
    qdrant_url: str | None = None
    qdrant_api_key: SecretStr | None = None
    qdrant_timeout_s: float = Field(10.0, gt=0, le=300)

    # Replies to web addresses
    webhook_secret: SecretStr | None = None
    webhook_private: bool = False

    # Temporal
    temporal_address: str | None = Field(None, validation_alias=AliasChoices("TEMPORAL_ADDRESS"))
    temporal_namespace: str = Field("default", validation_alias=AliasChoices("TEMPORAL_NAMESPACE"))
    temporal_port: int = Field(7233, ge=1, le=65535)
    temporal_ui_port: int = Field(8233, ge=1, le=65535)
    task_queue: str = Field("everthread", min_length=1)
    retention_days: int = Field(30, ge=1, le=3650)
    deployment_name: str | None = Field(None, pattern=r"^[^.]{1,200}$")  # Temporal takes no dots in it
    build_id: str | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.deployment_name is None) != (self.build_id is None):
            raise ValueError("EVERTHREAD_DEPLOYMENT_NAME and EVERTHREAD_BUILD_ID go together: set both or none")
        return self

    @model_validator(mode="after")
    def _known_embedding(self) -> Self:
        prefix, _, model = (self.embedding or "none").partition("/")
        providers = self.providers or {}
        if prefix in {"none", "wordllama"} and not model:
            return self
        if not model or prefix not in {"openai", "fastembed", *providers}:
            rule = "wordllama, none, openai/<model>, fastembed/<model>, or <provider>/<model> of EVERTHREAD_PROVIDERS"
            raise ValueError(f"EVERTHREAD_EMBEDDING: it is {rule}, not {self.embedding!r} (see .env.example)")
        if prefix == "openai" and "openai" not in providers and not (self.openai_api_key or self.openai_base_url):
            raise ValueError(f"EVERTHREAD_EMBEDDING is {self.embedding}: set OPENAI_API_KEY or OPENAI_BASE_URL, too")
        return self

    @model_validator(mode="after")
    def _readable_key(self) -> Self:
        webhook_key(self.webhook_secret)
        return self


class SettingsError(Exception):
    """A setting cannot be used; the text names it, its value and the rule."""


def load() -> Settings:
    """Raises: SettingsError."""
    try:
        return Settings()
    except UnreadableError:
        raise SettingsError(f"EVERTHREAD_PROVIDERS is no JSON such as {PROVIDERS_FORM} (see .env.example)") from None
    except ValidationError as error:
        raise SettingsError("; ".join(map(_sentence, error.errors(include_url=False)))) from None


def variable(name: str) -> str | None:
    """What the environment, or else the file .env, says under a name that is no setting's; None if it says nothing."""
    sources = (
        EnvSettingsSource(Settings, case_sensitive=True),
        DotEnvSettingsSource(Settings, env_file=".env", case_sensitive=True),
    )
    return next((value for source in sources if (value := source.env_vars.get(name))), None)


def webhook_key(secret: SecretStr | None) -> bytes | None:
    """What replies to web addresses are signed with. Raises: ValueError, whose text does not show it."""
    if secret is None:
        return None
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if prefix != "whsec" or not 24 <= len(key) <= 64:
        raise ValueError(
            "EVERTHREAD_WEBHOOK_SECRET is whsec_ and then 24 to 64 random bytes in base64; make one with "
            "`echo whsec_$(openssl rand -base64 32)`"
        )
    return key


def _sentence(problem: Any) -> str:
    if not problem["loc"]:  # of several fields; the message names them
        return str(problem["ctx"]["error"])
    field = str(problem["loc"][0])
    if field == "providers":  # the value may hold a key
        where = ".".join(str(part) for part in problem["loc"][1:])
        return f"EVERTHREAD_PROVIDERS: {where}: {problem['msg']}; it looks like {PROVIDERS_FORM} (see .env.example)"
    name = field if field.isupper() else f"EVERTHREAD_{field.upper()}"
    return f"{name}: {problem['msg']}, not {str(problem['input'])[:60]!r} (see .env.example)"
