"""The types of the configuration's fields: secrets that never show, names, addresses, values from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, PlainValidator, StringConstraints, ValidationInfo

from asgi_llmgw.errors import ConfigError

MASK: Final = "**********"
ENVIRONMENT_PREFIX: Final = "env:"

SETTINGS: Final = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)
"""How every section behaves: unknown keys are refused, values cannot be changed, errors never show what was written."""


class Secret:
    """A text that shows itself to `reveal()` alone: every way of printing or storing it gives asterisks."""

    __slots__ = ("_text",)

    def __init__(self, text: str | None) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself.

        Raises:
            ConfigError: this is what came back from a pickle, which does not carry secrets.
        """
        if self._text is None:
            raise ConfigError("A secret does not survive pickling: load the configuration again in this process.")
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce__(self) -> tuple[type[Secret], tuple[None]]:
        return (Secret, (None,))


def from_environment(value: object, info: ValidationInfo) -> object:
    """What `env:NAME` stands for; anything else as it is.

    Raises:
        ValueError: the variable is not set, or empty.
    """
    if not isinstance(value, str) or not value.startswith(ENVIRONMENT_PREFIX):
        return value
    name = value.removeprefix(ENVIRONMENT_PREFIX)
    context = cast("Mapping[str, Mapping[str, str]] | None", info.context)
    environ = os.environ if context is None else context["environ"]
    found = environ.get(name, "").strip()
    if not found:
        # a variable's name is short and plain; anything else may be a secret that somebody wrote behind `env:`
        shown = f"the environment variable {name}" if re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name) else "the variable"
        raise ValueError(f"{shown} is not set or is empty: set it, or write the value itself")
    return found


def _header_value(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    text = from_environment(value, info)
    if not isinstance(text, str):
        raise ValueError('expected a text: write "env:NAME" or the value itself in quotes')
    if not text.strip():
        raise ValueError('must not be empty: write "env:NAME" or the value itself')
    if not text.isascii() or not text.isprintable():
        raise ValueError("has characters that a header cannot carry: use printable ASCII")
    return Secret(text)


def _key(value: object, info: ValidationInfo) -> Secret:
    secret = _header_value(value, info)
    if " " in secret.reveal():
        raise ValueError("has a space in it, which no key has: check for two values in one")
    return secret


def _base_url(value: object) -> str:
    """A vendor's address. What was written is never repeated: it may hold a password."""
    if not isinstance(value, str):
        raise ValueError("expected a text: write an address such as https://api.example.com/v1")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not an address: write one such as https://api.example.com/v1") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password: put the key into api_key")
    if not host:
        raise ValueError("has no host: write an address such as https://api.example.com/v1")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("must not have a query or a fragment: put keys into api_key, extra headers into headers")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("has characters that an address cannot have")
    return value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


_MASKED: Final = PlainSerializer(lambda secret: MASK, return_type=str)

SecretKey: TypeAlias = Annotated[Secret, PlainValidator(_key), _MASKED]
"""An API key, or `env:NAME`."""
HeaderValue: TypeAlias = Annotated[Secret, PlainValidator(_header_value), _MASKED]
"""A header's value, or `env:NAME`. Secret, because that is what people put into headers."""
BaseURL: TypeAlias = Annotated[str, BeforeValidator(_base_url), BeforeValidator(from_environment)]
"""An http address without credentials and query, or `env:NAME`."""
ONE_OR_MORE: Final = BeforeValidator(_one_or_more)
"""`"x"` means `["x"]`."""
HeaderName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=128, to_lower=True)]
LabelName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$", max_length=64)]
"""A name that becomes a metric label."""
ModelName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]+$", max_length=256)]
"""A model's name or a glob for some."""
