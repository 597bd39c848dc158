"""Which operation a method and a path mean. The table is data; a test walks it to see that every row needs a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.exchange import Operation
from asgi_llmgw.ir import Protocol

_READ: Final = ("GET", "HEAD")
_WRITE: Final = ("POST",)
_VERSION: Final = "/v1"
_MAX_VERSIONS: Final = 2
_MAX_MODEL: Final = 256


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One line of the table.

    Args:
        template: the path; `{id}` at its end stands for one or more segments.
        methods: what is answered there.
        versioned: the path stands below `/v1`, which base URLs leave out or say twice.
    """

    template: str
    methods: tuple[str, ...]
    operation: Operation
    versioned: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a request means. `model` is set where the path names one."""

    operation: Operation
    template: str
    protocol: Protocol
    model: str | None = None


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """The path is ours, the method is not one of `allow`."""

    allow: tuple[str, ...]
    template: str
    protocol: Protocol


ENDPOINTS: Final = (
    EndpointRow("/health", _READ, "health", versioned=False),
    EndpointRow("/ready", _READ, "ready", versioned=False),
    EndpointRow("/metrics", _READ, "metrics", versioned=False),
    EndpointRow("/v1/chat/completions", _WRITE, "chat"),
    EndpointRow("/v1/models", _READ, "models"),
    EndpointRow("/v1/models/{id}", _READ, "model"),
)
"""Everything that is served."""

MODELS_DIALECTS: Final[frozenset[Protocol]] = frozenset({"openai_chat"})
"""The dialects in which `/v1/models` can be answered; a client of another one gets OpenAI's."""

_PLAIN: Final = {row.template: row for row in ENDPOINTS if not row.versioned}
_VERSIONED: Final = {
    row.template.removeprefix(_VERSION): row for row in ENDPOINTS if row.versioned and not row.template.endswith("{id}")
}
_WITH_ID: Final = tuple(
    (row.template.removeprefix(_VERSION).removesuffix("{id}"), row)
    for row in ENDPOINTS
    if row.template.endswith("{id}")
)


def match_endpoint(method: str, path: str, headers: Headers) -> Endpoint | MethodNotAllowed | None:
    """What this request means; None if nothing is served at the path.

    Args:
        path: decoded, below the mount point. `/v1` in front may be missing (mounted there) or doubled (a base URL
            that ends in it already).
    """
    found = _find(path)
    if found is None:
        return None
    row, model = found
    protocol = _protocol(row, headers)
    if method not in row.methods:
        return MethodNotAllowed(row.methods, row.template, protocol)
    return Endpoint(row.operation, row.template, protocol, model)


def models_dialect(headers: Headers) -> Protocol:
    """Three vendors list their models at `/v1/models`; a header tells whose client is asking."""
    names = {name for name, _ in headers}
    if b"x-goog-api-key" in names:
        return "gemini_generate"
    if b"anthropic-version" in names:
        return "anthropic_messages"
    return "openai_chat"


def _find(path: str) -> tuple[EndpointRow, str | None] | None:
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain, None
    rest = _without_versions(path)
    exact = _VERSIONED.get(rest)
    if exact is not None:
        return exact, None
    for prefix, row in _WITH_ID:
        model = rest.removeprefix(prefix)
        if model != rest and _is_model_id(model):
            return row, model
    return None


def _without_versions(path: str) -> str:
    for _ in range(_MAX_VERSIONS):
        if not path.startswith(_VERSION + "/"):
            break
        path = path[len(_VERSION) :]
    return path


def _protocol(row: EndpointRow, headers: Headers) -> Protocol:
    if row.operation in ("models", "model"):
        dialect = models_dialect(headers)
        return dialect if dialect in MODELS_DIALECTS else "openai_chat"
    return "openai_chat"


def _is_model_id(text: str) -> bool:
    """Whether this can be a model's name: slashes and colons are fine, what would change a URL's meaning is not."""
    return (
        len(text) <= _MAX_MODEL
        and text.isprintable()
        and not any(character in "?#%\\" for character in text)
        and all(segment not in ("", ".", "..") for segment in text.split("/"))
    )
