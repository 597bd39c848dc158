"""Errors: `{"message"}` with the name of an exception, in `__type` or the header of that meaning.

The header is not seen here: `envelopes.converse` makes `__type` of it.
"""

from __future__ import annotations

import re
from typing import Final

from asgi_llmgw.errors import ErrorKind, FailureClass, GatewayError, UpstreamError
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_object, as_str, dumps, loads
from asgi_llmgw.protocols.base import JSON, EncodedError
from asgi_llmgw.protocols.scrub import scrub
from asgi_llmgw.sse import ServerSentEvent

from .wire import ERROR_IN, ERROR_OUT, EXCEPTION, STATUS_ERROR

_TOO_LONG: Final = re.compile(
    r"input is too long|too many input tokens|prompt is too long|maximum context|context (?:window|length)"
    r"|input length .* exceed|exceeds? the model limit",
    re.IGNORECASE,
)
# what Bedrock says where a name is none, is not for this account, or has to be called by another one
_NO_MODEL: Final = re.compile(
    r"model identifier|access to the model|on-demand throughput|model version .* end of its life", re.IGNORECASE
)
_CREDENTIAL: Final = "The upstream refused the gateway's credentials."


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a failed call means, from its status and whatever came as its body."""
    try:
        value = loads(body)
    except JSONError:
        value = None
    return error_from(value, status=status)


def error_from(value: JSONValue, *, status: int | None) -> UpstreamError:
    """The error in a decoded body; inside a stream there is no status, and the name alone tells."""
    told = as_object(value)
    word = _word(as_str(told.get("__type")) or "")
    if word not in ERROR_IN:
        fallback = "validation" if status is not None and 400 <= status < 500 else "internalserver"
        word = STATUS_ERROR.get(status or 0, fallback)
    message = _message(told)
    kind, failure = _refine(*ERROR_IN[word], message=message)
    if failure == "credential":
        text = _CREDENTIAL
    elif message:
        text = scrub(message)
    else:
        text = "The upstream failed." if status is None else f"The upstream answered with status {status}."
    return UpstreamError(text, failure=failure, kind=kind, upstream_status=status)


def encode_error(error: GatewayError, *, request_id: str | None = None) -> EncodedError:
    """An error as Amazon would tell it."""
    status, name = ERROR_OUT[error.kind]
    named = () if request_id is None else ((b"x-amzn-requestid", request_id.encode()),)
    headers = ((b"content-type", JSON), (b"x-amzn-errortype", name.encode()), *named)
    return EncodedError(status, dumps({"message": error.message}), headers)


def encode_stream_error(error: GatewayError) -> ServerSentEvent:
    """The same inside a stream that has begun."""
    _, name = ERROR_OUT[error.kind]
    return ServerSentEvent(dumps({"__type": name, "message": error.message}), EXCEPTION)


def _word(name: str) -> str:
    """`com.amazon#ThrottlingException:http://…` is `throttling`."""
    return name.partition(":")[0].rpartition("#")[2].lower().removesuffix("exception")


def _message(told: JSONObject) -> str:
    named = (as_str(told.get(name)) for name in ("message", "Message", "originalMessage"))
    return next((text for text in named if text and text.strip()), "")


def _refine(kind: ErrorKind, failure: FailureClass, *, message: str) -> tuple[ErrorKind, FailureClass]:
    """One exception covers several things here, and only the text tells them apart."""
    if kind == "bad_request" and _TOO_LONG.search(message):
        return "context_too_long", failure
    if failure in ("caller_fault", "credential") and _NO_MODEL.search(message):
        return "model_not_found", "model_access"
    return kind, failure
