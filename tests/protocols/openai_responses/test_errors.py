"""Errors of Responses."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import ErrorKind, FailureClass, GatewayError, LimitError, RequestError, UpstreamError
from asgi_llmgw.ir import StreamFault
from asgi_llmgw.json import as_object, loads_object
from asgi_llmgw.protocols.openai_responses import CODEC
from tests.protocols.openai_responses.samples import encode_stream


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("bad_request", 400, None),
        ("unsupported", 400, "unsupported_parameter"),
        ("model_not_found", 400, "model_not_found"),
        ("invalid_credentials", 401, "invalid_api_key"),
        ("rate_limited", 429, "rate_limit_exceeded"),
        ("server_error", 500, None),
    ],
)
def test_an_error_has_openais_shape(kind: ErrorKind, status: int, code: str | None) -> None:
    """Trap 15: a model that does not exist is a 400 here, and a 404 in Chat Completions."""
    encoded = CODEC.encode_error(GatewayError("No.", kind=kind))
    assert encoded.status == status
    error = as_object(loads_object(encoded.body)["error"])
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["message"], error["code"]) == ("No.", code)


def test_the_last_frame_of_a_broken_stream_is_named() -> None:
    frame = CODEC.encode_stream_error(LimitError("Too much."))
    assert frame.event == "error"
    event = loads_object(frame.data)
    assert (event["type"], as_object(event["error"])["message"]) == ("error", "Too much.")
    assert isinstance(event["sequence_number"], int)


@pytest.mark.parametrize(
    ("kind", "failure", "code"),
    [
        ("rate_limited", "rate_limit", "rate_limit_exceeded"),
        ("quota_exceeded", "quota", "insufficient_quota"),
        ("context_too_long", "caller_fault", "context_length_exceeded"),
        ("bad_request", "caller_fault", "invalid_prompt"),
        ("upstream_unavailable", "unreachable", "server_error"),
    ],
)
def test_a_failed_response_has_a_code_clients_know(kind: ErrorKind, failure: FailureClass, code: str) -> None:
    """clients 16: agents decide by it whether to wait, to compact or to give up."""
    *_, last = encode_stream([StreamFault(UpstreamError("No.", failure=failure, kind=kind))])
    assert as_object(as_object(last["response"])["error"]) == {"code": code, "message": "No."}


def test_an_error_answer_is_read() -> None:
    error = CODEC.decode_error(400, b'{"error":{"message":"x","code":"previous_response_not_found","param":"p"}}')
    assert (error.kind, error.failure, error.param) == ("bad_request", "caller_fault", "p")
    assert CODEC.decode_error(502, b"<html>").message == "The upstream answered with status 502."


def test_the_parameter_of_a_refused_request_is_named() -> None:
    encoded = CODEC.encode_error(RequestError("No.", param="input[0]"))
    assert as_object(loads_object(encoded.body)["error"])["param"] == "input[0]"
