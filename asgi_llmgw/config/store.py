"""`[store]`: where counters live."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator, ValidationInfo

from asgi_llmgw.config.fields import MASK, SETTINGS, Secret, from_environment
from asgi_llmgw.store.redis import PREFIX
from asgi_llmgw.store.stores import MEMORY, Stores, open_stores

_EXAMPLE: Final = "write one such as redis://127.0.0.1:6379/0"
_OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})


def _url(value: object, info: ValidationInfo) -> Secret:
    """A store's address. What was written is never repeated: it may hold a password."""
    if isinstance(value, Secret):
        return value
    text = from_environment(value, info)
    if not isinstance(text, str):
        raise ValueError(f"expected a text: {_EXAMPLE}")
    if text != MEMORY:
        _check(text)
    return Secret(text)


def _check(text: str) -> None:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is not an address: {_EXAMPLE}") from None
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("has characters that an address cannot have: write those of a password as %XX")
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError('must be "memory://", or begin with redis://, rediss:// or unix://')
    if parts.scheme == "unix" and not parts.path.strip("/"):
        raise ValueError("has no path: write one such as unix:///run/redis.sock")
    if parts.scheme != "unix" and not host:
        raise ValueError(f"has no host: {_EXAMPLE}")
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdigit():
        raise ValueError(f"has a database that is not a number: {_EXAMPLE}")
    if "#" in text or any(name not in _OPTIONS for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError(f"has other options than {', '.join(sorted(_OPTIONS))}: take them out")


StoreURL: TypeAlias = Annotated[Secret, PlainValidator(_url), PlainSerializer(lambda secret: MASK, return_type=str)]
"""`memory://`, an address of Redis (a secret, since there may be a password in it), or `env:NAME`."""


class StoreSettings(BaseModel):
    """`[store]`: where counters live."""

    model_config = SETTINGS

    url: StoreURL = Secret(MEMORY)
    prefix: str = Field(default=PREFIX, pattern=r"^[A-Za-z0-9_.:-]*$", max_length=64)
    replicas: int | None = Field(default=None, ge=1, le=10_000)
    budgets_when_away: Literal["deny", "allow"] = "deny"
    timeout_ms: int = Field(default=100, ge=5, le=10_000)

    @property
    def is_shared(self) -> bool:
        """Whether several processes count together."""
        return self.url.reveal() != MEMORY

    def open(self, *, workers: int = 1) -> Stores:
        """The stores. Nothing is connected before it is needed.

        Args:
            workers: processes that share the limits, where the settings do not say it.

        Raises:
            ConfigError: redis-py is not installed.
        """
        return open_stores(
            self.url.reveal(),
            prefix=self.prefix,
            replicas=self.replicas if self.replicas is not None else workers,
            budgets_when_away=self.budgets_when_away,
            timeout=self.timeout_ms / 1000,
        )
