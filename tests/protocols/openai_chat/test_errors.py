"""Errors of Chat Completions, read from everyone and written for clients."""

from __future__ import annotations

from typing import get_args

import pytest

from asgi_llmgw.errors import (
    AuthError,
    ErrorKind,
    GatewayError,
    InvalidRequest,
    InvalidUpstreamResponse,
    LimitError,
    UpstreamError,
)
from asgi_llmgw.json import JSONValue, as_object, dumps, loads_object
from asgi_llmgw.protocols.openai_chat import CODEC

OPENAI: JSONValue = {"error": {"message": "m", "type": "invalid_request_error", "param": "p", "code": "c"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "failure"),
    [
        (400, OPENAI, "bad_request", "caller_fault"),
        (400, {"error": {"message": "m", "code": "unsupported_parameter"}}, "unsupported", "caller_fault"),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, "context_too_long", "caller_fault"),
        (400, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}, "context_too_long", "caller_fault"),
        (400, {"error": {"message": "m", "code": "content_filter"}}, "bad_request", "filtered"),
        (400, {"error": {"message": "API key not valid."}}, "upstream_unavailable", "credential"),
        (
            400,
            {"code": "invalid-argument", "error": "Incorrect API key provided."},
            "upstream_unavailable",
            "credential",
        ),
        (400, {"error": {"message": "m", "code": "model_not_found"}}, "model_not_found", "model_access"),
        (401, OPENAI, "upstream_unavailable", "credential"),
        (401, {"detail": "Invalid API Key"}, "upstream_unavailable", "credential"),
        (403, OPENAI, "upstream_unavailable", "credential"),
        (402, {"error": {"message": "m"}}, "quota_exceeded", "quota"),
        (404, {"error": {"message": "m", "code": "DeploymentNotFound"}}, "model_not_found", "model_access"),
        (408, {}, "upstream_timeout", "timeout"),
        (413, {}, "request_too_large", "caller_fault"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "bad_request", "caller_fault"),
        (429, {"error": {"message": "m", "code": "rate_limit_exceeded"}}, "rate_limited", "rate_limit"),
        (429, {"error": {"message": "m", "code": "insufficient_quota"}}, "quota_exceeded", "quota"),
        (500, {"error": {"message": "m"}}, "server_error", "transient"),
        (503, {}, "overloaded", "overloaded"),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "overloaded", "overloaded"),
        (504, {}, "upstream_timeout", "timeout"),
        (520, {}, "server_error", "transient"),
        (302, {}, "server_error", "transient"),
    ],
)
def test_upstream_error_is_classified(status: int, body: JSONValue, kind: str, failure: str) -> None:
    """F137, F138, F107."""
    error = CODEC.decode_error(status, dumps(body))
    assert (error.kind, error.failure) == (kind, failure)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (OPENAI, "m"),
        ({"error": "text"}, "text"),
        ({"detail": "text"}, "text"),
        ({"object": "error", "message": "text", "code": "3051"}, "text"),
        ([{"error": {"message": "text", "code": 400}}], "text"),
        ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "a; b"),
        ({"message": "text"}, "text"),
    ],
)
def test_message_is_found_in_every_shape(body: JSONValue, message: str) -> None:
    """F17."""
    assert CODEC.decode_error(400, dumps(body)).message == message


@pytest.mark.parametrize("body", [b"<html>secret host 10.0.0.1</html>", b"Traceback: secret", b"", b"\xff", b"{"])
def test_pages_and_plain_text_stay_private(body: bytes) -> None:
    """F106."""
    error = CODEC.decode_error(502, body)
    assert error.message == "The upstream answered with status 502."
    assert error.failure == "transient"


def test_refused_credentials_are_not_the_clients_business() -> None:
    """F107, D11: neither the key nor a 401, which would tell the client to change its own."""
    body = {"error": {"message": "Incorrect API key provided: sk-proj-abcdef123456.", "code": "invalid_api_key"}}
    encoded = CODEC.encode_error(CODEC.decode_error(401, dumps(body)))
    assert encoded.status == 502
    assert b"sk-" not in encoded.body
    assert b"invalid_api_key" not in encoded.body


def test_param_and_code_of_the_clients_mistake_are_passed_on() -> None:
    error = CODEC.decode_error(400, dumps(OPENAI))
    assert loads_object(CODEC.encode_error(error).body) == OPENAI


def test_googles_retry_delay_is_rounded_up() -> None:
    """D5."""
    info: JSONValue = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48.2s"}
    body: JSONValue = {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [info]}}
    encoded = CODEC.encode_error(CODEC.decode_error(429, dumps(body)))
    assert dict(encoded.headers)[b"retry-after"] == b"49"


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_every_error_has_all_four_keys(kind: ErrorKind) -> None:
    """F18."""
    encoded = CODEC.encode_error(GatewayError("m", kind=kind))
    error = as_object(loads_object(encoded.body)["error"])
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["message"], error["param"]) == ("m", None)
    assert error["type"]
    assert encoded.status == GatewayError("m", kind=kind).status
    assert dict(encoded.headers)[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("error", "curable"),
    [
        (InvalidRequest("m"), False),
        (AuthError("m"), False),
        (LimitError("m", retry_after=1.2), True),
        (GatewayError("m", kind="quota_exceeded"), False),
        (GatewayError("m", kind="server_error"), True),
        (UpstreamError("m", failure="credential"), False),
        (UpstreamError("m", failure="overloaded", kind="overloaded"), True),
        (InvalidUpstreamResponse("m"), True),
    ],
)
def test_clients_are_told_when_trying_again_is_useless(error: GatewayError, curable: bool) -> None:
    assert (b"x-should-retry" not in dict(CODEC.encode_error(error).headers)) == curable


def test_stream_error_is_the_same_object_in_a_frame() -> None:
    error = LimitError("m")
    assert CODEC.encode_stream_error(error).data == CODEC.encode_error(error).body
    assert CODEC.encode_stream_error(error).event == ""
