"""Which operation a method and a path mean. The table is data; a test walks it to see that every row needs a key."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.exchange import Operation
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import SERVED

_READ: Final = ("GET", "HEAD")
_WRITE: Final = ("POST",)
_GET_POST: Final = ("GET", "POST")
_VERSION: Final = "/v1"
_MAX_VERSIONS: Final = 2
_MAX_MODEL: Final = 256


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One line of the table.

    Args:
        template: the path; `{id}` stands for one segment, at the end of a model's path for one or more.
        methods: what is answered there.
        protocol: what its clients speak.
        versioned: the path stands below `/v1`, which base URLs leave out or say twice.
    """

    template: str
    methods: tuple[str, ...]
    operation: Operation
    protocol: Protocol = "openai_chat"
    versioned: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a request means. `path` is how the protocol itself writes it.

    `model` is set where the path names one, `response_id` where it names a stored response, a file, a batch or a cache.
    """

    operation: Operation
    template: str
    protocol: Protocol
    path: str
    model: str | None = None
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """The path is ours, the method is not one of `allow`."""

    allow: tuple[str, ...]
    template: str
    protocol: Protocol


_ALL: Final = (
    EndpointRow("/health", _READ, "health", versioned=False),
    EndpointRow("/ready", _READ, "ready", versioned=False),
    EndpointRow("/metrics", _READ, "metrics", versioned=False),
    EndpointRow("/status", _READ, "status", versioned=False),
    EndpointRow("/v1/chat/completions", _WRITE, "chat"),
    EndpointRow("/v1/responses", _WRITE, "chat", "openai_responses"),
    EndpointRow("/v1/responses/input_tokens", _WRITE, "count_tokens", "openai_responses"),
    EndpointRow("/v1/responses/compact", _WRITE, "compact", "openai_responses"),
    EndpointRow("/v1/responses/{id}", ("GET", "DELETE"), "stored_response", "openai_responses"),
    EndpointRow("/v1/responses/{id}/cancel", _WRITE, "stored_response", "openai_responses"),
    EndpointRow("/v1/responses/{id}/input_items", ("GET",), "stored_response", "openai_responses"),
    EndpointRow("/v1/messages", _WRITE, "chat", "anthropic_messages"),
    EndpointRow("/v1/messages/count_tokens", _WRITE, "count_tokens", "anthropic_messages"),
    EndpointRow("/v1/embeddings", _WRITE, "embeddings"),
    EndpointRow("/v1/completions", _WRITE, "completions"),
    EndpointRow("/v1/fim/completions", _WRITE, "completions"),
    EndpointRow("/v1/moderations", _WRITE, "moderations"),
    EndpointRow("/v1/rerank", _WRITE, "rerank"),
    EndpointRow("/v2/rerank", _WRITE, "rerank", versioned=False),
    EndpointRow("/v1/images/generations", _WRITE, "images"),
    EndpointRow("/v1/images/edits", _WRITE, "images"),
    EndpointRow("/v1/images/variations", _WRITE, "images"),
    EndpointRow("/v1/audio/speech", _WRITE, "speech"),
    EndpointRow("/v1/audio/transcriptions", _WRITE, "transcriptions"),
    EndpointRow("/v1/audio/translations", _WRITE, "transcriptions"),
    EndpointRow("/v1/files", _GET_POST, "files"),
    EndpointRow("/v1/files/{id}", ("GET", "DELETE"), "files"),
    EndpointRow("/v1/files/{id}/content", ("GET",), "files"),
    EndpointRow("/v1/batches", _GET_POST, "batches"),
    EndpointRow("/v1/batches/{id}", ("GET",), "batches"),
    EndpointRow("/v1/batches/{id}/cancel", _WRITE, "batches"),
    EndpointRow("/v1/organization/usage/{id}", ("GET",), "usage"),
    EndpointRow("/v1/realtime", ("GET",), "realtime"),
    EndpointRow("/v1/models", _READ, "models"),
    EndpointRow("/v1/models/{id}", _READ, "model"),
    EndpointRow("/v1beta/models", _READ, "models", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}", _READ, "model", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}:generateContent", _WRITE, "chat", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}:streamGenerateContent", _WRITE, "chat", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}:countTokens", _WRITE, "count_tokens", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}:embedContent", _WRITE, "embeddings", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}:batchEmbedContents", _WRITE, "embeddings", "gemini_generate"),
    EndpointRow("/v1beta/models/{id}:predict", _WRITE, "predict", "gemini_generate"),
    EndpointRow("/v1beta/cachedContents", _GET_POST, "caches", "gemini_generate"),
    EndpointRow("/v1beta/cachedContents/{id}", ("GET", "PATCH", "DELETE"), "caches", "gemini_generate"),
)

ENDPOINTS: Final = tuple(row for row in _ALL if row.protocol in SERVED)
"""Everything that is served."""

MODELS_DIALECTS: Final[frozenset[Protocol]] = frozenset(SERVED)
"""The dialects in which models can be listed; a client of another one gets OpenAI's."""

_GEMINI: Final = "/v1beta"
_GEMINI_VERSIONS: Final = ("/v1beta", "/v1beta1", "/v1alpha")
_VERTEX: Final = re.compile(r"(?:/projects/[^/]+/locations/[^/]+)?/publishers/google(?=/models/)")
"""How clients of Vertex AI begin the same paths."""
_ACTIONS: Final = {
    row.template.rpartition(":")[2]: row
    for row in ENDPOINTS
    if row.protocol == "gemini_generate" and ":" in row.template
}
_GEMINI_PLAIN: Final = {
    row.operation: row
    for row in ENDPOINTS
    if row.protocol == "gemini_generate" and row.operation in ("models", "model")
}
_CACHES: Final = "/cachedContents"
_GEMINI_CACHES: Final = {row.template: row for row in ENDPOINTS if row.operation == "caches"}

_PLAIN: Final = {row.template: row for row in ENDPOINTS if not row.versioned}
_VERSIONED: Final = {
    row.template.removeprefix(_VERSION): row
    for row in ENDPOINTS
    if row.versioned and "{id}" not in row.template and not row.template.startswith(_GEMINI)
}
_LISTS: Final = frozenset({"/v1/models", "/v1/models/{id}"})
"""Where several vendors list their models, each in its own dialect."""
_MODEL: Final = next(row for row in ENDPOINTS if row.template == "/v1/models/{id}")
_KEPT: Final[frozenset[Operation]] = frozenset({"stored_response", "files", "batches", "usage", "caches"})
"""The operations on something that lies at a vendor and is called by its id."""
_STORED: Final = {
    tuple(row.template.removeprefix(_VERSION).split("{id}")): row
    for row in ENDPOINTS
    if row.operation in _KEPT and row.protocol != "gemini_generate" and "{id}" in row.template
}
_COLLECTIONS: Final = tuple(dict.fromkeys(before for before, _ in _STORED))


def match_endpoint(method: str, path: str, headers: Headers) -> Endpoint | MethodNotAllowed | None:
    """What this request means; None if nothing is served at the path.

    Args:
        path: decoded, below the mount point. `/v1` in front may be missing (mounted there) or doubled (a base URL
            that ends in it already).
    """
    found = _endpoint(method, path)
    if found is None or found.template not in _LISTS:
        return found
    dialect = models_dialect(headers)
    return replace(found, protocol=dialect) if dialect in MODELS_DIALECTS else found


@lru_cache(maxsize=256)
def _endpoint(method: str, path: str) -> Endpoint | MethodNotAllowed | None:
    """The same few paths come with nearly all requests."""
    found = _find_gemini(method, path) or _find(path)
    if found is None:
        return None
    row, named = found
    if method not in row.methods:
        return MethodNotAllowed(row.methods, row.template, row.protocol)
    written = row.template if named is None else row.template.replace("{id}", named)
    if row.operation in _KEPT:
        return Endpoint(row.operation, row.template, row.protocol, written, response_id=named)
    return Endpoint(row.operation, row.template, row.protocol, written, named)


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
    model = rest.removeprefix("/models/")
    if model != rest and _is_id(model):
        return _MODEL, model
    return _find_stored(rest)


def _find_stored(rest: str) -> tuple[EndpointRow, str] | None:
    """Something stored, and what is to be done with it."""
    before = next((found for found in _COLLECTIONS if rest.startswith(found)), None)
    if before is None:
        return None
    identifier, slash, action = rest.removeprefix(before).partition("/")
    row = _STORED.get((before, slash + action))
    return (row, identifier) if row is not None and _is_id(identifier) else None


def _find_cache(rest: str) -> tuple[EndpointRow, str | None] | None:
    """A cached prompt of Gemini's, or all of them."""
    if rest == _CACHES:
        return _GEMINI_CACHES[_GEMINI + _CACHES], None
    identifier = rest.removeprefix(_CACHES + "/")
    if identifier == rest or "/" in identifier or not _is_id(identifier):
        return None
    return _GEMINI_CACHES[_GEMINI + _CACHES + "/{id}"], identifier


def _find_gemini(method: str, path: str) -> tuple[EndpointRow, str | None] | None:
    """Gemini's paths: a version of their own, and the action after the last colon.

    Newer clients of its say `/v1/`, and some leave `models/` out.
    """
    path = _without_versions(path)
    version = next((found for found in _GEMINI_VERSIONS if path.startswith(found + "/")), None)
    rest = path.removeprefix(version or "")
    vertex = _VERTEX.match(rest)
    rest = rest if vertex is None else rest[vertex.end() :]
    if rest.startswith(_CACHES):
        return _find_cache(rest)
    name, colon, action = rest.rpartition(":")
    row = _ACTIONS.get(action) if colon and (method == "POST" or version is not None) else None
    if row is None and version is None:
        return None
    if row is None:
        name = rest
        if name == "/models" and "models" in _GEMINI_PLAIN:
            return _GEMINI_PLAIN["models"], None
        row = _GEMINI_PLAIN.get("model")
    listed = name.startswith("/models/")
    model = name.removeprefix("/models/") if listed else name[1:]
    if row is None or not _is_id(model) or not (listed or ":" in row.template):
        return None
    return row, model


def _without_versions(path: str) -> str:
    for _ in range(_MAX_VERSIONS):
        if not path.startswith(_VERSION + "/"):
            break
        path = path[len(_VERSION) :]
    return path


def _is_id(text: str) -> bool:
    """Whether this can name a model or a response: slashes and colons are fine, what changes a URL's meaning is not."""
    return (
        len(text) <= _MAX_MODEL
        and text.isprintable()
        and not any(character in "?#%\\" for character in text)
        and all(segment not in ("", ".", "..") for segment in text.split("/"))
    )
