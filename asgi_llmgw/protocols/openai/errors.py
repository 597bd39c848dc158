"""OpenAI's errors, written and read; read in the shapes of all who speak its protocols."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from asgi_llmgw.errors import ErrorKind, FailureClass, GatewayError, UpstreamError
from asgi_llmgw.json import (
    JSONError,
    JSONObject,
    JSONValue,
    as_float,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps,
    loads,
)
from asgi_llmgw.protocols.base import JSON, EncodedError
from asgi_llmgw.protocols.scrub import scrub
from asgi_llmgw.sse import ServerSentEvent

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"

_TYPES: Final[Mapping[ErrorKind, tuple[str, str | None]]] = {
    "bad_request": (_INVALID, None),
    "unsupported": (_INVALID, "unsupported_parameter"),
    "context_too_long": (_INVALID, "context_length_exceeded"),
    "invalid_credentials": (_INVALID, "invalid_api_key"),
    "quota_exceeded": ("insufficient_quota", "insufficient_quota"),
    "forbidden": (_INVALID, None),
    "model_not_found": (_INVALID, "model_not_found"),
    "not_found": (_INVALID, "unknown_url"),
    "method_not_allowed": (_INVALID, "method_not_allowed"),
    "conflict": (_INVALID, "conflict"),
    "request_too_large": (_INVALID, "request_too_large"),
    "unsupported_media_type": (_INVALID, "unsupported_media_type"),
    "request_timeout": (_INVALID, "request_timeout"),
    "headers_too_large": (_INVALID, "headers_too_large"),
    "rate_limited": ("requests", "rate_limit_exceeded"),
    "server_error": (_SERVER, None),
    "overloaded": (_SERVER, "overloaded"),
    "upstream_timeout": (_SERVER, "upstream_timeout"),
    "upstream_unavailable": (_SERVER, "upstream_unavailable"),
    "upstream_invalid_response": (_SERVER, "upstream_invalid_response"),
    "cancelled": (_SERVER, "cancelled"),
}
"""`type` and `code` of each kind (https://platform.openai.com/docs/guides/error-codes)."""

_INCURABLE: Final[frozenset[FailureClass]] = frozenset(
    {"credential", "model_access", "quota", "caller_fault", "filtered"}
)

_CONTEXT_CODES: Final = frozenset({"context_length_exceeded", "context_too_long", "string_above_max_length"})
_CONTEXT_TEXT: Final = re.compile(
    r"prompt is too long|context (?:length|window)|maximum context|token count .* exceeds|too many (?:input )?tokens",
    re.IGNORECASE,
)
_CREDENTIAL_CODES: Final = frozenset({"invalid_api_key", "api_key_invalid", "authentication_error", "unauthenticated"})
_CREDENTIAL_TEXT: Final = re.compile(r"(?:incorrect|invalid) api[ _]key|api key not valid|x-api-key", re.IGNORECASE)
_FILTER_CODES: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "bio_policy",
        "misalignment_policy_violation",
    }
)
_QUOTA_CODES: Final = frozenset({"insufficient_quota", "billing_error", "billing_not_active", "insufficient_balance"})
_MODEL_CODES: Final = frozenset({"model_not_found", "deploymentnotfound", "not_found_error", "not_found"})
_RATE_CODES: Final = frozenset({"rate_limit_exceeded", "rate_limit_error", "resource_exhausted", "rate_limited"})
_OVERLOAD_CODES: Final = frozenset({"overloaded", "overloaded_error", "unavailable", "engine_overloaded"})


class _Told(msgspec.Struct, frozen=True):
    """What an error body says, whoever wrote it. `words` are its code and type in lower case."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    words: frozenset[str] = frozenset()


def decode_error(status: int, body: bytes) -> UpstreamError:
    """The error an upstream answered with. Pages and plain text stay private: they hold stack traces and hosts."""
    try:
        value = loads(body)
    except JSONError:
        value = None
    return error_of(status, value)


def error_of(status: int, value: JSONValue) -> UpstreamError:
    """The error in a decoded body; a status that means success gives way to the one in the body."""
    told = _read(value)
    if status < 400:
        status = told.status if told.status is not None else _status_of(told)
    kind, failure = _classify(status, told)
    if failure == "credential":
        return UpstreamError(
            "The upstream refused the gateway's credentials.", failure=failure, kind=kind, upstream_status=status
        )
    return UpstreamError(
        scrub(told.message) if told.message else f"The upstream answered with status {status}.",
        failure=failure,
        kind=kind,
        param=told.param,
        code=told.code if failure in ("caller_fault", "filtered", "model_access") else None,
        retry_after=told.retry_after,
        upstream_status=status,
    )


def _read(value: JSONValue) -> _Told:
    if isinstance(value, list):
        value = value[0] if value else None
    outer = as_object(value)
    inner = outer.get("error")
    error = inner if isinstance(inner, dict) else outer
    message = as_str(error.get("message")) or as_str(inner) or _detail(outer.get("detail"))
    code = error.get("code") if error.get("code") is not None else outer.get("code")
    kind = as_str(error.get("type")) or as_str(error.get("status"))
    inner_code = as_object(error.get("innererror")).get("code")
    reasons = [as_object(item).get("reason") for item in as_list(error.get("details"))]
    words = (code, kind, error.get("status"), inner_code, *reasons)
    return _Told(
        message=message,
        type=kind,
        code=code if isinstance(code, str) and not code.isdigit() else None,
        param=as_str(error.get("param")),
        status=_http_status(error.get("status_code"), error.get("status"), code),
        retry_after=_retry_after(error),
        words=frozenset(word.lower() for word in words if isinstance(word, str)),
    )


def _detail(detail: JSONValue) -> str | None:
    """`detail` of FastAPI's servers: a text, or a list of what was wrong."""
    if isinstance(detail, str):
        return detail
    messages = [as_str(as_object(item).get("msg")) for item in as_list(detail)]
    return "; ".join(message for message in messages if message) or as_str(as_object(detail).get("message"))


def _http_status(*values: JSONValue) -> int | None:
    for value in values:
        number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else as_int(value)
        if number is not None and 400 <= number < 600:
            return number
    return None


def _retry_after(error: JSONObject) -> float | None:
    """Google says in the body when to come back."""
    for item in as_list(error.get("details")):
        delay = as_str(as_object(item).get("retryDelay"))
        if delay is not None and re.fullmatch(r"\d{1,6}(\.\d+)?s", delay):
            return float(delay[:-1])
    return as_float(error.get("retry_after"))


def _status_of(told: _Told) -> int:
    """The status an error without one would have had."""
    if told.words & (_RATE_CODES | _QUOTA_CODES):
        return 429
    if told.words & _OVERLOAD_CODES:
        return 503
    if told.words & (_FILTER_CODES | _CONTEXT_CODES | {_INVALID, "tool_use_failed", "invalid_prompt"}):
        return 400
    if told.words & _CREDENTIAL_CODES:
        return 401
    return 502


def _classify(status: int, told: _Told) -> tuple[ErrorKind, FailureClass]:
    words = told.words
    message = told.message or ""
    if words & _FILTER_CODES:
        return "bad_request", "filtered"
    if status < 500 and status != 429 and (words & _CONTEXT_CODES or _CONTEXT_TEXT.search(message)):
        return "context_too_long", "caller_fault"
    if "model_not_found" in words:
        return "model_not_found", "model_access"
    if status in (401, 403) or words & _CREDENTIAL_CODES or (status == 400 and _CREDENTIAL_TEXT.search(message)):
        return "upstream_unavailable", "credential"
    if status == 402 or words & _QUOTA_CODES:
        return "quota_exceeded", "quota"
    if status == 404 or words & _MODEL_CODES:
        return "model_not_found", "model_access"
    if status == 429:
        return "rate_limited", "rate_limit"
    if status in (503, 529) or (status >= 500 and words & _OVERLOAD_CODES):
        return "overloaded", "overloaded"
    return _by_status(status, words)


def _by_status(status: int, words: frozenset[str]) -> tuple[ErrorKind, FailureClass]:
    match status:
        case 408 | 504 | 524:
            return "upstream_timeout", "timeout"
        case 409:
            return "conflict", "transient"
        case 413:
            return "request_too_large", "caller_fault"
        case 415:
            return "unsupported_media_type", "caller_fault"
        case _ if 400 <= status < 500:
            refused = words & {"unsupported_parameter", "unsupported_value"}
            return ("unsupported" if refused else "bad_request"), "caller_fault"
        case _ if 500 <= status < 600:
            return "server_error", "transient"
        case _:
            return "upstream_invalid_response", "invalid_response"


def error_object(error: GatewayError) -> JSONObject:
    """`{"error": …}` with all four keys."""
    kind, code = _TYPES[error.kind]
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code if error.code is not None else code,
        }
    }


def encode_error(error: GatewayError, *, status: int | None = None) -> EncodedError:
    """The error as an answer, with a `status` of its own where a protocol has another opinion."""
    headers = [(b"content-type", JSON)]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(0, math.ceil(error.retry_after))))
    if not _curable(error):
        headers.append((b"x-should-retry", b"false"))
    return EncodedError(error.status if status is None else status, dumps(error_object(error)), tuple(headers))


def encode_stream_error(error: GatewayError) -> ServerSentEvent:
    """The error as the last chunk of a stream that has begun."""
    return ServerSentEvent(dumps(error_object(error)))


def _curable(error: GatewayError) -> bool:
    """Whether another try may succeed."""
    if error.kind == "quota_exceeded" or (isinstance(error, UpstreamError) and error.failure in _INCURABLE):
        return False
    return error.status in (408, 409, 429) or error.status >= 500
