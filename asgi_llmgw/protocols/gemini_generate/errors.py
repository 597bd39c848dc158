"""Errors, both ways."""

from __future__ import annotations

import math
import re
from typing import Final

from asgi_llmgw.errors import ErrorKind, FailureClass, GatewayError, UpstreamError
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_int, as_list, as_object, as_str, dumps, loads
from asgi_llmgw.protocols.base import JSON, EncodedError
from asgi_llmgw.protocols.scrub import scrub
from asgi_llmgw.sse import ServerSentEvent

from .wire import CODE_OF_STATUS, CREDENTIAL_REASONS, FAILURE, STATUS_NAME

_TYPES: Final = "type.googleapis.com/google.rpc."
_TOO_LONG: Final = re.compile(r"token count .*exceeds the maximum|exceeds the maximum number of tokens", re.DOTALL)
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_PROJECT: Final = re.compile(r"(?<=\bprojects/)[^/\s`'\"]+|(?<=\bproject_number:)\d+|(?<=\bproject )\d+", re.IGNORECASE)
_OUR_FAULT: Final = "The upstream refused the gateway's credentials."


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What the vendor's error means for the client and for the next attempt."""
    try:
        value = loads(body)
    except JSONError:
        value = None
    if isinstance(value, list):
        value = value[0] if value else None
    return error_of(status, as_object(as_object(value).get("error")))


def error_of(status: int, error: JSONObject) -> UpstreamError:
    """The same for the object inside `error`, wherever it stood; its own code tells more than a status of 200 does."""
    name = as_str(error.get("status")) or ""
    if status < 400:
        status = as_int(error.get("code")) or CODE_OF_STATUS.get(name, 500)
    failure, kind = _classify(status, name, error)
    message = (
        _PROJECT.sub("[redacted]", scrub(as_str(error.get("message")) or ""))
        or f"The upstream answered with status {status}."
    )
    if failure == "credential":
        message = _OUR_FAULT
    return UpstreamError(
        message,
        failure=failure,
        kind=kind,
        code="context_length_exceeded" if kind == "context_too_long" else None,
        retry_after=_retry_after(error),
        upstream_status=status,
    )


def _classify(status: int, name: str, error: JSONObject) -> tuple[FailureClass, ErrorKind]:
    reasons = {as_str(as_object(detail).get("reason")) for detail in as_list(error.get("details"))}
    # a failed precondition is about the project's billing or place, never about the request
    if status in (401, 403) or name == "FAILED_PRECONDITION" or reasons & CREDENTIAL_REASONS:
        return "credential", "upstream_unavailable"
    if status in (400, 413) and _TOO_LONG.search(as_str(error.get("message")) or ""):
        return "caller_fault", "context_too_long"
    if status in FAILURE:
        return FAILURE[status]
    return ("caller_fault", "bad_request") if 400 <= status < 500 else ("transient", "upstream_unavailable")


def _retry_after(error: JSONObject) -> float | None:
    for detail in as_list(error.get("details")):
        delay = _seconds(as_object(detail).get("retryDelay"))
        if delay is not None:
            return delay
    return None


def _seconds(delay: JSONValue) -> float | None:
    """`"34.4s"`, or the two fields of a protobuf duration."""
    if isinstance(delay, dict):
        return float(as_int(delay.get("seconds")) or 0) or None
    match = _SECONDS.match(as_str(delay) or "")
    return float(math.ceil(float(match[0]))) if match else None


def encode_error(error: GatewayError, request_id: str | None = None) -> EncodedError:
    """The error as the vendor would say it."""
    # the vendor answers a bad key with 400, and its clients know that by the reason in the details
    status = 400 if error.kind == "invalid_credentials" else error.status
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", JSON),)
    if error.retry_after is not None:
        headers += ((b"retry-after", str(math.ceil(error.retry_after)).encode()),)
    return EncodedError(status, dumps(_envelope(error, status, request_id)), headers)


def encode_stream_error(error: GatewayError) -> ServerSentEvent:
    """The same inside a stream, where it is an unnamed event like any other."""
    return ServerSentEvent(dumps(_envelope(error, error.status, None)))


def _envelope(error: GatewayError, status: int, request_id: str | None) -> JSONObject:
    body: JSONObject = {"code": status, "message": error.message, "status": STATUS_NAME[error.kind]}
    details = _details(error, request_id)
    if details:
        body["details"] = details
    return {"error": body}


def _details(error: GatewayError, request_id: str | None) -> list[JSONValue]:
    details: list[JSONValue] = []
    if error.kind == "invalid_credentials":
        details.append({"@type": f"{_TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if error.param is not None:
        violation: JSONObject = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPES}BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{math.ceil(error.retry_after)}s"})
    if request_id is not None:
        details.append({"@type": f"{_TYPES}RequestInfo", "requestId": request_id})
    return details
