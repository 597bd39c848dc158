"""Errors, both ways."""

from __future__ import annotations

from typing import get_args

import pytest

from asgi_llmgw.errors import ErrorKind, FailureClass, GatewayError, UpstreamError
from asgi_llmgw.json import as_object, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from tests.wire import Recording, needs_wire, recordings


def decode(status: int, word: str, message: str = "M") -> UpstreamError:
    body = b'{"type":"error","error":{"type":"%b","message":"%b"}}' % (word.encode(), message.encode())
    return CODEC.decode_error(status, body)


@pytest.mark.parametrize(
    ("status", "word", "kind", "failure"),
    [
        (400, "invalid_request_error", "bad_request", "caller_fault"),
        (402, "billing_error", "quota_exceeded", "quota"),
        (404, "not_found_error", "not_found", "model_access"),
        (409, "conflict_error", "conflict", "transient"),
        (413, "request_too_large", "request_too_large", "caller_fault"),
        (429, "rate_limit_error", "rate_limited", "rate_limit"),
        (500, "api_error", "server_error", "transient"),
        (504, "timeout_error", "upstream_timeout", "timeout"),
        (529, "overloaded_error", "overloaded", "overloaded"),
    ],
)
def test_errors_are_understood(status: int, word: str, kind: ErrorKind, failure: FailureClass) -> None:
    """F18"""
    error = decode(status, word)
    assert (error.kind, error.failure, error.upstream_status, error.message) == (kind, failure, status, "M")


@pytest.mark.parametrize(("status", "word"), [(401, "authentication_error"), (403, "permission_error")])
def test_a_refused_key_of_ours_is_not_the_clients_affair(status: int, word: str) -> None:
    error = decode(status, word, "invalid x-api-key sk-ant-api03-secret")
    assert (error.kind, error.failure, error.status) == ("upstream_unavailable", "credential", 502)
    assert "key" not in error.message
    assert decode(status, "invalid_request_error").failure == "credential"


@pytest.mark.parametrize(
    ("status", "word", "message", "kind", "failure"),
    [
        (
            400,
            "invalid_request_error",
            "prompt is too long: 3 tokens > 2 maximum",
            "context_too_long",
            "caller_fault",
        ),
        (400, "invalid_request_error", "Your credit balance is too low", "quota_exceeded", "quota"),
        (404, "not_found_error", "model: claude-9", "model_not_found", "model_access"),
    ],
)
def test_the_text_tells_apart_what_the_type_does_not(
    status: int, word: str, message: str, kind: ErrorKind, failure: FailureClass
) -> None:
    error = decode(status, word, message)
    assert (error.kind, error.failure, error.message) == (kind, failure, message)


@pytest.mark.parametrize(
    ("status", "body", "failure", "message"),
    [
        pytest.param(502, b"<html>Bad Gateway</html>", "transient", "status 502", id="html"),
        pytest.param(503, b"", "overloaded", "status 503", id="empty"),
        pytest.param(418, b"\xff", "caller_fault", "status 418", id="bytes"),
        pytest.param(429, b'{"detail":"slow"}', "rate_limit", "slow", id="detail"),
        pytest.param(400, b'{"error":"text"}', "caller_fault", "text", id="error_is_text"),
        pytest.param(500, b'{"error":{"type":7,"message":"x"}}', "transient", "x", id="type_is_a_number"),
        pytest.param(529, b"[]", "overloaded", "status 529", id="array"),
    ],
)
def test_errors_of_proxies_are_understood_by_their_status(
    status: int, body: bytes, failure: FailureClass, message: str
) -> None:
    """F13, F17"""
    error = CODEC.decode_error(status, body)
    assert error.failure == failure
    assert message in error.message


def test_secrets_and_length_of_a_message_are_cut() -> None:
    error = decode(400, "invalid_request_error", "key sk-ant-api03-abcdefgh " + "x" * 5000)
    assert "abcdefgh" not in error.message
    assert len(error.message) <= 2000


def test_a_finer_code_is_kept() -> None:
    body = b'{"error":{"type":"api_error","message":"x","details":{"error_code":"fine"}}}'
    assert CODEC.decode_error(500, body).code == "fine"


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("bad_request", 400, "invalid_request_error"),
        ("invalid_credentials", 401, "authentication_error"),
        ("quota_exceeded", 402, "billing_error"),
        ("forbidden", 403, "permission_error"),
        ("model_not_found", 404, "not_found_error"),
        ("request_too_large", 413, "request_too_large"),
        ("rate_limited", 429, "rate_limit_error"),
        ("server_error", 500, "api_error"),
        ("upstream_unavailable", 502, "api_error"),
        ("upstream_timeout", 504, "timeout_error"),
        ("overloaded", 529, "overloaded_error"),
    ],
)
def test_errors_are_written_in_the_vendors_shape(kind: ErrorKind, status: int, word: str) -> None:
    """F18"""
    encoded = CODEC.encode_error(GatewayError("Sorry.", kind=kind), request_id="req_1")
    assert encoded.status == status
    assert loads_object(encoded.body) == {
        "type": "error",
        "error": {"type": word, "message": "Sorry."},
        "request_id": "req_1",
    }
    assert encoded.headers == ((b"content-type", b"application/json"),)


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_every_kind_of_error_has_a_shape(kind: ErrorKind) -> None:
    error = GatewayError("Sorry.", kind=kind)
    assert 400 <= CODEC.encode_error(error).status < 600
    frame = CODEC.encode_stream_error(error)
    assert frame.event == "error"
    assert loads_object(frame.data)["type"] == "error"


def test_agents_are_told_that_the_prompt_is_too_long_in_the_words_they_look_for() -> None:
    error = GatewayError("9 tokens are more than 8.", kind="context_too_long")
    body = loads_object(CODEC.encode_error(error).body)
    assert str(as_object(body["error"])["message"]).startswith("prompt is too long")


@needs_wire
@pytest.mark.parametrize(
    "recording",
    [r for r in recordings("errors") if r.meta.get("vendor") == "anthropic"],
    ids=lambda r: r.folder.name,
)
def test_recorded_errors_are_understood(recording: Recording) -> None:
    assert recording.response is not None
    error = CODEC.decode_error(recording.status, recording.response)
    expected = {401: "credential", 404: "model_access"}.get(recording.status, "caller_fault")
    assert error.failure == expected
    assert (error.kind == "context_too_long") == ("context-length" in recording.id or "context-lengt" in recording.id)
