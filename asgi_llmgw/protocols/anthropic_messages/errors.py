"""Errors, both ways: `{"type": "error", "error": {"type", "message"}, "request_id"}`."""

from __future__ import annotations

import re
from typing import Final

from asgi_llmgw.errors import ErrorKind, FailureClass, GatewayError, UpstreamError
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_object, as_str, dumps, loads
from asgi_llmgw.protocols.base import EncodedError
from asgi_llmgw.protocols.scrub import scrub
from asgi_llmgw.sse import ServerSentEvent

from .wire import ERROR_IN, ERROR_OUT, ERROR_STATUS, STATUS_ERROR

_TOO_LONG: Final = re.compile(r"prompt is too long|exceeds? (the )?(model's )?(maximum )?context", re.IGNORECASE)
_NO_MONEY: Final = re.compile(r"credit balance|spend limit|usage limit", re.IGNORECASE)
_CREDENTIAL: Final = "The upstream refused the gateway's credentials."


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a failed call means, from its status and whatever came as its body."""
    try:
        value = loads(body)
    except JSONError:
        value = None
    return error_from(value, status=status)


def error_from(value: JSONValue, *, status: int | None) -> UpstreamError:
    """The error in a decoded body; without a status (an error inside a stream or a 200) its type gives one."""
    envelope = as_object(value)
    error = as_object(envelope.get("error"))
    word = as_str(error.get("type")) or ""
    if status is None:
        status = ERROR_STATUS.get(word, 500)
    if word not in ERROR_IN or status in (401, 403):
        word = STATUS_ERROR.get(status, "api_error" if status >= 500 else "invalid_request_error")
    message = _message(envelope, error)
    kind, failure = _refine(*ERROR_IN[word], message=message)
    if failure == "credential":
        text = _CREDENTIAL
    else:
        text = scrub(message) if message else f"The upstream answered with status {status}."
    return UpstreamError(
        text,
        failure=failure,
        kind=kind,
        code=as_str(as_object(error.get("details")).get("error_code")),
        upstream_status=status,
    )


def encode_error(error: GatewayError, *, request_id: str | None = None) -> EncodedError:
    """An error as the body of an HTTP answer."""
    status, _ = ERROR_OUT[error.kind]
    return EncodedError(status, dumps({**_envelope(error), "request_id": request_id}))


def encode_stream_error(error: GatewayError) -> ServerSentEvent:
    """An error as the last frame of a stream that has begun."""
    return ServerSentEvent(dumps(_envelope(error)), "error")


def _envelope(error: GatewayError) -> JSONObject:
    _, word = ERROR_OUT[error.kind]
    message = error.message
    if error.kind == "context_too_long" and not _TOO_LONG.search(message):
        # agents look for these words to know that they must compact the conversation
        message = f"prompt is too long: {message}"
    return {"type": "error", "error": {"type": word, "message": message}}


def _message(envelope: JSONObject, error: JSONObject) -> str:
    """The text, also from the shapes that proxies and imitations use."""
    for candidate in (error.get("message"), envelope.get("error"), envelope.get("message"), envelope.get("detail")):
        if isinstance(candidate, str) and candidate.strip():
            return candidate
    return ""


def _refine(kind: ErrorKind, failure: FailureClass, *, message: str) -> tuple[ErrorKind, FailureClass]:
    """One type covers several things here, and only the text tells them apart."""
    if kind == "bad_request" and _TOO_LONG.search(message):
        return "context_too_long", failure
    if kind == "bad_request" and _NO_MONEY.search(message):
        return "quota_exceeded", "quota"
    if kind == "not_found" and message.startswith("model"):
        return "model_not_found", failure
    return kind, failure
