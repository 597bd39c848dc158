"""Claude on Vertex AI: Anthropic Messages with the model and the kind of the answer in the path.

https://docs.anthropic.com/en/api/claude-on-vertex-ai
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import msgspec

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_list, as_object, as_str, dumps, loads, members

from .base import Dressed, Unwrapper

VERSION: Final = "vertex-2023-10-16"
_PATH: Final = "/v1/messages"
_COUNT: Final = "/v1/messages/count_tokens"
_MODELS: Final = "/publishers/anthropic/models/"

_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": "invalid_request_error",
        "FAILED_PRECONDITION": "invalid_request_error",
        "OUT_OF_RANGE": "invalid_request_error",
        "UNAUTHENTICATED": "authentication_error",
        "PERMISSION_DENIED": "permission_error",
        "NOT_FOUND": "not_found_error",
        "RESOURCE_EXHAUSTED": "rate_limit_error",
        "UNAVAILABLE": "overloaded_error",
        "DEADLINE_EXCEEDED": "timeout_error",
    }
)
"""Google's canonical codes (https://cloud.google.com/apis/design/errors) in Anthropic's words."""


@dataclass(frozen=True, slots=True)
class VertexMessages:
    """Anthropic Messages as Vertex takes them; answers and streams are Anthropic's own."""

    @property
    def stream_type(self) -> bytes:
        """None of its own: streams are server-sent events."""
        return b""

    def request(self, url: str, headers: Headers, body: bytes, /) -> Dressed:
        """Wrap a call; the bytes of all values but `model` stay as they are.

        Raises:
            InvalidRequest: it is neither a Messages request nor a count.
        """
        kept = tuple(pair for pair in headers if pair[0] != b"anthropic-version")
        fields = dict(members(body))
        fields.pop("anthropic_version", None)
        added: JSONObject = {"anthropic_version": VERSION}
        if url.endswith(_COUNT):
            base = url.removesuffix(_COUNT)
            return Dressed(f"{base}{_MODELS}count-tokens:rawPredict", kept, dumps({**added, **fields}))
        base = url.removesuffix(_PATH)
        if base == url:
            raise InvalidRequest("Vertex AI has no such operation.", kind="unsupported", code="unsupported_operation")
        model = as_str(_read(fields.pop("model", None)))
        if not model or model in (".", ".."):
            raise InvalidRequest("The model cannot be called by this name.", param="model")
        action = "streamRawPredict" if _read(fields.get("stream")) is True else "rawPredict"
        address = f"{base}{_MODELS}{quote(model, safe='@')}:{action}"
        return Dressed(address, kept, dumps({**added, **fields}))

    def error(self, status: int, headers: Headers, body: bytes, /) -> bytes:
        """An error of Google's in Anthropic's shape; one of Anthropic's, and what is no JSON, stays as it is."""
        try:
            value = loads(body)
        except JSONError:
            return body
        # streams that are refused are answered with a list
        told = as_object(value if isinstance(value, dict) else next(iter(as_list(value)), None))
        error = as_object(told.get("error"))
        code = as_str(error.get("status"))
        if code is None:
            return body
        word = _ERRORS.get(code, "api_error" if status >= 500 else "invalid_request_error")
        return dumps({"type": "error", "error": {"type": word, "message": as_str(error.get("message")) or code}})

    def stream(self) -> Unwrapper:
        """Never asked for: its streams have no wrapping."""
        return _Plain()


class _Plain:
    """A stream as it is."""

    def feed(self, chunk: bytes, /) -> bytes:
        """The chunk."""
        return chunk

    def close(self) -> bytes:
        """Nothing is left."""
        return b""


def _read(raw: msgspec.Raw | None) -> JSONValue:
    return None if raw is None else loads(bytes(raw))
