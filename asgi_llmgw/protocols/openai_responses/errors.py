"""Errors of Responses, where they differ from those of Chat Completions: inside a stream, and in one status."""

from __future__ import annotations

from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps
from asgi_llmgw.protocols.base import EncodedError
from asgi_llmgw.protocols.openai import errors
from asgi_llmgw.sse import ServerSentEvent

from .wire import ERROR_CODES


def encode_error(error: GatewayError) -> EncodedError:
    """The error as an answer; here a model that does not exist is a bad request."""
    return errors.encode_error(error, status=400 if error.kind == "model_not_found" else None)


def error_event(error: GatewayError) -> JSONObject:
    """The `error` event without its number. The nested shape is the one the SDKs notice."""
    return {"type": "error", **errors.error_object(error)}


def encode_stream_error(error: GatewayError) -> ServerSentEvent:
    """An error as the last frame of a stream whose count is not known."""
    return ServerSentEvent(dumps({**error_event(error), "sequence_number": 0}), "error")


def response_error(error: GatewayError) -> JSONObject:
    """`response.error` of a failed response."""
    code = as_object(errors.error_object(error)["error"]).get("code")
    if error.kind in ("rate_limited", "quota_exceeded"):
        code = "rate_limit_exceeded" if error.kind == "rate_limited" else "insufficient_quota"
    elif error.kind == "context_too_long":
        code = "context_length_exceeded"  # agents compact the conversation then
    elif code not in ERROR_CODES:
        code = "server_error" if error.status >= 500 else "invalid_prompt"
    return {"code": code, "message": error.message}


def error_of_event(value: JSONObject) -> UpstreamError:
    """The error in an `error` event: nested as the service sends it, or flat as its description says."""
    nested = value.get("error")
    if isinstance(nested, dict):
        return errors.error_of(200, {"error": nested})
    flat: JSONObject = {key: item for key, item in value.items() if key in ("code", "message", "param")}
    return errors.error_of(200, {"error": flat})


def error_of_response(value: JSONValue) -> UpstreamError:
    """The error of a failed response."""
    return errors.error_of(200, {"error": as_object(value).get("error")})
