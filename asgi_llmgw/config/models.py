"""The sections of the configuration, one class each. docs/configuration.md tells the operator the same things."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, field_validator, model_validator

from asgi_llmgw.asgi import BODY_RATE, BODY_TIMEOUT, MAX_BODY
from asgi_llmgw.components.auth import hash_key
from asgi_llmgw.components.heartbeat import HEARTBEAT_SECONDS
from asgi_llmgw.components.translator import SIDE_TABLE_TTL
from asgi_llmgw.config.balancing import HedgeSettings
from asgi_llmgw.config.fields import (
    ONE_OR_MORE,
    SETTINGS,
    BaseURL,
    HeaderName,
    HeaderValue,
    LabelName,
    ModelName,
    SecretKey,
)
from asgi_llmgw.config.limits import LimitedSettings
from asgi_llmgw.exchange import OnLoss, StreamFailure
from asgi_llmgw.ir import Protocol
from asgi_llmgw.providers.base import AuthStyle, KeyRotation
from asgi_llmgw.reasoning.envelope import PROCESS_KEY
from asgi_llmgw.routing.policy import Strategy
from asgi_llmgw.stall import SEND_STALL
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.uploads import MAX_UPLOAD

HttpClient: TypeAlias = Literal["httptools", "aiohttp"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]
FieldName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
PlaceName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
"""A part of an address, or of what is signed."""
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]


class ServerSettings(BaseModel):
    """`[server]`: where the gateway listens and what it takes."""

    model_config = SETTINGS

    host: str = Field(default="127.0.0.1", min_length=1, max_length=255, pattern=r"^\S+$")
    port: int = Field(default=8080, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=256)
    max_body_bytes: int = Field(default=MAX_BODY, ge=1024)
    max_upload_bytes: int = Field(default=MAX_UPLOAD, ge=1024)
    body_timeout_seconds: Seconds = BODY_TIMEOUT
    body_min_bytes_per_second: float = Field(default=BODY_RATE, ge=0, le=1e9)
    send_stall_seconds: float = Field(default=SEND_STALL, ge=0, le=86_400)
    max_connections: int | None = Field(default=None, ge=1)
    keep_alive_seconds: int = Field(default=75, ge=1, le=3600)
    drain_seconds: Seconds = 30.0
    heartbeat_seconds: float = Field(default=HEARTBEAT_SECONDS, ge=0, le=3600)
    http_client: HttpClient = "httptools"
    reload: bool = True
    access_log: bool = True
    log_level: LogLevel = "info"


class KeySettings(LimitedSettings):
    """`[[keys]]`: one client of the gateway."""

    model_config = SETTINGS

    name: LabelName
    key: SecretKey | None = None
    hash: str | None = Field(default=None, repr=False)
    tenant: LabelName | None = None
    models: tuple[ModelName, ...] = Field(default=("*",), min_length=1)
    expires: date | None = None

    @field_validator("hash")
    @classmethod
    def _is_a_digest(cls, value: str | None) -> str | None:
        digest = (value or "").removeprefix("sha256:")
        if value is not None and (len(digest) != 64 or len(value) != 71 or set(digest) - set("0123456789abcdef")):
            raise ValueError('must be "sha256:" and 64 lower-case hex digits: make one with `asgi-llmgw hash-key`')
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.key is None) == (self.hash is None):
            raise ValueError('needs exactly one of key = "env:NAME" and hash = "sha256:…"')
        return self

    @property
    def digest(self) -> str:
        """`sha256:` and the hex digest of the secret, whichever way it was written."""
        return hash_key(self.key.reveal()) if self.key is not None else self.hash or ""


class TimeoutSettings(BaseModel):
    """`[providers.NAME.timeouts]`: how long we wait for the vendor, in seconds."""

    model_config = SETTINGS

    connect: Seconds = Timeouts().connect
    first_byte: Seconds = Timeouts().first_byte
    first_byte_whole: Seconds = Timeouts().first_byte_whole
    idle: Seconds = Timeouts().idle
    total: Seconds = Timeouts().total


class ProfileSettings(BaseModel):
    """`[providers.NAME.profile]`: facts about the vendor's models that differ from what the catalog says."""

    model_config = SETTINGS

    max_output_tokens: int | None = Field(default=None, ge=1)
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] | None = None
    system_role: Literal["system", "developer"] | None = None
    stream_usage: bool | None = None
    seed_field: Literal["seed", "random_seed"] | None = None
    refused_fields: tuple[FieldName, ...] | None = None
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    sampling: bool | None = None
    temperature_with_top_p: bool | None = None
    forced_tool_choice: bool | None = None
    thinking: Literal["adaptive", "budget", "reasoning_config", "reasoning_effort", "none"] | None = None
    native_structured_output: bool | None = None
    json_schema: bool | None = None
    tool_call_ids: bool | None = None
    thought_signatures: bool | None = None
    thinking_level: bool | None = None
    function_response_media: bool | None = None
    top_k_field: Literal["top_k", "inferenceConfig.topK"] | None = None
    cache_points: tuple[Literal["tools", "system", "messages"], ...] | None = None
    mid_system: Literal["hoist", "user", "system"] | None = None


class ProviderSettings(BaseModel):
    """`[providers.NAME]`: a vendor of the catalog, or a server with its protocol and address spelled out."""

    model_config = SETTINGS

    kind: str | None = None
    protocol: Annotated[tuple[Protocol, ...], ONE_OR_MORE] | None = Field(default=None, min_length=1)
    base_url: BaseURL | None = None
    region: PlaceName | None = None
    project: PlaceName | None = None
    api_version: PlaceName | None = None
    auth: AuthStyle | None = None
    api_key: SecretKey | None = None
    api_keys: tuple[SecretKey, ...] = ()
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    models: tuple[ModelName, ...] | None = None
    key_rotation: KeyRotation = "round_robin"
    health_check_seconds: Seconds | None = None
    timeouts: TimeoutSettings = TimeoutSettings()
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    trust_env_proxies: bool = False
    profile: ProfileSettings = ProfileSettings()

    @model_validator(mode="after")
    def _one_spelling_of_keys(self) -> Self:
        if self.api_key is not None and self.api_keys:
            raise ValueError("has both api_key and api_keys: write one of them")
        return self

    @property
    def places(self) -> dict[str, str | None]:
        """What the catalog's address leaves open."""
        return {"region": self.region, "project": self.project, "api_version": self.api_version}

    @property
    def secrets(self) -> tuple[SecretKey, ...]:
        """The credentials, however they were written."""
        return self.api_keys if self.api_key is None else (self.api_key,)


class TargetSettings(BaseModel):
    """One of a model's targets; `"provider/model"` is the short form."""

    model_config = SETTINGS

    provider: str = Field(min_length=1)
    model: ModelName
    weight: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        provider, slash, model = value.partition("/")
        if not (provider and slash and model):
            raise ValueError('must be written "provider/model", such as "openai/gpt-4o"')
        return {"provider": provider, "model": model}


class ModelSettings(LimitedSettings):
    """`[models."NAME"]`: what a model name (or a glob) stands for."""

    model_config = SETTINGS

    targets: tuple[TargetSettings, ...] = ()
    alias: str | None = Field(default=None, min_length=1)
    strategy: Strategy = "fallback"
    fallbacks: tuple[str, ...] = ()
    sticky: bool = True
    on_loss: OnLoss | None = None
    stream_failure: StreamFailure = "error"
    hedge: HedgeSettings | None = None
    cache_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _one_destination(self) -> Self:
        if bool(self.targets) == (self.alias is not None):
            raise ValueError('needs exactly one of targets = ["provider/model"] (not empty) and alias = "other-model"')
        return self


class RoutingSettings(BaseModel):
    """`[routing]`: what holds for all models."""

    model_config = SETTINGS

    default: str | None = Field(default=None, min_length=1)
    files: str | None = Field(default=None, min_length=1)
    caches: str | None = Field(default=None, min_length=1)
    usage: str | None = Field(default=None, min_length=1)


class ReasoningSettings(BaseModel):
    """`[reasoning]`: how the reasoning state of one vendor travels with the clients of another's protocol."""

    model_config = SETTINGS

    carriers_key: SecretKey | None = None
    side_table: bool = True
    side_table_entries: int = Field(default=10_000, ge=1)
    side_table_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    side_table_ttl_seconds: Seconds = SIDE_TABLE_TTL

    @field_validator("carriers_key")
    @classmethod
    def _long_enough(cls, value: SecretKey | None) -> SecretKey | None:
        if value is not None and len(value.reveal()) < 16:
            raise ValueError("must have at least 16 characters: make one with `openssl rand -hex 32`")
        return value

    @property
    def sealing_key(self) -> bytes:
        """The key that seals state: the configured one, or this process's own."""
        if self.carriers_key is None:
            return PROCESS_KEY
        return hashlib.sha256(b"asgi_llmgw carriers\0" + self.carriers_key.reveal().encode()).digest()


class MetricsSettings(BaseModel):
    """`[metrics]`: the Prometheus endpoint."""

    model_config = SETTINGS

    enabled: bool = True
    public: bool = True
