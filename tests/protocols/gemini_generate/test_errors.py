from __future__ import annotations

import pytest

from asgi_llmgw.errors import AuthError, GatewayError, InvalidRequest, LimitError
from asgi_llmgw.json import as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.gemini_generate import CODEC
from tests.wire import Recording, needs_wire, recordings

FAILED = [r for r in recordings("errors") if r.meta["protocol"] == "gemini_generate"]


def error_body(code: int, message: str, status: str, *details: dict[str, str]) -> bytes:
    return dumps({"error": {"code": code, "message": message, "status": status, "details": list(details)}})


@needs_wire
@pytest.mark.parametrize("recording", FAILED, ids=lambda r: r.folder.name)
def test_recorded_errors_are_classified(recording: Recording) -> None:
    assert recording.response is not None
    error = CODEC.decode_error(recording.status, recording.response)
    expected = {400: "caller_fault", 401: "credential", 404: "model_access", 429: "rate_limit"}[recording.status]
    if b"API_KEY_INVALID" in recording.response:
        expected = "credential"
    assert error.failure == expected
    assert error.upstream_status == recording.status
    assert "PROJECT" not in error.message


def test_a_bad_key_is_our_fault_and_says_nothing_of_it() -> None:
    """Trap 16: the vendor answers a bad key with 400."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = CODEC.decode_error(400, error_body(400, "API key AIzaSyXXXXXXXXXXX not valid.", "INVALID_ARGUMENT", info))
    assert (error.failure, error.kind, error.status) == ("credential", "upstream_unavailable", 502)
    assert "key" not in error.message


@pytest.mark.parametrize(
    ("status", "name", "failure", "kind"),
    [
        (401, "UNAUTHENTICATED", "credential", "upstream_unavailable"),
        (403, "PERMISSION_DENIED", "credential", "upstream_unavailable"),
        (400, "FAILED_PRECONDITION", "credential", "upstream_unavailable"),
        (400, "INVALID_ARGUMENT", "caller_fault", "bad_request"),
        (404, "NOT_FOUND", "model_access", "model_not_found"),
        (413, "INVALID_ARGUMENT", "caller_fault", "request_too_large"),
        (418, "", "caller_fault", "bad_request"),
        (429, "RESOURCE_EXHAUSTED", "rate_limit", "rate_limited"),
        (500, "INTERNAL", "transient", "server_error"),
        (503, "UNAVAILABLE", "overloaded", "overloaded"),
        (504, "DEADLINE_EXCEEDED", "timeout", "upstream_timeout"),
        (520, "", "transient", "upstream_unavailable"),
    ],
)
def test_every_status_has_its_class(status: int, name: str, failure: str, kind: str) -> None:
    error = CODEC.decode_error(status, error_body(status, "no", name))
    assert (error.failure, error.kind) == (failure, kind)


def test_a_prompt_that_is_too_long_is_told_as_such() -> None:
    message = "The input token count (1250074) exceeds the maximum number of tokens allowed (1048576)."
    error = CODEC.decode_error(400, error_body(400, message, "INVALID_ARGUMENT"))
    assert (error.kind, error.failure, error.message) == ("context_too_long", "caller_fault", message)


def test_the_retry_delay_becomes_seconds_rounded_up() -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    assert CODEC.decode_error(429, error_body(429, "slow", "RESOURCE_EXHAUSTED", retry)).retry_after == 35


def test_an_error_in_an_array_of_one_is_read() -> None:
    body = b"[" + error_body(503, "The model is overloaded.", "UNAVAILABLE") + b"]"
    assert CODEC.decode_error(503, body).message == "The model is overloaded."


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b"null", b'{"error": "text"}', b"\xff"])
def test_what_is_no_error_body_still_has_a_message(body: bytes) -> None:
    error = CODEC.decode_error(502, body)
    assert error.failure == "transient"
    assert "502" in error.message


def test_projects_are_not_named_to_clients() -> None:
    message = "Publisher Model `projects/acme-prod-1/locations/us/models/x` not found. Project 1234567."
    error = CODEC.decode_error(404, error_body(404, message, "NOT_FOUND"))
    assert "acme" not in error.message
    assert "1234567" not in error.message


def test_a_gateway_error_is_said_in_the_vendors_words() -> None:
    encoded = CODEC.encode_error(InvalidRequest("Wrong.", param="contents[0]"), request_id="req_1")
    error = as_object(loads_object(encoded.body)["error"])
    assert (encoded.status, error["code"], error["status"], error["message"]) == (
        400,
        400,
        "INVALID_ARGUMENT",
        "Wrong.",
    )
    assert [as_object(detail)["@type"] for detail in as_list(error["details"])] == [
        "type.googleapis.com/google.rpc.BadRequest",
        "type.googleapis.com/google.rpc.RequestInfo",
    ]


def test_a_missing_key_is_answered_as_the_vendor_does() -> None:
    """Trap 16."""
    encoded = CODEC.encode_error(AuthError("No key."))
    assert encoded.status == 400
    assert b"API_KEY_INVALID" in encoded.body


def test_a_limit_tells_when_to_come_back() -> None:
    encoded = CODEC.encode_error(LimitError("Slow down.", retry_after=1.2))
    assert (b"retry-after", b"2") in encoded.headers
    assert b'"retryDelay":"2s"' in encoded.body


def test_an_error_in_a_stream_is_an_unnamed_event() -> None:
    """Trap 5: google-genai fails on named events."""
    frame = CODEC.encode_stream_error(GatewayError("Gone.", kind="upstream_unavailable"))
    assert frame.event == ""
    assert loads_object(frame.data) == {"error": {"code": 502, "message": "Gone.", "status": "UNAVAILABLE"}}
